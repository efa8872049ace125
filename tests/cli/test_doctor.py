"""`flowrunner doctor`: a finding for each fault, with what to do, and no secret."""

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowrunner.bootstrap import doctor
from flowrunner.settings import Settings
from support.databases import change
from support.networks import unused_port
from support.openid import LyingProvider
from support.server import ADMIN_PASSWORD, Server, clean_environment

from .command import flowrunner, on_a_terminal

SECRETS = ("geheim-of-the-database", "geheim-of-the-admin")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("examined")).start()
    server.admin().new_secret("KEPT", "a value of some length")
    yield server
    server.stop()


@pytest.fixture
def data_dir(server: Server, tmp_path: Path) -> Path:
    """Return a copy of the data directory, which nothing uses."""
    copy = tmp_path / "data"
    copy.mkdir(mode=0o700)
    shutil.copytree(server.data_dir / "keys", copy / "keys")
    with (
        closing(sqlite3.connect(server.database)) as source,
        closing(sqlite3.connect(copy / "flowrunner.db")) as target,
    ):
        source.backup(target)
    return copy


def examine(at: Path, *arguments: str, **settings: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the findings by check."""
    # The machine of the tests may have little memory.
    environment = {f"FLOWRUNNER_{name}": value for name, value in {"EXECUTION_MEMORY": "64MiB", **settings}.items()}
    done = flowrunner("doctor", "-o", "json", "--port", "0", *arguments, at=at, environment=environment)
    assert done.stderr == ""
    return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}


def test_a_running_server_is_healthy_and_stays_untouched(server: Server, tmp_path: Path) -> None:
    before = sorted(path.name for path in server.data_dir.rglob("*"))
    port = server.url.rpartition(":")[2]

    code, found = examine(tmp_path, "--port", port, "--data-dir", str(server.data_dir))
    text = flowrunner("doctor", "--port", port, "--data-dir", server.data_dir, at=tmp_path)

    assert (code, text.returncode) == (0, 0)
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert found["port"]["message"].endswith("is ready")
    assert found.keys() == {
        "settings", "python", "data directory", "master key", "signing key", "integrity", "database", "clock", "disk",
        "port", "public_url", "trusted_proxies", "e-mails", "open files", "memory",
    }  # fmt: skip
    assert len(text.stdout.splitlines()) == len(found)
    assert sorted(path.name for path in server.data_dir.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "variables"), [((), {"NO_COLOR": "1"}), (("--no-color",), {}), ((), {"TERM": "dumb"})]
)
def test_the_findings_have_colours_only_where_they_are_wanted(
    arguments: tuple[str, ...], variables: dict[str, str], tmp_path: Path
) -> None:
    plain = on_a_terminal(*arguments, "doctor", "--port", "0", at=tmp_path, environment=variables)

    assert "\x1b" not in plain
    assert "\x1b[32mok" in on_a_terminal("doctor", "--port", "0", at=tmp_path)


def test_each_provider_of_single_sign_on_is_asked_for_what_it_is(tmp_path: Path) -> None:
    right, wrong = LyingProvider().start(), LyingProvider().start()
    wrong.metadata = {"issuer": "https://other.example.com"}
    issuers = {"right": right.issuer, "wrong": wrong.issuer, "gone": f"http://127.0.0.1:{unused_port()}"}
    described = "\n".join(
        f'[{name}]\nissuer = "{issuer}"\nclient_id = "a"\nclient_secret = "geheim-of-the-client"'
        for name, issuer in issuers.items()
    )
    settings = {"SIGN_ON": described, "PUBLIC_URL": "https://flows.example.com", "SIGN_ON_ALLOW": "127.0.0.0/8"}
    try:
        code, found = examine(tmp_path, "--data-dir", str(tmp_path / "none"), **settings)
        closed = examine(tmp_path, "--data-dir", str(tmp_path / "none"), **{**settings, "SIGN_ON_ALLOW": ""})[1]
    finally:
        right.stop()
        wrong.stop()

    assert code == 1
    assert {name: found[f"sign-on {name}"]["state"] for name in issuers} == {
        "right": "ok", "wrong": "fail", "gone": "fail",
    }  # fmt: skip
    assert "its issuer is 'https://other.example.com'" in found["sign-on wrong"]["message"]
    assert "FLOWRUNNER_SIGN_ON_ALLOW" in closed["sign-on right"]["message"]
    assert "geheim" not in json.dumps(found)


def test_before_the_first_start_nothing_has_failed_and_nothing_is_created(tmp_path: Path) -> None:
    code, found = examine(tmp_path, "--data-dir", str(tmp_path / "none"))

    assert code == 0
    assert {name for name, finding in found.items() if finding["state"] == "warn"} == {
        "data directory", "keys", "database"
    }  # fmt: skip
    assert not (tmp_path / "none").exists()


def _open_to_others(data: Path) -> None:
    data.chmod(0o755)


def _without_key(data: Path) -> None:
    (data / "keys" / "master.key").unlink()


def _without_keys(data: Path) -> None:
    shutil.rmtree(data / "keys")


def _readable_key(data: Path) -> None:
    (data / "keys" / "signing.key").chmod(0o644)


def _weak_key(data: Path) -> None:
    (data / "keys" / "master.key").write_text("ab" * 32)


def _with_the_key_of_another(data: Path) -> None:
    key = data / "keys" / "master.key"
    key.write_text(bytes(byte ^ 255 for byte in bytes.fromhex(key.read_text())).hex())


def _restored_in_part(data: Path) -> None:
    (data / "flowrunner.db").rename(data / "restore.new")


def _damaged(data: Path) -> None:
    content = bytearray((data / "flowrunner.db").read_bytes())
    for page in range(20, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    (data / "flowrunner.db").write_bytes(content)


def _newer(data: Path) -> None:
    with closing(sqlite3.connect(data / "flowrunner.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.execute("UPDATE engine SET compatible_with = '9999'")


def _before_the_first_release(data: Path) -> None:
    change(data / "flowrunner.db", "UPDATE alembic_version SET version_num = '0000'")


def _written_in_the_future(data: Path) -> None:
    with closing(sqlite3.connect(data / "flowrunner.db")) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"):
            database.execute(f"DROP TRIGGER {name}")
        database.execute("UPDATE audit SET at = at + 86400000")


def _written_beyond_the_calendar(data: Path) -> None:
    _written_in_the_future(data)
    with closing(sqlite3.connect(data / "flowrunner.db")) as database, database:
        database.execute("UPDATE audit SET at = 9400000000000000")


@pytest.mark.parametrize(
    ("spoil", "check", "hint"),
    [
        (_open_to_others, "data directory", "chmod 700"),
        (_without_key, "master key", "restore it from your backup"),
        (_without_keys, "keys", "restore it from your backup"),
        (_readable_key, "signing key", "restore it from your backup"),
        (_weak_key, "master key", "keys rotate master"),
        (_with_the_key_of_another, "secrets", "restore the files keys/master*.key"),
        (_restored_in_part, "database", "run 'flowrunner restore' again"),
        (_damaged, "integrity", "flowrunner restore"),
        (_newer, "database", "the version of FlowRunner that wrote it"),
        (_before_the_first_release, "database", "the version of FlowRunner that wrote it"),
        (_written_in_the_future, "clock", "set the clock"),
        (_written_beyond_the_calendar, "clock", "set the clock"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_each_fault_of_the_data_is_found_with_what_to_do(
    spoil: Callable[[Path], None], check: str, hint: str, data_dir: Path, tmp_path: Path
) -> None:
    spoil(data_dir)

    code, found = examine(tmp_path, "--data-dir", str(data_dir))

    assert code == 1
    assert found[check]["state"] == "fail"
    assert hint in found[check]["hint"]


def test_a_database_without_tables_is_empty_and_no_older_one(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "flowrunner.db").touch(0o600)

    _, found = examine(tmp_path, "--data-dir", str(tmp_path / "data"))

    assert found["database"]["message"].endswith("is empty")
    assert found["database"]["hint"] == "the first start of the server creates its tables"


def test_a_paused_installation_is_warned_about(data_dir: Path, tmp_path: Path) -> None:
    change(data_dir / "flowrunner.db", "UPDATE engine SET paused_at = 1800000000000")

    code, found = examine(tmp_path, "--data-dir", str(data_dir))

    assert code == 0
    assert (found["pause"]["state"], found["pause"]["message"]) == (
        "warn", "no execution starts since 2027-01-15 08:00:00 UTC",
    )  # fmt: skip
    assert "flowrunner unpause" in found["pause"]["hint"]


def test_a_data_directory_of_another_user_is_a_finding(data_dir: Path, tmp_path: Path) -> None:
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}
    if not nobody:
        data_dir.chmod(0o000)
    elif subprocess.run([sys.executable, "-c", "import flowrunner"], cwd="/", check=False, **nobody).returncode:
        pytest.skip("another user cannot run the program here")
    tmp_path.chmod(0o755)
    command = [sys.executable, "-m", "flowrunner", "doctor", "-o", "json", "--port", "0", "--data-dir", str(data_dir)]

    done = subprocess.run(
        command, cwd="/", env=clean_environment(), capture_output=True, text=True, check=False, **nobody
    )

    assert done.returncode == 1, done.stderr
    (finding,) = (finding for finding in json.loads(done.stdout) if finding["check"] == "data directory")
    assert finding["state"] == "fail"
    assert "run this and the server as the user" in finding["hint"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")
def test_a_file_of_another_user_is_a_finding_and_no_damage(data_dir: Path, tmp_path: Path) -> None:
    os.chown(data_dir, 65534, 65534)
    tmp_path.chmod(0o755)
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # pytest's own is closed to other users
        Path(place).chmod(0o755)
        shutil.copytree(data_dir, Path(place) / "data")
        os.chown(Path(place) / "data", 65534, 65534)
        command = [sys.executable, "-m", "flowrunner", "doctor", "-o", "json", "--port", "0", "--data-dir"]
        done = subprocess.run(
            [*command, f"{place}/data"], cwd="/", env=clean_environment(), capture_output=True, text=True,
            check=False, user=65534, group=65534, extra_groups=(),
        )  # fmt: skip
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("another user cannot run the program here")

    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["data directory"]["message"].endswith("flowrunner.db belongs to the user 0")
    assert "change the owner" in found["data directory"]["hint"]
    assert (found["database"]["state"], "damaged" in done.stdout, "integrity" in found) == ("fail", False, False)


def test_an_old_key_and_an_exposed_server_are_warned_about(data_dir: Path, tmp_path: Path) -> None:
    os.utime(data_dir / "keys" / "master.key", (1_600_000_000, 1_600_000_000))

    code, found = examine(tmp_path, "--data-dir", str(data_dir), "--host", "0.0.0.0")

    assert code == 0
    assert found["master key"]["state"] == found["public_url"]["state"] == "warn"


def test_faults_of_the_settings_are_findings(tmp_path: Path) -> None:
    code, found = examine(tmp_path, PORT="many", RETENTION="soon")
    assert (code, found["settings"]["state"]) == (1, "fail")

    code, found = examine(tmp_path, TRUSTED_PROXIES="10.0.0.1,0.0.0.0/0", PUBLIC_URL="http://flows.example.com")
    assert code == 1
    assert found["trusted_proxies"]["state"] == "fail"
    assert found["public_url"]["state"] == "warn"


def test_a_port_of_another_program_is_found(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)

        code, found = examine(tmp_path, "--port", str(other.getsockname()[1]))

    assert code == 1
    assert "another program" in found["port"]["message"]


@pytest.mark.parametrize(
    ("answer", "state", "message"),
    [
        ('200 OK|{"status": "ready"}', "ok", "is ready"),
        ('503 Service Unavailable|{"status": "not ready"}', "warn", "is not ready"),
        # As a server answers that has too many connections.
        ('503 Service Unavailable|{"error": {"message": "busy"}}', "warn", "is not ready"),
        ('500 Internal Server Error|{"error": {"message": "internal"}}', "warn", "is not ready"),
        ("200 OK|<html>{}</html>", "fail", "another program"),
        ("404 Not Found|", "fail", "another program"),
        ("", "fail", "another program"),
    ],
)
def test_an_answer_at_the_port_is_of_a_server_or_of_another_program(
    tmp_path: Path, answer: str, state: str, message: str
) -> None:
    status, _, body = answer.partition("|")

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                if answer:
                    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

        with ThreadPoolExecutor() as threads:
            serving = threads.submit(serve)
            settings = Settings(data_dir=tmp_path / "none", port=listening.getsockname()[1])
            (found,) = [each for each in asyncio.run(doctor.examine(settings)) if each.check == "port"]
            serving.result()

    assert found.state == state
    assert message in found.message


def test_a_secret_in_a_table_of_the_file_and_mails_without_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "flowrunner.toml").write_text(
        'smtp_url = "smtp://mail.example.com"\npublic_url = "https://flows.example.com"\n'
        '[sign_on.corp]\nissuer = "https://login.example.com"\nclient_id = "f"\nclient_secret = "geheim"\n'
    )
    _, found = examine(tmp_path)
    (tmp_path / "flowrunner.toml").write_text('sign_up = "invited"\npublic_url = "https://flows.example.com"\n')
    _, uninvited = examine(tmp_path)
    _, unlinked = examine(tmp_path, SMTP_URL="smtp://mail.example.com", CONFIG="/dev/null")

    assert "chmod 600" in found["settings file"]["hint"]
    assert found["e-mails"]["state"] == "ok"
    assert "settings file" not in uninvited
    assert (uninvited["e-mails"]["state"], uninvited["e-mails"]["hint"]) == ("warn", "set smtp_url")
    assert unlinked["e-mails"]["state"] == "warn"
    assert "public_url is not set" in unlinked["e-mails"]["message"]


def test_no_finding_contains_a_secret(data_dir: Path, tmp_path: Path) -> None:
    url = f"postgresql://user:{SECRETS[0]}@127.0.0.1:9/name"
    (tmp_path / "flowrunner.toml").write_text(
        f'database_url = "{url}"\nadmin_email = "a@example.com"\nadmin_password = "{SECRETS[1]}"\n'
    )
    (tmp_path / "flowrunner.toml").chmod(0o644)

    code, found = examine(tmp_path, "--data-dir", str(data_dir))

    assert code == 1
    assert found["database"]["state"] == "fail"
    # Of PostgreSQL's disk it knows nothing.
    assert "disk" not in found
    assert "chmod 600" in found["settings file"]["hint"]
    said = json.dumps(found)
    keys = [path.read_text().strip() for path in (data_dir / "keys").glob("*.key")]
    assert [secret for secret in (*SECRETS, ADMIN_PASSWORD, *keys) if secret in said] == []


def test_the_format_may_stand_before_the_command(data_dir: Path, tmp_path: Path) -> None:
    found = flowrunner("-o", "json", "doctor", "--data-dir", data_dir, at=tmp_path)
    refused = flowrunner("-o", "yaml", "doctor", "--data-dir", data_dir, at=tmp_path)

    assert {"check", "state"} <= json.loads(found.stdout)[0].keys()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'doctor' prints text or JSON, and not yaml." in refused.stderr
