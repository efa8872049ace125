"""The files in `deploy/`: what can be known of them without a container engine and a cluster."""

import configparser
import ipaddress
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import HTTPServer, SimpleHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from docs.pages import OPERATIONS, POSTGRESQL, ROOT, SERVER, blocks, rows, section
from flowrunner.api import waiting
from flowrunner.api.http import bodies
from flowrunner.cli.exits import USAGE
from flowrunner.cli.main import main
from flowrunner.domain.duration import parse_duration
from flowrunner.security.keys import load_keys
from flowrunner.serving import KEEP_ALIVE_SECONDS, PING_SECONDS
from flowrunner.settings import InvalidSettings, Settings, load_settings
from support.networks import unused_port
from support.server import Server, clean_environment
from support.tls import Issuer
from support.waiting import wait_for

DEPLOY: Final = ROOT / "deploy"
VARIABLES: Final = {f"FLOWRUNNER_{field.name.upper()}" for field in fields(Settings)}


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions, each on one line."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def last(instruction: str) -> str:
    return [rest for name, rest in dockerfile() if name == instruction][-1]


def last_run_of(stage: str) -> str:
    """The last command of the stage that has this name."""
    found, within = "", False
    for name, rest in dockerfile():
        within = rest.endswith(f" AS {stage}") if name == "FROM" else within
        found = rest if within and name == "RUN" else found
    return found


def compose(name: str = "compose.yaml") -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def kubernetes(name: str = "flowrunner.yaml") -> dict[str, Any]:
    items = yaml.safe_load((DEPLOY / "kubernetes" / name).read_text())["items"]
    return {f"{item['kind']} {item['metadata']['name']}": item for item in items}


def environment_of_the_image() -> dict[str, str]:
    return dict(assignment.split("=", 1) for assignment in shlex.split(last("ENV")))


def deployments() -> list[Any]:
    return [item for name, item in kubernetes().items() if name.startswith("Deployment ")]


def workloads() -> list[Any]:
    """Return the deployments, and the set of the one server without PostgreSQL."""
    return [*deployments(), kubernetes("single.yaml")["StatefulSet flowrunner"]]


def our_services() -> list[Any]:
    files = [compose(), compose("compose-single.yaml")]
    return [one for file in files for one in file["services"].values() if one["image"] == "flowrunner"]


