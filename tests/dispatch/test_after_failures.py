"""Executions that could not be loaded or advanced for a while: they go on afterwards as if nothing had been."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final

import pytest

from flowrunner.dispatch import local
from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.events import Step
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.dispatch import Cancel, Signal
from flowrunner.ports.journal import Fenced
from support.databases import NOON

MARA: Final = WorkspaceId("mara")
ONE: Final = ExecutionId("exec-1")


@dataclass
class Waiting:
    """An execution that waits an hour, and then another, and so on."""

    world: "World"
    id: ExecutionId
    workspace_id: WorkspaceId = MARA
    status: Status = Status.RUNNING
    cut_off: Mapping[Step, int] = field(default_factory=dict)

    def hold(self) -> None:
        raise AssertionError("there are free slots")

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self.world.received.append(signal.key)
        answer.set_result(True)

    def cancel(self, request: Cancel, answer: "asyncio.Future[bool] | None" = None) -> None:
        self.status = self.world.status = Status.CANCELLED
        if answer is not None:
            answer.set_result(True)

    async def advance(self) -> datetime | None:
        if self.world.failures_of["advance"]:
            raise self.world.failures_of["advance"].pop()
        if self.status.is_final:
            return None
        self.world.wakes.append(self.world.time)
        self.world.due_at = self.world.time + timedelta(hours=1)
        return self.world.due_at


class World:
    """The engine and the database of one dispatcher, with one execution at most, and the failures to come."""

    def __init__(self) -> None:
        self.time = NOON
        self.failures_of: dict[str, list[Exception]] = {"load": [], "advance": [], "give_up": []}
        self.is_there = False
        self.status = Status.RUNNING
        self.due_at: datetime | None = None
        self.wakes: list[datetime] = []
        self.received: list[str] = []
        self.is_stopping = False

    def now(self) -> datetime:
        return self.time

    async def open(self) -> None:
        pass

    def stop(self) -> None:
        self.is_stopping = True

    def set_others_wait(self, others_wait: bool) -> None:
        pass

    async def begin(self, new: Any, flow: object, input: object, *, at_once: bool) -> Waiting | None:
        self.is_there = True
        return Waiting(self, new.id) if at_once else None

    async def load(self, id: ExecutionId) -> Waiting | None:
        if self.failures_of["load"]:
            raise self.failures_of["load"].pop()
        if not self.is_there:
            raise NotFound("execution")
        return None if self.status.is_final else Waiting(self, id)

    async def give_up(self, id: ExecutionId) -> None:
        if self.failures_of["give_up"]:
            raise self.failures_of["give_up"].pop()
        self.status = Status.FAILED

    async def stored(self, id: ExecutionId) -> Any:
        return SimpleNamespace(id=id, workspace_id=MARA, status=self.status)

    async def unfinished(self, *_: object, **__: object) -> Sequence[object]:
        return ()

    unreconciled = queued_keys = unfinished

    async def settle(self) -> None:
        pass

    async def due(self, *, now: datetime, limit: int) -> Sequence[object]:
        is_due = self.due_at is not None and self.due_at <= now and not self.status.is_final
        return [(ONE, MARA)] if is_due else []

    async def next_wake(self, **_: object) -> None:
        return None


@asynccontextmanager
async def dispatching(world: World) -> AsyncIterator[LocalDispatcher]:
    parts: Any = world
    dispatcher = LocalDispatcher(
        parts, parts, journal=parts, due=parts, concurrency=parts, children=parts, most_active=100,
        limits=WorkspaceLimits(active=1, queued=1),
    )  # fmt: skip
    await dispatcher.open()
    try:
        await dispatcher.start(SimpleNamespace(id=ONE, workspace_id=MARA), parts, None)  # type: ignore[arg-type]
        await settled(dispatcher)
        yield dispatcher
    finally:
        await dispatcher.close()


async def settled(dispatcher: LocalDispatcher) -> None:
    """Wait until nothing is loaded or about to be loaded again."""
    calm = 0
    for _ in range(1000):
        await asyncio.sleep(0)
        calm = 0 if dispatcher.active or dispatcher.queued else calm + 1
        if calm == 20:
            return
    raise AssertionError("it does not come to rest")


async def an_hour_later(world: World, dispatcher: LocalDispatcher) -> None:
    world.time += timedelta(hours=1)
    dispatcher._timers.expect(datetime.min.replace(tzinfo=world.time.tzinfo))
    await settled(dispatcher)


FAILURES: Final[Sequence[Mapping[str, Sequence[type[Exception]]]]] = [
    {"load": [Unavailable]},
    {"load": [Unavailable] * 7},
    {"load": [ZeroDivisionError]},
    {"advance": [Unavailable]},
    {"advance": [Fenced]},
    {"advance": [ZeroDivisionError], "give_up": [Unavailable]},
    {"advance": [Unavailable], "load": [Unavailable]},
]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the number of the failed attempts for each delay, which takes no time."""
    found: list[int] = []

    def seconds_after(attempts: int) -> float:
        found.append(attempts)
        return 0.0

    monkeypatch.setattr(local, "seconds_after", seconds_after)
    return found


@pytest.mark.parametrize("failures", FAILURES, ids=repr)
async def test_an_execution_that_failed_for_a_while_is_woken_at_all_its_later_times(
    failures: Mapping[str, Sequence[type[Exception]]], attempts: list[int]
) -> None:
    world = World()
    async with dispatching(world) as dispatcher:
        for _ in range(2):
            world.failures_of |= {place: [error("not now") for error in errors] for place, errors in failures.items()}
            await an_hour_later(world, dispatcher)
            assert not any(world.failures_of.values())
        await an_hour_later(world, dispatcher)

        assert world.wakes == [NOON + timedelta(hours=hours) for hours in range(4)]
        # The delays rise only as long as it cannot even be loaded.
        loads, advances = len(failures.get("load", ())), len(failures.get("advance", ()))
        assert attempts == [*range(1, loads + 1), *[1] * advances] * 2
        # Its slot is free for others.
        assert dispatcher._active_limit.has_free_slot(MARA)


@pytest.mark.usefixtures("attempts")
async def test_a_message_to_an_execution_that_cannot_be_loaded_is_refused_at_once_and_taken_later() -> None:
    world = World()
    async with dispatching(world) as dispatcher:
        world.failures_of["load"] = [Unavailable("not now")] * 9

        with pytest.raises(Unavailable, match="cannot be loaded at the moment"):
            await dispatcher.signal(ONE, Signal(key="paid", payload=None))
        assert len(world.failures_of["load"]) == 8
        world.failures_of["load"].clear()
        await settled(dispatcher)
        assert await dispatcher.signal(ONE, Signal(key="shipped", payload=None))

    assert world.received == ["shipped"]
