"""Each iteration of the event loop is bounded, for every input: the corpus of `hostile`, beside a second client."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from security.hostile import all_cases
from security.hostile.case import Attacker, Case
from support import stall_monitor
from support.client import Client
from support.conformance import part_of
from support.receiver import Receiver
from support.scoreboard import Scoreboard
from support.server import Server
from support.slowness import slowness
from support.stall_monitor import Stalls

MOST_SECONDS: Final = 0.25
MOST_BYTES: Final = 300 * 2**20
# What caches keep: flows, their input schemas, the steps of executions, and what hides secrets (docs/limits.md).
CACHED_BYTES: Final = 256 * 2**20
_CASES: Final = all_cases()
_LONG_TODAY: Final = part_of((name, case) for name, case in _CASES if case.is_long)
# The monitor in a server that hashes passwords quickly, for what is not about a password.
QUICK_PROGRAM: Final = f"""
import sys
sys.path.insert(0, {str(Path(stall_monitor.__file__).parents[1])!r})
from support import passwords, stall_monitor
passwords.hash_quickly()
stall_monitor.main()
"""


class MonitoredServer(Server):
    """A server that tells of its stalls. Args: program: Of one with more in it than the monitor."""

    def __init__(self, directory: Path, settings: dict[str, str | None] | None = None, program: str = "") -> None:
        self._reports = directory / "stalls"
        hook = program or stall_monitor.__file__
        super().__init__(directory, settings, program=(hook, str(self._reports)), is_cold=True)

    def stalls(self) -> Stalls:
        """The worst since the last call."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._reports))
            with connection.makefile("rb") as answer:
                return Stalls(**json.loads(answer.read()))


@dataclass(slots=True)
class Monitored:
    server: MonitoredServer
    admin: Client
    idle_bytes: int


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    settings: dict[str, str | None] = {"ANONYMOUS_LOGINS": "0", "ACCOUNT_CHANGES": "0"}
    directory = tmp_path_factory.mktemp("monitored")
    program = directory / "quick.py"
    program.write_text(QUICK_PROGRAM)
    server = MonitoredServer(directory, settings, program=str(program))
    try:
        admin = server.start().admin()
        # The parts that are loaded once are there, and so is what they take.
        admin.run_to_end("nodes: {a: {type: transform, params: {script: 'return [1].map(x => x)'}}}")
        server.stalls()
        time.sleep(0.1)
        yield Monitored(server, admin, server.stalls().peak_bytes)
    finally:
        server.stop()


@contextmanager
def second_client(server: Server, *, seconds: float) -> Iterator[None]:
    """Somebody who asks `/healthz`, with this pause after each answer, and is always answered."""
    has_ended = threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while True:
            try:
                status = server.client().get("/healthz").status
            except OSError as error:
                wrong.append(error)
            else:
                if status != 200:
                    wrong.append(status)
            # An attack that is over sooner is met by one request all the same.
            if has_ended.wait(seconds):
                break

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        has_ended.set()
        asking.join()
    assert wrong == []


def faults(stalls: Stalls, idle_bytes: int, most_seconds: float = MOST_SECONDS) -> list[str]:
    """What of it is more than may be."""
    found = []
    if stalls.iteration > most_seconds:
        found.append(
            f"an iteration of the loop took {stalls.iteration:.3f} s of processor time, at: {stalls.iteration_at}"
        )
    if stalls.hold > most_seconds:
        found.append(f"a thread held the interpreter's lock for {stalls.hold:.3f} s, at: {stalls.hold_at}")
    if stalls.peak_bytes - idle_bytes > MOST_BYTES:
        found.append(f"{(stalls.peak_bytes - idle_bytes) / 2**20:.0f} MiB more than idle")
    return found


def _parameters() -> list[object]:
    return [
        pytest.param(
            case, id=name, marks=[pytest.mark.xfail(run=False, reason=f"waits for: {case.known}")] if case.known else []
        )
        for name, case in _CASES
    ]


@pytest.mark.parametrize("case", _parameters())
def test_s61_no_iteration_of_the_loop_is_long(
    monitored: Monitored, receiver: Receiver, case: Case, pytestconfig: pytest.Config, scoreboard: Scoreboard
) -> None:
    is_whole = bool(pytestconfig.getoption("--scoreboard"))
    if case.only_whole and not is_whole:
        pytest.skip("it takes its time: make security")
    if case.is_long and not is_whole and case not in _LONG_TODAY:
        pytest.skip("it is run on another day, and by make security")
    attacker = Attacker(monitored.server, monitored.admin, receiver, is_whole=is_whole)
    monitored.server.stalls()
    # Caches fill as the cases go by.
    idle_bytes = min(monitored.server.stalls().peak_bytes, monitored.idle_bytes + CACHED_BYTES)

    with second_client(monitored.server, seconds=0.02 if is_whole else 0.1):
        case.attack(attacker)

    stalls, most_seconds = monitored.server.stalls(), MOST_SECONDS
    if max(stalls.iteration, stalls.hold) > most_seconds:
        most_seconds *= slowness()
    found = faults(stalls, idle_bytes, most_seconds)
    scoreboard.count("hostile requests and flows: the loop stalled", cases=1, failures=len(found) > 0)
    assert found == []


def test_cases_have_names_of_their_own() -> None:
    names = [name for name, _ in _CASES]
    assert sorted(set(names)) == sorted(names)
