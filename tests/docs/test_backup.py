"""The backup script of docs/backup.md, run as written, on several nights."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from docs.pages import BACKUP, section
from support.server import Server

FLOW: Final = "nodes: {w: {type: wait, params: {key: go}}}"


def script() -> str:
    _, block, *_ = section(BACKUP, "Backup").split("```sh\n")
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
        self._script = (
            script()
            .replace("/var/lib/flowrunner", str(server.data_dir))
            .replace("/backup/", f"{self.backup}/")
            .replace("/safe/place/", f"{self.safe}/")
        )

    def run(self, limit: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}"}
        # A script for every night ends with the first command that fails.
        return subprocess.run(
            ["sh", "-ec", limit + self._script], env=environment, capture_output=True, text=True, check=False
        )


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
    assert [path.name for path in nights.backup.iterdir()] == ["flowrunner.backup"]

    (tmp_path / "restored").mkdir()
    restored = Server(tmp_path / "restored")
    restored.data_dir.mkdir(mode=0o700)
    shutil.copytree(nights.safe / "keys", restored.data_dir / "keys")
    done = subprocess.run(
        [sys.executable, "-m", "flowrunner", "restore", nights.backup / "flowrunner.backup"],
        env={**os.environ, "FLOWRUNNER_DATA_DIR": str(restored.data_dir)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    try:
        account = restored.start().admin()
        for id in executions:
            assert account.post(f"/api/v1/executions/{id}/signals/go", {"payload": 1}).status == 200
            assert account.ended(id)["status"] == "completed"
    finally:
        restored.stop()


def test_a_night_on_which_the_backup_fails_leaves_that_of_the_night_before(nights: Nights) -> None:
    assert nights.run().returncode == 0
    before = (nights.backup / "flowrunner.backup").read_bytes()

    # As on a disk that is full.
    assert nights.run("ulimit -f 64; ").returncode != 0

    assert (nights.backup / "flowrunner.backup").read_bytes() == before
    assert [path.name for path in nights.backup.iterdir()] == ["flowrunner.backup"]
