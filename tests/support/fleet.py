"""Servers and workers, each a process, on one PostgreSQL database; on one Temporal server where they share the work."""

import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.postgres import PostgresServer
from support.receiver import Receiver
from support.server import PROGRAM, Server
from support.temporal import Temporal


class Fleet:
    """Processes with the same keys; the first server makes them.

    Args:
        dispatch: Where Temporal is; without it one of the servers does all the work.
    """

    def __init__(self, directory: Path, database: str, dispatch: str | None = None) -> None:
        self._directory = directory
        self.database = database
        self.settings: dict[str, str | None] = {"DATABASE_URL": database, "DISPATCH": dispatch}
        self.all: list[Server] = []

    def set(self, **settings: str) -> None:
        """Settings of the processes that are added from now on."""
        self.settings |= settings

    def add(
        self,
        command: str = "serve",
        *,
        program: Sequence[str] = PROGRAM,
        is_cold: bool = False,
        **settings: str | None,
    ) -> Server:
        """A further process, not started yet, with settings of its own. Args: as those of `Server`."""
        directory = self._directory / f"{command}-{len(self.all)}"
        directory.mkdir()
        server = Server(directory, {**self.settings, **settings}, program=program, command=command, is_cold=is_cold)
        if self.all:
            shutil.copytree(self.all[0].data_dir / "keys", server.data_dir / "keys")
            server.data_dir.chmod(0o700)
        self.all.append(server)
        return server

    def worker(self) -> Server:
        return self.add("worker").start()

    def end(self) -> None:
        for server in self.all:
            if not server.has_ended():
                os.kill(server.pid, signal.SIGCONT)
                server.kill()


def is_standby(process: Server) -> bool:
    if process.find_url() is None:
        return False
    answer = process.client().get("/readyz")
    return answer.status == 503 and "standby" in answer.error["message"]


@pytest.fixture(scope="module")
def lasting_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that keeps what it was given, whoever is killed."""
    server = PostgresServer({"fsync": "on"})
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    running = Temporal(tmp_path_factory.mktemp("temporal"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def fleet(lasting_postgres: PostgresServer, temporal: Temporal, tmp_path: Path) -> Iterator[Fleet]:
    database = lasting_postgres.new_database()
    fleet = Fleet(tmp_path, database, temporal.url(database.rpartition("/")[2]))
    try:
        yield fleet
    finally:
        fleet.end()


@pytest.fixture
def callee(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver of this test's own, whose requests are all counted."""
    (tmp_path / "callee").mkdir()
    running = Receiver(tmp_path / "callee")
    try:
        yield running.start()
    finally:
        running.stop()
