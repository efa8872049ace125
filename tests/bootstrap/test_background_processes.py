"""A background job of several real processes on one PostgreSQL database, some of which die or hang."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from support.databases import emptied_postgres_database
from support.postgres import PostgresServer
from support.server import clean_environment
from support.waiting import wait_for

# Each run writes a line at its begin, at each step, and at its end.
PROCESS: Final = """
import asyncio, os, signal, sys
from flowrunner.bootstrap import background
from flowrunner.clock import SystemClock
from flowrunner.storage.background import SqlJobClaims
from flowrunner.storage.postgres.location import PostgresUrl

background.LEASE_SECONDS, background.RENEWAL_SECONDS = 1.5, 0.3
url, path = sys.argv[1:]

def write(what):
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {what}\\n")

async def run():
    write("began")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        write("was cancelled")
        raise

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = PostgresUrl(url=url).open(on_commit=lambda size: None)
    job = background.Background(name="job", every=0.2, run=run, where="one", first_after=0.0)
    async with background.running([job], clock=SystemClock(), claims=SqlJobClaims(database)):
        await stop.wait()
    await database.close()

asyncio.run(main())
"""


class Processes:
    def __init__(self, url: str, path: Path) -> None:
        self._url, self._path = url, path
        self._all: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, count: int) -> None:
        for _ in range(count):
            command = [sys.executable, "-c", PROCESS, self._url, str(self._path)]
            process = subprocess.Popen(command, env=clean_environment())
            self._all[process.pid] = process

    @property
    def lines(self) -> list[tuple[int, str]]:
        text = self._path.read_text() if self._path.exists() else ""
        return [(int(pid), what) for pid, _, what in (line.partition(" ") for line in text.splitlines())]

    def until(self, condition: Callable[[list[tuple[int, str]]], bool]) -> list[tuple[int, str]]:
        wait_for(lambda: condition(self.lines))
        return self.lines

    def holder(self, runs: int) -> int:
        """Wait for so many runs, and return the process of the last one."""
        lines = self.until(lambda lines: sum(what == "began" for _, what in lines) >= runs)
        return next(pid for pid, what in reversed(lines) if what == "began")

    def send(self, pid: int, number: signal.Signals) -> None:
        self._all[pid].send_signal(number)

    def wait(self, pid: int) -> int:
        return self._all[pid].wait(30)

    def end(self) -> None:
        for process in self._all.values():
            if process.poll() is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
                process.wait()


@pytest.fixture
def processes(postgres: PostgresServer, tmp_path: Path) -> Iterator[Processes]:
    running = Processes(emptied_postgres_database(postgres), tmp_path / "runs")
    try:
        yield running
    finally:
        running.end()


def test_another_process_takes_over_the_job_of_one_that_is_killed(processes: Processes) -> None:
    processes.start(3)
    first = processes.holder(1)

    processes.send(first, signal.SIGKILL)
    processes.wait(first)

    second = processes.holder(2)
    assert second != first
    assert processes.lines == [(first, "began"), (second, "began")]


def test_a_process_that_hung_finds_that_another_one_has_its_job(processes: Processes) -> None:
    processes.start(2)
    first = processes.holder(1)
    processes.send(first, signal.SIGSTOP)
    second = processes.holder(2)

    processes.send(first, signal.SIGCONT)

    lines = processes.until(lambda lines: (first, "was cancelled") in lines)
    assert lines == [(first, "began"), (second, "began"), (first, "was cancelled")]


def test_a_process_that_is_stopped_leaves_its_job_to_another_one(processes: Processes) -> None:
    processes.start(2)
    first = processes.holder(1)

    processes.send(first, signal.SIGTERM)

    assert processes.wait(first) == 0
    second = processes.holder(2)
    assert second != first
    assert processes.lines[:2] == [(first, "began"), (first, "was cancelled")]
