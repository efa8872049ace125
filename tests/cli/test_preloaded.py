"""Programs that tests fork instead of starting them: they must not see the difference."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.asgi import program_at
from support.databases import newest_schema
from support.preloaded import ForkedProcess, _parent
from support.server import clean_environment

_FACTS = """
import atexit, json, os, sys
print(json.dumps([sys.argv, os.getcwd(), sorted(os.environ.items()), __name__, sorted(os.listdir("/proc/self/fd"))]))
print("an error", file=sys.stderr)
atexit.register(print, "at exit")
"""


def forked(*program: str, at: Path) -> tuple[ForkedProcess, Callable[[], str]]:
    """Start the program; return it, and a function that reads what it has written."""
    output = at / "output"
    with Path(os.devnull).open("rb") as nothing, output.open("wb") as file:
        files = (nothing.fileno(), file.fileno(), file.fileno())
        return ForkedProcess(program, cwd=at, env=clean_environment(LANGUAGE="x"), files=files), output.read_text


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "sys.exit('told')", "1 / 0"])
def test_a_forked_program_finds_and_leaves_what_a_started_one_does(end: str, tmp_path: Path) -> None:
    program = ("-c", _FACTS + end, "an argument", "--flag")
    # The descriptor with which it lists them is one more.
    started = subprocess.run(
        [sys.executable, *program], cwd=tmp_path, env=clean_environment(LANGUAGE="x"),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip

    process, read = forked(*program, at=tmp_path)

    assert process.wait(30) == started.returncode
    assert "at exit" in started.stdout
    assert _without_paths(read()) == _without_paths(started.stdout)


def _without_paths(output: str) -> list[str]:
    return [line for line in output.splitlines() if not line.startswith((" ", "Traceback"))]


_PACKAGES = """
from importlib.metadata import entry_points
print(sorted((entry.group, entry.name, entry.value) for entry in entry_points()))
"""


def test_a_forked_program_finds_the_packages_of_its_directory(tmp_path: Path) -> None:
    information = tmp_path / "own-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: own\n")
    (information / "entry_points.txt").write_text("[flowrunner.nodes]\nown = own:Own\n")
    started = subprocess.run(
        [sys.executable, "-c", _PACKAGES], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True,
        check=True,
    )  # fmt: skip

    process, read = forked("-c", _PACKAGES, at=tmp_path)

    assert process.wait(30) == 0
    assert "own:Own" in read()
    assert read() == started.stdout


def test_a_forked_command_is_the_command(tmp_path: Path) -> None:
    process, read = forked("-m", "flowrunner", "--version", at=tmp_path)

    assert process.wait(30) == 0
    assert read().startswith("flowrunner ")


def test_a_forked_program_is_waited_for_and_killed_like_any_other(tmp_path: Path) -> None:
    process, _ = forked("-c", "import time; time.sleep(60)", at=tmp_path)

    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)

    process.send_signal(signal.SIGKILL)

    assert process.wait(30) == -signal.SIGKILL
    assert process.poll() == -signal.SIGKILL
    process.send_signal(signal.SIGKILL)  # nothing is left to get it


def test_many_threads_can_wait_for_the_same_end(tmp_path: Path) -> None:
    for _ in range(10):
        process, _ = forked("-c", "import time; time.sleep(0.05)", at=tmp_path)

        with ThreadPoolExecutor(16) as threads:
            assert set(threads.map(process.wait, [30] * 16)) == {0}


def test_one_who_asks_for_a_program_and_ends_at_once_ends_no_other(tmp_path: Path) -> None:
    told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told.close()
    request = json.dumps([["-c", "pass"], str(tmp_path), {}]).encode()
    with telling, Path(os.devnull).open("r+b") as nothing:
        socket.send_fds(_parent(), [request], [telling.fileno(), *[nothing.fileno()] * 3])

    process, read = forked("-c", "print('still here')", at=tmp_path)

    assert process.wait(30) == 0
    assert read() == "still here\n"


async def test_the_new_database_of_a_program_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest_schema()
    monkeypatch.delattr("alembic.command.upgrade")

    async with program_at(tmp_path / "data") as program:
        await program.services.accounts.create(
            name="Root", email="root@example.com", password="seven-grey-herons-wade", role="admin"
        )

    assert (tmp_path / "data/flowrunner.db").stat().st_mode & 0o777 == 0o600
