"""The measurements that `test_loop_iterations.py` rests on see planted stalls, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from security.test_loop_iterations import MOST_BYTES, MonitoredServer, faults
from support import stall_monitor

# Paths at the outermost layer of a real server that stall it in one way each.
_PLANTED: Final = f"""
    import asyncio, sys, time
    sys.path.insert(0, {str(Path(stall_monitor.__file__).parent)!r})
    import stall_monitor
    import argon2.low_level
    from flowrunner.api.http.edge import Edge

    usual = Edge.__call__

    def spin():
        end = time.thread_time() + 0.5
        while time.thread_time() < end:
            pass

    def hash_password():
        argon2.low_level.hash_secret(b"x", b"saltsaltsalt", 30, 20_000, 1, 16, argon2.low_level.Type.ID)

    def fill():
        return len(bytearray(b"x") * {MOST_BYTES + 100 * 2**20})

    async def planted(self, scope, receive, send):
        match scope.get("path"):
            case "/planted/loop-in-python":
                spin()
            case "/planted/loop-in-c":
                sum(range(100_000_000))
            case "/planted/lock-in-c":
                await asyncio.to_thread(sum, range(100_000_000))
            case "/planted/python-thread":
                await asyncio.to_thread(spin)
            case "/planted/argon2":
                await asyncio.gather(*(asyncio.to_thread(hash_password) for _ in range(2)))
            case "/planted/sleep":
                await asyncio.to_thread(time.sleep, 0.5)
            case "/planted/memory":
                await asyncio.to_thread(fill)
        await usual(self, scope, receive, send)

    Edge.__call__ = planted
    stall_monitor.main()
"""


@pytest.fixture(scope="module")
def stalling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredServer]:
    directory = tmp_path_factory.mktemp("stalling")
    program = directory / "planted.py"
    program.write_text(dedent(_PLANTED))
    server = MonitoredServer(directory, program=str(program))
    try:
        yield server.start()
    finally:
        server.stop()


def faults_of(server: MonitoredServer, path: str) -> list[str]:
    idle = server.stalls().peak_bytes
    assert server.client().get(path).status == 404
    return faults(server.stalls(), idle)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/planted/loop-in-python", "an iteration of the loop took"),
        ("/planted/loop-in-c", "an iteration of the loop took"),
        ("/planted/lock-in-c", "a thread held the interpreter's lock"),
        ("/planted/memory", "MiB more than idle"),
    ],
)
def test_a_planted_stall_is_seen(stalling: MonitoredServer, path: str, told: str) -> None:
    assert told in "\n".join(faults_of(stalling, path))


def test_the_place_of_a_stall_on_the_loop_is_told(stalling: MonitoredServer) -> None:
    assert "spin" in faults_of(stalling, "/planted/loop-in-python")[0]


@pytest.mark.parametrize("path", ["/planted/python-thread", "/planted/argon2", "/planted/sleep", "/nothing"])
def test_a_thread_that_lets_others_work_is_none(stalling: MonitoredServer, path: str) -> None:
    assert faults_of(stalling, path) == []


def test_what_was_told_once_is_not_told_again(stalling: MonitoredServer) -> None:
    assert faults_of(stalling, "/planted/loop-in-python") != []
    assert faults_of(stalling, "/nothing") == []
