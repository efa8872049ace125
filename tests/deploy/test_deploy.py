"""The files in `deploy/`: what can be known of them without a container engine and a cluster."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from docs.pages import ROOT
from flowrunner.cli.main import main
from flowrunner.security.keys import load_keys
from flowrunner.settings import Settings
from support.networks import unused_port
from support.server import Server, clean_environment

DEPLOY: Final = ROOT / "deploy"
VARIABLES: Final = {f"FLOWRUNNER_{field.name.upper()}" for field in fields(Settings)}


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each on one line."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def last(instruction: str) -> str:
    return [rest for name, rest in dockerfile() if name == instruction][-1]


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def kubernetes() -> dict[str, Any]:
    items = yaml.safe_load((DEPLOY / "kubernetes" / "flowrunner.yaml").read_text())["items"]
    return {f"{item['kind']} {item['metadata']['name']}": item for item in items}


def test_the_image_has_the_versions_that_are_tested_and_runs_as_nobody_in_particular() -> None:
    installs = [rest for name, rest in dockerfile() if name == "RUN" and "pip install" in rest]

    assert "--require-hashes --requirement requirements/temporal.txt" in installs[0]
    assert "--no-deps" in installs[1]
    assert int(last("USER")) > 0
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--from"):
            assert [source for source in rest.split()[:-1] if not (ROOT / source).exists()] == []


def test_what_the_image_runs_becomes_healthy(tmp_path: Path) -> None:
    """The entry command as it stands, with the image's own environment but for its address and directory."""
    port = unused_port()
    environment = dict(assignment.split("=", 1) for assignment in shlex.split(last("ENV")))
    environment |= {"FLOWRUNNER_DATA_DIR": str(tmp_path / "data"), "FLOWRUNNER_HOST": "127.0.0.1"}
    environment |= {"FLOWRUNNER_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = [*yaml.safe_load(last("ENTRYPOINT")), *yaml.safe_load(last("CMD"))]
    check = yaml.safe_load(last("HEALTHCHECK").partition("CMD")[2])
    check = [part.replace(":8080/", f":{port}/") for part in check]
    process = subprocess.Popen(command, env=clean_environment(**environment), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([sys.executable, *check[1:]], capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, "it never became healthy"
            time.sleep(0.1)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_the_health_check_fails_where_nothing_answers() -> None:
    check = yaml.safe_load(last("HEALTHCHECK").partition("CMD")[2])
    check = [part.replace(":8080/", f":{unused_port()}/") for part in check]

    assert subprocess.run([sys.executable, *check[1:]], capture_output=True, check=False).returncode != 0


def test_compose_runs_commands_that_there_are_with_settings_that_there_are() -> None:
    ours = {name: service for name, service in compose()["services"].items() if service["image"] == "flowrunner"}

    assert sorted(service["command"][0] for service in ours.values()) == ["serve", "serve", "worker", "worker"]
    for service in ours.values():
        assert service["command"][0] in main.commands
        assert service["environment"].keys() <= VARIABLES


def test_compose_asks_for_every_password() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    example = set(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "example.env").read_text(), re.MULTILINE))

    assert {(name, "") for name in asked} == example
    assert len(re.findall(r"\$\{\w+:\?", text)) == len(re.findall(r"\$\{\w+", text)), "none has a default"


def test_compose_is_what_docker_reads() -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    environment = clean_environment(POSTGRES_PASSWORD="a", ADMIN_EMAIL="b", ADMIN_PASSWORD="c")
    command = ["docker-compose", "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_proxy_knows_the_servers_of_compose() -> None:
    named = re.findall(r"server (server-\d):8080;", (DEPLOY / "nginx.conf").read_text())

    assert named == [name for name, service in compose()["services"].items() if service.get("command") == ["serve"]]
    assert "non_idempotent" not in (DEPLOY / "nginx.conf").read_text(), "no run is asked for twice"


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # names of units are written in both cases
    unit.read(DEPLOY / "flowrunner.service")
    _, command = unit["Service"]["ExecStart"].split()
    variables = re.findall(r"^Environment=(\w+)=", (DEPLOY / "flowrunner.service").read_text(), re.MULTILINE)

    assert command in main.commands
    assert set(variables) <= VARIABLES
    assert unit["Service"]["StateDirectoryMode"] == "0700"


def test_kubernetes_starts_what_there_is() -> None:
    found = kubernetes()
    commands = []
    for name in ("Deployment flowrunner-server", "Deployment flowrunner-worker"):
        spec = found[name]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        commands += container["args"]
        assert {variable["name"] for variable in container["env"]} <= VARIABLES
        assert spec["securityContext"]["runAsUser"] == int(last("USER"))
    server = found["Deployment flowrunner-server"]["spec"]["template"]["metadata"]["labels"]

    assert commands == ["serve", "worker"]
    assert found["Service flowrunner"]["spec"]["selector"] == server


def test_kubernetes_puts_the_keys_where_the_program_takes_them(tmp_path: Path) -> None:
    """The command of the container that does it, as it stands but for the two paths."""
    secret = tmp_path / "secret"
    secret.mkdir()
    for name in ("master", "signing"):
        (secret / f"{name}.key").write_text("ab" * 32 + "\n")
        (secret / f"{name}.key").chmod(0o440)
    spec = kubernetes()["Deployment flowrunner-server"]["spec"]["template"]["spec"]
    *shell, script = spec["initContainers"][0]["command"]
    (variable,) = spec["containers"][0]["env"]

    subprocess.run([*shell, script.replace("/data/", f"{tmp_path}/").replace("/secret/", f"{secret}/")], check=True)

    data_dir = tmp_path / Path(variable["value"]).relative_to("/data")
    assert load_keys(data_dir, has_data=True).master == bytes.fromhex("ab" * 32)
    assert data_dir.stat().st_mode & 0o777 == 0o700


def test_a_server_on_a_key_made_as_the_manifest_says_starts(tmp_path: Path) -> None:
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True, mode=0o700)
    keys.parent.chmod(0o700)
    for name in ("master", "signing"):
        path = keys / f"{name}.key"
        path.write_text("0123456789abcdef" * 4 + "\n")
        path.chmod(0o600)
    server = Server(tmp_path)
    try:
        server.start()
    finally:
        server.stop()
