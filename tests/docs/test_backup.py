"""The backup script of docs/operations.md, run as written, on several nights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from docs.pages import OPERATIONS, section
from support.server import Server

FLOW: Final = "nodes: {w: {type: wait, params: {key: go}}}"
# For machines without SQLite's own program.
SQLITE3: Final = """
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):
    print("|".join(map(str, row)))
"""


def script() -> str:
    _, block, *_ = section(OPERATIONS, "Backup").split("```sh\n")
    return block.partition("```")[0]


def program(directory: Path, name: str, *command: str) -> None:
    path = directory / name
    path.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
    path.chmod(0o755)


class Nights:
    """A machine on which the script runs, with its paths replaced by those of the test."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.backup, self.safe = directory / "backup", directory / "safe"
        self._programs = directory / "bin"
        for made in (self.backup, self.safe, self._programs):
            made.mkdir()
        program(self._programs, "flowrunner", sys.executable, "-m", "flowrunner")
        if shutil.which("sqlite3") is None:
            (directory / "sqlite3.py").write_text(SQLITE3)
            program(self._programs, "sqlite3", sys.executable, str(directory / "sqlite3.py"))
        self._script = (
            script()
            .replace("/var/lib/flowrunner", str(server.data_dir))
            .replace("/backup/", f"{self.backup}/")
            .replace("/safe/place/", f"{self.safe}/")
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}"}
        return subprocess.run(["sh", "-c", self._script], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def nights(own_server: Server, tmp_path: Path) -> Nights:
    return Nights(tmp_path, own_server)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "installation-of-this-test")
    (tmp_path / "installation-of-this-test").mkdir()
    yield server.start()
    server.stop()


def test_the_backup_of_the_second_night_is_restored_as_it_was_made(
    own_server: Server, nights: Nights, tmp_path: Path
) -> None:
    account = own_server.admin()
    flow = account.new_flow(FLOW)
    executions = []
    for _ in range(2):
        executions.append(account.run(flow))
        account.waiting_at(executions[-1], "w")
        ran = nights.run()
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [path.name for path in nights.backup.iterdir()] == ["flowrunner.db"]

    (tmp_path / "restored").mkdir()
    restored = Server(tmp_path / "restored")
    restored.data_dir.mkdir(mode=0o700)
    shutil.copy(nights.backup / "flowrunner.db", restored.data_dir)
    shutil.copytree(nights.safe / "keys", restored.data_dir / "keys")
    try:
        account = restored.start().admin()
        for id in executions:
            assert account.post(f"/api/v1/executions/{id}/signals/go", {"payload": 1}).status == 200
            assert account.ended(id)["status"] == "completed"
    finally:
        restored.stop()


def test_a_night_on_which_the_backup_fails_leaves_that_of_the_night_before(nights: Nights) -> None:
    assert nights.run().returncode == 0
    before = (nights.backup / "flowrunner.db").read_bytes()
    # As an interrupted run leaves it, on a disk that cannot be written.
    (nights.backup / "flowrunner.db.new").mkdir()

    assert nights.run().returncode != 0

    assert (nights.backup / "flowrunner.db").read_bytes() == before


def test_files_of_an_interrupted_night_do_not_prevent_the_next_backup(nights: Nights) -> None:
    (nights.backup / "flowrunner.db.new").write_bytes(b"half of a backup")

    ran = nights.run()

    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in nights.backup.iterdir()] == ["flowrunner.db"]
