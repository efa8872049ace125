"""What is done to an installation, and by whose hand it ends again."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from chaos.installation import Installation, Kind, Machine
from chaos.load import Load
from support.engine_processes import engine_processes_of
from support.proxy import (
    AtMessage,
    Bandwidth,
    Direction,
    Down,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

POSTGRES: Final = "postgres"
# Past the silence after which another server takes over, and past the heartbeat after which Temporal gives the work
# of a worker to another.
_SERVER_PAUSE_SECONDS: Final = (3.5, 6.0)
_TAKE_OVER_SECONDS: Final = 10.0
_PROCESS_PAUSE_SECONDS: Final = (1.0, 4.0)
_WORKER_PAUSE_SECONDS: Final = (11.0, 15.0)
_TOXIC_SECONDS: Final = (1.0, 4.0)
LONG_CUT: Final = "a minute's timeout"
LONG_CUT_SECONDS: Final = 60.0
_READY_SECONDS: Final = 240.0
_ANSWER_SECONDS: Final = 10.0
# A recovery of some executions asks PostgreSQL so often.
_ROUND_TRIPS: Final = 250


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault that strikes somebody.

    Attributes:
        targets: Who is struck: names of machines, or PostgreSQL.
        strike: Done when the fault is over, which is not to say that its consequences are.
    """

    fault: str
    targets: frozenset[str]
    strike: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """Where faults strike."""

    installation: Installation
    load: Load
    draw: random.Random
    # Who is struck already by what comes at once.
    struck: set[str] = field(default_factory=set)

    def a(self, machines: Sequence[Machine]) -> Machine:
        return self.draw.choice([machine for machine in machines if machine.name not in self.struck] or machines)

    @property
    def active(self) -> Machine:
        """The server that works, as far as one can tell, or else any that is not struck."""
        url = self.installation.find_url()
        working = [machine for machine in self.installation.servers if machine.server.url == url]
        return self.a([machine for machine in working if machine.name not in self.struck] or self.installation.servers)


Fault: TypeAlias = Callable[[Scene], Blow]


def _server_killed(scene: Scene) -> Blow:
    return _killed("server killed", scene, scene.active)


def _worker_killed(scene: Scene) -> Blow:
    return _killed("worker killed", scene, scene.a(scene.installation.workers))


def _killed(fault: str, scene: Scene, machine: Machine) -> Blow:
    async def strike() -> None:
        await asyncio.sleep(scene.draw.random() * 0.8)
        await asyncio.to_thread(machine.server.kill)
        await asyncio.to_thread(machine.server.spawn)

    return Blow(fault, frozenset({machine.name}), strike)


def _server_killed_at_its_answer(scene: Scene) -> Blow:
    machine = scene.active

    async def strike() -> None:
        await asyncio.sleep(scene.draw.random() * 0.3)
        await scene.load.at_next_answer(machine.server.url, machine.server.kill, seconds=_ANSWER_SECONDS)
        await asyncio.to_thread(machine.server.spawn)

    return Blow("server killed at its answer", frozenset({machine.name}), strike)


def _server_killed_while_it_starts(scene: Scene) -> Blow:
    machine = scene.active

    async def strike() -> None:
        await asyncio.to_thread(machine.server.kill)
        await asyncio.to_thread(machine.server.spawn)
        await asyncio.sleep(0.1 + scene.draw.random() * 1.2)
        await asyncio.to_thread(machine.server.kill)
        await asyncio.to_thread(machine.server.spawn)

    return Blow("server killed while it starts", frozenset({machine.name}), strike)


def _engine_process_killed(scene: Scene) -> Blow:
    machine = scene.active

    async def strike() -> None:
        await asyncio.sleep(scene.draw.random() * 0.8)
        for pid in _an_engine_process(scene, machine):
            _signal(pid, signal.SIGKILL)

    return Blow("engine process killed", frozenset({f"{machine.name}'s engine"}), strike)


def _engine_process_paused(scene: Scene) -> Blow:
    machine = scene.active

    async def strike() -> None:
        for pid in _an_engine_process(scene, machine):
            _signal(pid, signal.SIGSTOP)
            await asyncio.sleep(scene.draw.uniform(*_PROCESS_PAUSE_SECONDS))
            _signal(pid, signal.SIGCONT)

    return Blow("engine process paused", frozenset({f"{machine.name}'s engine"}), strike)


