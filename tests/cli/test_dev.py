"""`flowrunner dev`: one command to a server with an account, a token and a flow."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from flowrunner.bootstrap.dev_account import FILE, open_dev_account
from flowrunner.cli import dev
from support.client import Client
from support.server import Server

from .command import flowrunner, start_flowrunner


@contextmanager
def running(at: Path, *arguments: str, **environment: str) -> Iterator[tuple[dict[str, str], "subprocess.Popen[str]"]]:
    """Start the command; yields what it says."""
    process = start_flowrunner("dev", "--port", "0", *arguments, at=at, environment=environment)
    try:
        yield said(process.stdout), process
    finally:
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log


def said(output: IO[str] | None) -> dict[str, str]:
    assert output is not None
    found = {}
    for line in output:
        if match := re.match(r"FlowRunner \S+ for development: (\S+)", line):
            found["url"] = match[1]
        elif match := re.match(r"  (account|password|token) +(\S+)", line):
            found[match[1]] = match[2]
        elif line.startswith("Ctrl-C"):
            break
    return found


@pytest.fixture
def browser(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a display, whose browser writes the address into a file."""
    program = tmp_path / "browser"
    program.write_text(f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'opened')!r}, 'w').write(sys.argv[1])\n")
    program.chmod(0o755)
    return {"BROWSER": str(program), "DISPLAY": ":0"}


def test_one_command_makes_an_account_a_token_and_a_flow_and_the_next_start_keeps_them(
    tmp_path: Path, browser: dict[str, str]
) -> None:
    with running(tmp_path, "--no-browser", **browser) as (first, _):
        client = Client(first["url"], first["token"])
        (flow,) = client.get("/api/v1/flows").json["flows"]
        assert flow["name"] == "hello"
        assert client.ended(client.run(flow["id"], {"name": "Ada"}))["result"] == {"text": "Hello, Ada!"}
        assert Client(first["url"]).login(first["account"], first["password"]).get("/api/v1/audit").status == 200
    assert not (tmp_path / "opened").exists()

    with running(tmp_path, FLOWRUNNER_HOST="0.0.0.0", **browser) as (second, process):
        assert [second[name] for name in ("account", "password", "token")] == [
            first[name] for name in ("account", "password", "token")
        ]
        assert Client(second["url"], second["token"]).get("/api/v1/flows").json["total"] == 1
        # Only this machine reaches it, whatever the settings say.
        assert listeners(process.pid, int(second["url"].rpartition(":")[2])) == {"0100007F"}
        # The browser is the last thing that it does.
        while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text():
            assert process.poll() is None
    assert (tmp_path / "opened").read_text() == second["url"]

    data = tmp_path / ".local" / "share" / "flowrunner-dev"
    assert [path for path in (data, *data.rglob("*")) if path.stat().st_mode & 0o077] == []
    assert json.loads((data / "dev-account.json").read_text())["password"] == first["password"]


def test_servers_that_start_at_once_have_one_account(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            place = tmp_path / str(number)
            accounts = set(pool.map(lambda _, at=place: open_dev_account(at), range(8)))
            assert len(accounts) == 1
            assert [path.name for path in place.iterdir()] == [FILE]
            assert json.loads((place / FILE).read_text())["password"] == accounts.pop().password


def test_a_data_directory_with_accounts_of_its_own_stays_as_it_is(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    server.stop()

    with running(tmp_path, "--data-dir", str(server.data_dir)) as (found, _):
        assert found.keys() == {"url"}
        assert Client(found["url"]).get("/readyz").status == 200


def test_a_postgresql_database_is_refused(tmp_path: Path) -> None:
    refused = flowrunner("dev", at=tmp_path, environment={"FLOWRUNNER_DATABASE_URL": "postgresql://x/y"})

    assert refused.returncode == 1
    assert "unset FLOWRUNNER_DATABASE_URL" in refused.stderr


def listeners(pid: int, port: int) -> set[str]:
    """Return the addresses at which something listens on the port, as Linux writes them."""
    rows: list[Any] = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


def test_a_taken_port_gets_no_password(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(8)
        port = other.getsockname()[1]

        refused = flowrunner("dev", "--port", str(port), at=tmp_path, environment=dict(os.environ))

        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
    assert refused.returncode == 1
    assert "choose another with --port" in refused.stderr


def test_ctrl_c_while_the_account_is_made_ends_it_quietly(tmp_path: Path) -> None:
    process = start_flowrunner("dev", "--port", "0", "--no-browser", at=tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("FlowRunner")
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("display", "opens", "opened"),
    [({"DISPLAY": ":0"}, True, 1), ({"WAYLAND_DISPLAY": "w"}, True, 1), ({"DISPLAY": ":0"}, False, 0), ({}, True, 0)],
)
def test_a_browser_is_opened_where_there_is_a_display_and_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, display: dict[str, str], opens: bool, opened: int
) -> None:
    addresses: list[str] = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in display.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(dev, "_is_ready", lambda *_: True)
    monkeypatch.setattr(dev, "_introduce", lambda *_: None)
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    settings: Any = SimpleNamespace(port=8080, data_dir=tmp_path)
    account: Any = None

    dev._greet(settings, account, threading.Event(), opens_browser=opens)

    assert addresses == ["http://127.0.0.1:8080"] * opened