def pods(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def test_the_image_has_the_versions_that_are_tested_and_runs_as_nobody_in_particular() -> None:
    installs = [rest for name, rest in dockerfile() if name == "RUN" and " install " in rest]

    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    assert int(last("USER").split(":")[0]) > 0
    for name, rest in dockerfile():
        if name == "COPY" and not rest.startswith("--from"):
            assert [source for source in rest.split()[:-1] if not (ROOT / source).exists()] == []


@pytest.mark.parametrize("extras", [None, "", "mcp otel temporal"])
def test_an_image_has_the_extras_that_its_build_names(extras: str | None, tmp_path: Path) -> None:
    wanted = {"runtime", *("temporal" if extras is None else extras).split()}
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"$SAID"\n')
    pip.chmod(0o755)
    environment = {"PATH": f"{pip.parent}:/usr/bin:/bin", "SAID": str(tmp_path / "said")}

    arguments = dict(rest.split("=") for name, rest in dockerfile() if name == "ARG")
    given = arguments["EXTRAS"] if extras is None else extras
    install = next(rest for name, rest in dockerfile() if name == "RUN" and " install " in rest)
    subprocess.run(["sh", "-c", install], env={**environment, "EXTRAS": given}, check=True)
    assert required(tmp_path / "said") == wanted
    for each in wanted:
        assert (ROOT / "requirements" / f"{each}.txt").exists()
    copied = next(rest for name, rest in dockerfile() if name == "COPY" and "requirements/" in rest).split()
    assert {f"requirements/{each}.txt" for each in wanted} <= set(copied)

    script = (DEPLOY / "image.sh").read_text()
    start, end = script.index("extras="), script.index("python3 -m pip --python")
    part = f"set -eu\nwheel=$1 here=deploy root=/r\n{script[start:end]}"
    # Only the choice of requirements: what makes the system of the image is not run.
    part = re.sub(r"^(?!set -eu|wheel=|extras=|for each|shift|install=|\$install).*$", "", part, flags=re.MULTILINE)
    part = part.replace("--python $root/opt/flowrunner/bin/python3", "").replace("python3 -m pip", str(pip))
    part = part.replace('$install --no-deps "$wheel"', "")
    variables = environment if extras is None else {**environment, "EXTRAS": extras}
    subprocess.run(["sh", "-c", part, "sh", "the.whl", "to.tar"], env=variables, cwd=ROOT, check=True)
    assert required(tmp_path / "said") == wanted


def required(said: Path) -> set[str]:
    """Return the names of the files that pip was given."""
    words = said.read_text().splitlines()
    return {Path(name).stem for option, name in pairwise(words) if option == "--requirement"}


def test_what_the_image_runs_becomes_healthy(tmp_path: Path) -> None:
    """The entry command as it stands, with the image's own environment but for its address and directory."""
    port = unused_port()
    environment = environment_of_the_image()
    environment |= {"FLOWRUNNER_DATA_DIR": str(tmp_path / "data"), "FLOWRUNNER_HOST": "127.0.0.1"}
    environment |= {"FLOWRUNNER_PORT": str(port), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = [*yaml.safe_load(last("ENTRYPOINT")), *yaml.safe_load(last("CMD"))]
    check = yaml.safe_load(last("HEALTHCHECK").partition("CMD")[2])
    # Docker gives containers the proxies of its configuration.
    variables = clean_environment(**environment, http_proxy=f"http://127.0.0.1:{unused_port()}")
    process = subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([sys.executable, *check[1:]], env=variables, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "it never became healthy"
            time.sleep(0.1)
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_the_health_check_fails_where_nothing_answers() -> None:
    check = yaml.safe_load(last("HEALTHCHECK").partition("CMD")[2])
    environment = clean_environment(FLOWRUNNER_PORT=str(unused_port()))

    done = subprocess.run([sys.executable, *check[1:]], env=environment, capture_output=True, check=False)

    assert done.returncode != 0


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
    named = re.findall(r"server (server-\d):8080\b", (DEPLOY / "nginx.conf").read_text())

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
        assert {variable["name"] for variable in container["env"]} <= VARIABLES | {"FLOWRUNNER_CONFIG"}
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
    (variable,) = [found for found in spec["containers"][0]["env"] if found["name"] == "FLOWRUNNER_DATA_DIR"]

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


def test_the_page_lists_every_extra_and_which_of_them_are_in_the_image() -> None:
    said = {row[1].strip("`"): row[2] for row in rows(section(SERVER, "Extras"))}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    arguments = dict(rest.split("=") for name, rest in dockerfile() if name == "ARG")

    assert said.keys() == extras.keys()
    for extra, is_in_the_image in said.items():
        assert is_in_the_image == ("yes" if extra in arguments["EXTRAS"].split() else "no")


def test_the_page_names_the_browsers_that_the_interface_is_built_for() -> None:
    (browsers,) = [row[1] for row in rows(section(SERVER, "Requirements")) if row[0] == "browsers"]
    (target,) = re.findall(r"const target = \[([^\]]+)\]", (ROOT / "ui" / "vite.config.ts").read_text())
    built_for = dict(re.findall(r"([a-z]+)([0-9.]+)", target))

    assert dict(re.findall(r"(chrome|firefox|safari)\D* from ([0-9.]*[0-9])", browsers.lower())) == built_for


def test_the_image_is_without_what_only_builds_it() -> None:
    """What the lock has for the build alone; `pip check` in the image sees that no more than that is gone."""
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements" / "temporal.txt").read_text(), flags=re.MULTILINE)[1:]
    needed_by = {
        entry.partition("==")[0]: set(re.findall(r"^    #(?: via|  ) (?!-c )(.+)$", entry, re.MULTILINE)) - {""}
        for entry in entries
    }
    builders = {name for name, by in needed_by.items() if by == {"-r requirements/build.in"}}
    for _ in needed_by:
        builders |= {name for name, by in needed_by.items() if by and by <= builders}
    (removed,) = re.findall(r"uninstall --yes([a-z -]+)&&", last_run_of("build"))

    assert {"hatchling", "editables"} < builders
    assert set(removed.split()) == builders
    assert "--without-pip" in next(rest for name, rest in dockerfile() if name == "RUN")
    assert last_run_of("build").endswith(" check")


def test_both_stages_of_the_image_stand_on_one_base() -> None:
    """Or the interpreter that the environment was made for might not be there; and its Debian does not change."""
    bases = [rest.split()[0] for name, rest in dockerfile() if name == "FROM"]

    assert bases == ["${BASE}", "${BASE}"]
    arguments = [rest for name, rest in dockerfile() if name == "ARG"]
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-[a-z]+", arguments[0])


def test_one_user_and_group_own_what_the_image_and_kubernetes_write() -> None:
    user, group = last("USER").split(":")
    for deployment in workloads():
        context = deployment["spec"]["template"]["spec"]["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    (makes,) = [rest for name, rest in dockerfile() if name == "RUN" and "useradd" in rest]

    assert f"groupadd --gid {group} " in makes
    assert f"useradd --uid {user} --gid {group} " in makes
    assert f"--owner {user} --group {group} --mode 0700 {environment_of_the_image()['FLOWRUNNER_DATA_DIR']}" in makes


def test_somebody_buries_what_the_sandbox_leaves_behind() -> None:
    """The program is the first process of its container otherwise, and waits for its own children only."""
    assert [service.get("init") for service in our_services()] == [True] * 5
    assert [pods(workload)["shareProcessNamespace"] for workload in workloads()] == [True] * 3


def test_a_stop_has_the_time_that_a_drain_takes() -> None:
    drain = Settings().drain_time
    for service in our_services():
        assert float(service["stop_grace_period"].removesuffix("s")) > drain
    for deployment in workloads():
        (container,) = pods(deployment)["containers"]
        *_, waits = container["lifecycle"]["preStop"]["exec"]["command"]
        assert pods(deployment)["terminationGracePeriodSeconds"] > drain + float(waits)
    (unit,) = re.findall(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "flowrunner.service").read_text(), re.MULTILINE)

    assert float(unit) > drain


def test_the_servers_of_compose_keep_their_addresses() -> None:
    """nginx looks names up once: a server that was replaced, and has another address, would not be found again."""
    (pool,) = compose()["networks"]["inside"]["ipam"]["config"]
    subnet, given = ipaddress.ip_network(pool["subnet"]), ipaddress.ip_network(pool["ip_range"])
    addresses = [
        ipaddress.ip_address(service["networks"]["inside"]["ipv4_address"])
        for service in compose()["services"].values()
        if service.get("command") == ["serve"]
    ]
    (trusted,) = {
        service["environment"]["FLOWRUNNER_TRUSTED_PROXIES"]
        for service in compose()["services"].values()
        if service["image"] == "flowrunner"
    }

    assert len(set(addresses)) == 2
    assert all(address in subnet and address not in given for address in addresses)
    assert ipaddress.ip_network(trusted) == subnet


def test_nothing_in_compose_fills_the_disk_or_the_memory() -> None:
    for name in ("compose.yaml", "compose-single.yaml"):
        for service in compose(name)["services"].values():
            assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    for service in our_services():
        assert service.keys() >= {"mem_limit", "pids_limit"}


def test_a_container_has_twice_the_memory_that_executions_may_hold() -> None:
    found = [(service["mem_limit"], service["environment"]) for service in our_services()]
    for workload in workloads():
        [container] = pods(workload)["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        found.append((container["resources"]["limits"]["memory"], environment))

    gibibytes = {"1g": 1, "1Gi": 1, "2g": 2, "2Gi": 2}
    assert len(found) == 8
    for limit, environment in found:
        named = {name: value for name, value in environment.items() if name == "FLOWRUNNER_EXECUTION_MEMORY"}
        held = load_settings({}, named).execution_memory
        assert held is not None
        assert gibibytes[limit] * 2**30 >= 2 * held


def test_the_single_server_of_compose_trusts_its_proxy_alone_and_keeps_its_data_there() -> None:
    file = compose("compose-single.yaml")
    server, proxy = file["services"]["server"], file["services"]["proxy"]
    [pool] = file["networks"]["inside"]["ipam"]["config"]

    assert server["environment"].keys() <= VARIABLES
    assert server["environment"]["FLOWRUNNER_TRUSTED_PROXIES"] == pool["subnet"]
    assert server["volumes"] == [f"data:{environment_of_the_image()['FLOWRUNNER_DATA_DIR']}"]
    assert proxy["environment"]["SERVER"] == f"server:{last('EXPOSE')}"
    assert "ports" not in server
    assert (DEPLOY / "Caddyfile").is_file()
    assert "./Caddyfile:/etc/caddy/Caddyfile:ro" in proxy["volumes"]


def test_the_single_pod_keeps_its_data_on_one_volume_that_no_other_pod_writes() -> None:
    workload = kubernetes("single.yaml")["StatefulSet flowrunner"]
    [container] = pods(workload)["containers"]
    [claim] = workload["spec"]["volumeClaimTemplates"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}

    assert environment.keys() <= VARIABLES | {"FLOWRUNNER_CONFIG"}
    assert workload["spec"]["replicas"] == 1
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert Path(environment["FLOWRUNNER_DATA_DIR"]).parent == Path(mounts[claim["metadata"]["name"]])
    # Otherwise each mount would open the keys to the group of the volume.
    assert pods(workload)["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_a_server_starts_again_in_a_directory_of_a_volume_whose_root_belongs_to_a_group(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    volume.chmod(0o2770)

    for _ in range(2):
        server = Server(volume)
        server.start()
        server.stop()

    assert server.data_dir.parent == volume
    assert server.data_dir.stat().st_mode & 0o777 == 0o700


def text_of(proxy: str) -> str:
    if proxy == "deploy":
        return (DEPLOY / "nginx.conf").read_text()
    (text,) = blocks(SERVER, "nginx")
    return text


@pytest.mark.parametrize("proxy", ["deploy", "page"])
def test_the_proxy_passes_all_that_the_server_takes(proxy: str) -> None:
    text = text_of(proxy)
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", text)
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text)

    largest = max(value for name, value in vars(bodies).items() if name.startswith("MAX_") and name.endswith("_BYTES"))
    assert int(megabytes) * 2**20 > largest >= 16 * 2**20
    assert int(seconds) > waiting.MOST_SECONDS + 10, "a request that waits for a result would be cut"
    assert int(seconds) > PING_SECONDS, "a WebSocket on which nothing happens would be cut"
    assert re.search(r"location = /metrics \{\s+return 404;", text), "as docs/security.md advises"
    # `$host` has no port: on another port than 443, pages would be those of another origin.
    assert "proxy_set_header Host $http_host;" in text


@pytest.mark.parametrize(
    ("proxy", "limit", "seconds"),
    [
        ("apache", r"LimitRequestBody (\d+)", r" timeout=(\d+) "),
        ("haproxy", r"body_size gt (\d+) ", r"timeout server (\d+)s"),
    ],
)
def test_apache_and_haproxy_pass_all_that_the_server_takes(
    proxy: str, limit: str, seconds: str, tmp_path: Path
) -> None:
    (text,) = blocks(SERVER, proxy)
    largest = max(value for name, value in vars(bodies).items() if name.startswith("MAX_") and name.endswith("_BYTES"))

    assert int(re.findall(limit, text)[0]) > largest
    assert int(re.findall(seconds, text)[0]) > waiting.MOST_SECONDS + 10
    issued = Issuer(tmp_path, "issuer").issue("flows", host="flows.example.com")
    (tmp_path / "both.pem").write_bytes(b"".join(file.read_bytes() for file in issued))
    text = re.sub(r"/etc/ssl/\S+(fullchain|privkey|both).pem", f"{tmp_path}/both.pem", text)
    program = Path("/usr/sbin/apache2" if proxy == "apache" else "/usr/sbin/haproxy")
    if not program.exists():
        pytest.skip(f"{proxy} is not installed")
    if proxy == "apache":
        modules = ("mpm_event", "authz_core", "ssl", "proxy", "proxy_http", "headers", "alias")
        loads = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
        text = "\n".join([f"ServerRoot {tmp_path}", "ServerName x", f"ErrorLog {tmp_path}/error.log", *loads, text])
    (tmp_path / "proxy.conf").write_text(text + "\n")
    check = "-t" if proxy == "apache" else "-c"
    done = subprocess.run([program, check, "-f", tmp_path / "proxy.conf"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_s15_haproxy_closes_the_metrics_in_every_spelling_that_the_server_takes(tmp_path: Path) -> None:
    program = Path("/usr/sbin/haproxy")
    if not program.exists():
        pytest.skip("haproxy is not installed")
    (text,) = blocks(SERVER, "haproxy")
    port = unused_port()
    frontend = re.sub(r"bind .*", f"bind 127.0.0.1:{port}", text.partition("\nbackend flowrunner")[0])
    (tmp_path / "proxy.conf").write_text(f"{frontend}\nbackend flowrunner\n    http-request return status 200\n")
    haproxy = subprocess.Popen([program, "-f", tmp_path / "proxy.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: is_open(port))
        answered = {}
        for path in ("/metrics", "/%6detrics", "/metric%73?x=1", "/%4Detrics", "/"):
            with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.request("GET", path)
                answered[path] = connection.getresponse().status
    finally:
        haproxy.terminate()
        haproxy.wait()

    # Paths of the server are told apart by case.
    assert answered == {"/metrics": 404, "/%6detrics": 404, "/metric%73?x=1": 404, "/%4Detrics": 200, "/": 200}


def test_haproxy_takes_the_backend_of_two_servers(tmp_path: Path) -> None:
    (text,), (backend,) = blocks(SERVER, "haproxy"), blocks(POSTGRESQL, "haproxy")
    issued = Issuer(tmp_path, "issuer").issue("flows", host="flows.example.com")
    (tmp_path / "both.pem").write_bytes(b"".join(file.read_bytes() for file in issued))
    frontend = text.partition("\nbackend flowrunner")[0].replace("/etc/ssl/flows.example.com", str(tmp_path))
    (tmp_path / "proxy.conf").write_text(f"{frontend}\n{backend}\n")
    program = Path("/usr/sbin/haproxy")
    if not program.exists():
        pytest.skip("haproxy is not installed")
    checked = subprocess.run(
        [program, "-c", "-f", tmp_path / "proxy.conf"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def test_caddy_passes_all_that_the_server_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    (megabytes,) = re.findall(r"max_size (\d+)MB", text)
    largest = max(value for name, value in vars(bodies).items() if name.startswith("MAX_") and name.endswith("_BYTES"))

    assert int(megabytes) * 10**6 > largest
    assert "respond /metrics 404" in text
    assert "timeout" not in text
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not installed")
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile"],
        env={**clean_environment(), "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_caddy_holds_a_request_while_the_server_is_restarted(tmp_path: Path) -> None:
    if shutil.which("caddy") is None:
        pytest.skip("caddy is not installed")
    site, behind = unused_port(), unused_port()
    # Its address for administration is one for all that run on a machine.
    text = "{\n\tadmin off\n}\n" + (DEPLOY / "Caddyfile").read_text()
    (tmp_path / "Caddyfile").write_text(text)
    caddy = subprocess.Popen(
        ["caddy", "run", "--adapter", "caddyfile", "--config", tmp_path / "Caddyfile"],
        env={**clean_environment(), "HOME": str(tmp_path), "SITE": f"http://localhost:{site}",
             "SERVER": f"127.0.0.1:{behind}"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: is_open(site))
        with closing(HTTPConnection("localhost", site, timeout=20)) as connection:
            connection.request("GET", "/")
            time.sleep(1)
            # Back after a second.
            with HTTPServer(("127.0.0.1", behind), SimpleHTTPRequestHandler) as server:
                server.timeout = 20
                server.handle_request()
                with connection.getresponse() as response:
                    assert response.status == 200
    finally:
        caddy.terminate()
        caddy.wait()


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("proxy", ["deploy", "page"])
def test_nginx_reads_the_file(proxy: str, tmp_path: Path) -> None:
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists():
        pytest.skip("nginx is not installed")
    text = text_of(proxy).replace("server-1", "127.0.0.1").replace("server-2", "127.0.0.2")
    key, certificate = self_signed(tmp_path)
    text = re.sub(r"/etc/ssl/\S+/privkey.pem", str(key), re.sub(r"/etc/ssl/\S+/fullchain.pem", str(certificate), text))
    listens = re.sub(r"listen \d+", f"listen 127.0.0.1:{unused_port()}", text)
    (tmp_path / "default.conf").write_text(listens)
    main = tmp_path / "nginx.conf"
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{part}_temp_path {tmp_path}/{part};" for part in parts)
    main.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} "
        f"http {{ access_log off; {places} include {tmp_path}/default.conf; }}"
    )

    done = subprocess.run([nginx, "-t", "-c", str(main)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a key and a certificate for it; return both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flows.example.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "key.pem").write_bytes(key.private_bytes(*form))
    (directory / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return directory / "key.pem", directory / "certificate.pem"


def test_a_unit_whose_settings_are_wrong_is_not_started_again_and_one_that_died_is() -> None:
    text = (DEPLOY / "flowrunner.service").read_text()

    assert "Restart=always" in text
    assert f"RestartPreventExitStatus={USAGE}" in text
    assert "StartLimitIntervalSec=0" in text


def test_systemd_knows_all_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "flowrunner.service"
    unit.write_text((DEPLOY / "flowrunner.service").read_text().replace("/opt/flowrunner/bin/flowrunner", "/bin/true"))

    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)

    assert [line for line in done.stderr.splitlines() if "flowrunner.service" in line] == []


def test_kubernetes_does_not_tell_of_its_services_by_what_are_settings_here() -> None:
    """A service of this name has it set `FLOWRUNNER_PORT` to `tcp://…` in every pod that starts later."""
    services = [item["metadata"]["name"] for name, item in kubernetes().items() if name.startswith("Service ")]
    variables = {f"{name.upper().replace('-', '_')}_PORT": "tcp://10.96.0.7:80" for name in services}

    with pytest.raises(InvalidSettings):
        load_settings({}, variables)
    assert [pods(workload)["enableServiceLinks"] for workload in workloads()] == [False] * 3


def test_kubernetes_has_secrets_in_files_and_not_in_the_environment() -> None:
    for deployment in workloads():
        for container in [*pods(deployment).get("initContainers", ()), *pods(deployment)["containers"]]:
            assert "envFrom" not in container
            assert [variable for variable in container.get("env", []) if "valueFrom" in variable] == []


def test_the_settings_of_kubernetes_are_found_where_they_are_mounted(tmp_path: Path) -> None:
    (container,) = pods(deployments()[0])["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pods(deployments()[0])["volumes"]}
    path = Path(environment["FLOWRUNNER_CONFIG"])
    text = (DEPLOY / "kubernetes" / "flowrunner.yaml").read_text()
    example = "".join(f"{line}\n" for line in re.findall(r"^#   (\w+ = .*?)(?: +#.*)?$", text, re.MULTILINE))
    for placeholder, value in {"postgresql://…": "postgresql://a/b", "temporal://…": "temporal://a"}.items():
        example = example.replace(placeholder, value)
    (tmp_path / path.name).write_text(example.replace("…", "a"))

    settings = load_settings({}, {"FLOWRUNNER_CONFIG": str(tmp_path / path.name)})

    assert (settings.database_url, settings.dispatch) == ("postgresql://a/b", "temporal://a")
    assert volumes[mounts[str(path.parent)]]["secret"]["secretName"] == "flowrunner-settings"
    assert f"flowrunner-settings --from-file={path.name}" in text


def test_no_probe_ends_what_waits_for_its_database() -> None:
    for deployment in workloads():
        (container,) = pods(deployment)["containers"]
        assert (
            container["startupProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        )
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_no_probe_ends_a_start_that_migrates_a_large_database() -> None:
    least = 3600
    for deployment in workloads():
        (container,) = pods(deployment)["containers"]
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= least
    (start_period,) = re.findall(r"--start-period=(\w+)", last("HEALTHCHECK"))
    assert parse_duration(start_period) >= least


def test_every_pod_is_locked_bounded_and_not_all_of_its_kind_are_taken_away_at_once() -> None:
    """What Kubernetes calls restricted, and a budget for each deployment."""
    budgets = [item["spec"]["selector"] for name, item in kubernetes().items() if name.startswith("PodDisruption")]
    assert [deployment for deployment in deployments() if deployment["spec"]["selector"] not in budgets] == []
    for deployment in workloads():
        assert pods(deployment)["securityContext"]["runAsNonRoot"] is True
        assert pods(deployment)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pods(deployment)["automountServiceAccountToken"] is False
        for container in [*pods(deployment).get("initContainers", ()), *pods(deployment)["containers"]]:
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip


def test_the_network_policy_is_for_these_pods_and_closes_what_the_program_closes() -> None:
    policy = yaml.safe_load((DEPLOY / "kubernetes" / "network-policy.yaml").read_text())
    blocks = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule["to"] if "ipBlock" in peer]
    excepted = [ipaddress.ip_network(text) for block in blocks for text in block.get("except", [])]

    for deployment in workloads():
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    for address in ("10.1.2.3", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "fd00::1", "fe80::1"):
        assert any(ipaddress.ip_address(address) in network for network in excepted), address


def unit_of_the_page() -> str:
    """Return the unit of `deploy/` with the credentials of the page."""
    (added,) = re.findall(r"```ini\n(.*?)```", section(SERVER, "Credentials of systemd"), re.DOTALL)
    return f"{(DEPLOY / 'flowrunner.service').read_text()}{added}"


def test_settings_come_from_the_credentials_of_systemd_as_the_page_says(tmp_path: Path) -> None:
    # As systemd passes them: files in a directory that the unit calls %d.
    passed = dict(re.findall(r"^LoadCredential=(\w+):(.*)$", unit_of_the_page(), re.MULTILINE))
    for name in passed:
        (tmp_path / name).write_text(f"postgresql://h/{name}\n")
    environment = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit_of_the_page(), re.MULTILINE))

    settings = load_settings({}, {name: value.replace("%d", str(tmp_path)) for name, value in environment.items()})

    assert settings.database_url == "postgresql://h/database_url"
    assert settings.admin_password == "postgresql://h/admin_password"
    assert settings.admin_email == "ops@example.com"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_accepts_the_unit_with_the_credentials_of_the_page(tmp_path: Path) -> None:
    unit = tmp_path / "flowrunner.service"
    unit.write_text(unit_of_the_page().replace("/opt/flowrunner/bin/flowrunner", sys.executable))

    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )

    assert "flowrunner.service" not in checked.stderr, checked.stderr


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="needs logrotate")
def test_a_log_that_is_rotated_as_the_page_says_goes_on_in_the_same_file(tmp_path: Path) -> None:
    (text,) = re.findall(r"```text\n(/var/log.*?)```", section(OPERATIONS, "Keeping logs"), re.DOTALL)
    rules = tmp_path / "rules"
    rules.write_text(text.replace("/var/log/flowrunner", str(tmp_path)))
    rules.chmod(0o644)
    log = tmp_path / "server.log"
    with subprocess.Popen(
        ["sh", "-c", f"while read line; do echo $line; done 2>>{log} >&2"], stdin=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        writer.stdin.write("before\n")
        writer.stdin.flush()
        while not log.exists() or log.read_text() != "before\n":
            time.sleep(0.01)
        rotate = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(rules)]
        rotated = subprocess.run(rotate, capture_output=True, text=True, check=False)
        writer.stdin.write("after\n")
        writer.stdin.close()

    assert rotated.returncode == 0, rotated.stderr
    assert log.read_text() == "after\n"
    assert (tmp_path / "server.log.1.gz").exists()


def test_the_image_without_a_base_is_run_as_the_other_one_is() -> None:
    script = DEPLOY / "image.sh"
    text = script.read_text().replace("\\\n", " ")

    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    # It has the name and the tag that the manifests for Kubernetes use.
    (naming,) = (line for line in text.splitlines() if line.startswith("version="))
    environment = {"wheel": "dist/flowrunner_server-0.1.0-py3-none-any.whl", "PATH": os.environ["PATH"]}
    said = subprocess.check_output(["sh", "-c", f"{naming}; echo flowrunner:$version"], env=environment, text=True)
    assert f"image: {said.strip()}\n" in (DEPLOY / "kubernetes" / "single.yaml").read_text()
    assert '"oci-archive:$target:flowrunner:$version"' in text
    (config,) = (line for line in text.splitlines() if line.startswith("buildah config"))
    words = shlex.split(config)
    options = list(pairwise(words))
    environment = dict(value.split("=", 1) for name, value in options if name == "--env")
    assert environment.pop("PATH").startswith("/opt/flowrunner/bin:")
    assert environment == {k: v for k, v in environment_of_the_image().items() if k != "PATH"}
    for name, instruction in (("--user", "USER"), ("--workingdir", "WORKDIR"), ("--volume", "VOLUME"),
                              ("--port", "EXPOSE"), ("--stop-signal", "STOPSIGNAL")):  # fmt: skip
        assert (name, last(instruction)) in options
    assert ("--entrypoint", last("ENTRYPOINT")) in options
    assert f'["{dict(options)["--cmd"]}"]' == last("CMD")
    # The same dependencies, without what is only needed to build.
    assert "--require-hashes" in text
    (removed,) = re.findall(r"uninstall --quiet --yes\s+([a-z -]+)$", text, re.MULTILINE)
    assert set(removed.split()) <= set(last_run_of("build").split())


def test_a_connection_that_a_proxy_keeps_idle_for_some_seconds_takes_another_request(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        with closing(HTTPConnection(*server.client().address, timeout=10)) as connection:
            # A request on a connection that was closed meanwhile raises instead of opening another one.
            connection.connect()
            connection.auto_open = 0
            for seconds in (0, 6):
                time.sleep(seconds)
                connection.request("GET", "/healthz")
                with connection.getresponse() as response:
                    assert response.read() == b'{"status":"ok"}'
    finally:
        server.stop()


def test_the_server_keeps_idle_connections_for_longer_than_proxies_do_as_the_page_says() -> None:
    text = section(SERVER, "Exposing it")

    of_proxies = [int(seconds) for seconds in re.findall(r"\((?:\d+ s|)(\d+) s\)", text)]
    assert f"which waits for {KEEP_ALIVE_SECONDS} s" in text
    assert len(of_proxies) == 2
    assert max(of_proxies) < KEEP_ALIVE_SECONDS