def _an_engine_process(scene: Scene, machine: Machine) -> Sequence[int]:
    """Return one of them; none while the server is not there."""
    found = [] if machine.server.has_ended() else engine_processes_of(machine.server.pid)
    return [scene.draw.choice(found)] if found else []


def _signal(pid: int, number: signal.Signals) -> None:
    # Its server may have been killed meanwhile.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _postgres_killed(scene: Scene) -> Blow:
    postgres = scene.installation.postgres
    assert postgres is not None

    async def strike() -> None:
        await asyncio.sleep(scene.draw.random() * 0.8)
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(scene.draw.random() * 0.3)
        await asyncio.to_thread(postgres.start)

    return Blow("PostgreSQL killed", frozenset({POSTGRES}), strike)


def _postgres_killed_during_a_recovery(scene: Scene) -> Blow:
    """A server dies, and PostgreSQL goes at any one of the questions that it is asked from then on."""
    machine, postgres = scene.active, scene.installation.postgres
    assert postgres is not None
    links = [machine.links[POSTGRES] for machine in scene.installation.machines]

    def restart() -> None:
        postgres.kill()
        postgres.start()

    async def strike() -> None:
        at_message = AtMessage(scene.draw.randint(1, _ROUND_TRIPS), restart)
        await asyncio.to_thread(machine.server.kill)
        for link in links:
            await asyncio.to_thread(link.add, at_message, "upstream")
        await asyncio.to_thread(machine.server.spawn)
        async with asyncio.timeout(_READY_SECONDS):
            while not at_message.is_done:  # noqa: ASYNC110 # it is done in another thread
                await asyncio.sleep(0.02)
        for link in links:
            await asyncio.to_thread(link.heal)

    everybody = frozenset(machine.name for machine in scene.installation.machines)
    return Blow("PostgreSQL killed during a recovery", everybody | {POSTGRES}, strike)


def _postgres_paused(scene: Scene) -> Blow:
    postgres = scene.installation.postgres
    assert postgres is not None

    async def strike() -> None:
        await asyncio.to_thread(postgres.pause)
        await asyncio.sleep(scene.draw.uniform(1.0, 4.0))
        await asyncio.to_thread(postgres.resume)

    return Blow("PostgreSQL paused", frozenset({POSTGRES}), strike)


def _server_paused(scene: Scene) -> Blow:
    """A server is stopped until after another one has taken over, if there is one."""
    machine = scene.active
    others = [other for other in scene.installation.servers if other is not machine]

    async def strike() -> None:
        machine.pause()
        await asyncio.sleep(scene.draw.uniform(*_SERVER_PAUSE_SECONDS))
        # One that has lost its role before may be silent for longer.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TAKE_OVER_SECONDS):
                while others and not await asyncio.to_thread(any, (other.is_ready() for other in others)):  # noqa: ASYNC110
                    await asyncio.sleep(0.2)
        machine.resume()

    return Blow("server paused", frozenset({machine.name}), strike)


def _worker_paused(scene: Scene) -> Blow:
    return _paused("worker paused", scene, scene.a(scene.installation.workers), _WORKER_PAUSE_SECONDS)


def _paused(fault: str, scene: Scene, machine: Machine, seconds: tuple[float, float]) -> Blow:
    async def strike() -> None:
        machine.pause()
        await asyncio.sleep(scene.draw.uniform(*seconds))
        machine.resume()

    return Blow(fault, frozenset({machine.name}), strike)


def _on_a_line(name: str, make: Callable[[random.Random], Toxic], seconds: tuple[float, float]) -> Fault:
    def fault(scene: Scene) -> Blow:
        machine = scene.a([scene.active, *scene.installation.workers])
        to, link = scene.draw.choice(sorted(machine.links.items()))
        direction: Direction | None = scene.draw.choice(("upstream", "downstream", None))

        async def strike() -> None:
            await asyncio.to_thread(link.add, make(scene.draw), direction)
            await asyncio.sleep(scene.draw.uniform(*seconds))
            await asyncio.to_thread(link.heal)

        return Blow(f"{name} to {to}", frozenset({machine.name}), strike)

    return fault


def _late_goodbye(scene: Scene) -> Blow:
    """A server dies, and PostgreSQL hears of it late: it holds on to the locks of one that is no more."""
    machine = scene.active

    async def strike() -> None:
        toxic = SlowClose(scene.draw.uniform(0.5, 3.0))
        await asyncio.to_thread(machine.links[POSTGRES].add, toxic, "upstream")
        await asyncio.to_thread(machine.server.kill)
        await asyncio.to_thread(machine.server.spawn)
        await asyncio.sleep(toxic.closing_seconds)
        await asyncio.to_thread(machine.links[POSTGRES].heal)

    return Blow(f"slow_close to {POSTGRES}", frozenset({machine.name}), strike)


TOXICS: Final[Mapping[str, Fault]] = {
    "latency": _on_a_line("latency", lambda draw: Latency(draw.uniform(0.02, 0.2), jitter=0.02), _TOXIC_SECONDS),
    "down": _on_a_line("down", lambda draw: Down(), _TOXIC_SECONDS),
    "bandwidth": _on_a_line("bandwidth", lambda draw: Bandwidth(draw.uniform(4_000, 40_000)), _TOXIC_SECONDS),
    "slow_close": _late_goodbye,
    "timeout": _on_a_line("timeout", lambda draw: Timeout(draw.choice((None, 1.0))), (2.0, 8.0)),
    "reset_peer": _on_a_line("reset_peer", lambda draw: ResetPeer(draw.uniform(0.0, 0.5)), _TOXIC_SECONDS),
    "slicer": _on_a_line("slicer", lambda draw: Slicer(draw.randint(1, 64), 0.001), _TOXIC_SECONDS),
    "limit_data": _on_a_line("limit_data", lambda draw: LimitData(draw.randint(100, 20_000)), _TOXIC_SECONDS),
}
_KILLS_OF_SERVERS: Final[Mapping[str, Fault]] = {
    "server killed": _server_killed,
    "server killed at its answer": _server_killed_at_its_answer,
    "server killed while it starts": _server_killed_while_it_starts,
}
_OF_PROCESSES: Final[Mapping[str, Fault]] = {
    "engine process killed": _engine_process_killed,
    "engine process paused": _engine_process_paused,
}
_OF_POSTGRES: Final[Mapping[str, Fault]] = {
    "PostgreSQL killed": _postgres_killed,
    "PostgreSQL killed during a recovery": _postgres_killed_during_a_recovery,
    "PostgreSQL paused": _postgres_paused,
}
FAULTS: Final[Mapping[str, Fault]] = {
    **_KILLS_OF_SERVERS,
    "server paused": _server_paused,
    **_OF_PROCESSES,
    **_OF_POSTGRES,
    **TOXICS,
    "worker killed": _worker_killed,
    "worker paused": _worker_paused,
    LONG_CUT: _on_a_line(LONG_CUT, lambda draw: Timeout(), (LONG_CUT_SECONDS, LONG_CUT_SECONDS)),
}
POSSIBLE: Final[Mapping[Kind, Sequence[str]]] = {
    "sqlite": [*_KILLS_OF_SERVERS, "server paused"],
    "processes": [*_KILLS_OF_SERVERS, "server paused", *_OF_PROCESSES],
    "postgres": [*_KILLS_OF_SERVERS, "server paused", *_OF_POSTGRES, *TOXICS],
    "postgres-processes": [*_KILLS_OF_SERVERS, "server paused", *_OF_PROCESSES, *_OF_POSTGRES, *TOXICS],
    "temporal": [name for name in FAULTS if name != LONG_CUT and name not in _OF_PROCESSES],
}
# How often each is drawn where the others are drawn once.
WEIGHTS: Final[Mapping[str, int]] = {
    "server killed": 3,
    "server killed at its answer": 3,
    "server killed while it starts": 2,
    "worker killed": 6,
    "engine process killed": 6,
    "PostgreSQL killed": 4,
    "PostgreSQL killed during a recovery": 3,
}
