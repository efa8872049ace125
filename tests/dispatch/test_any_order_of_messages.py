"""Executions of a workspace become active in the order of their starts, whatever messages they get meanwhile."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain.events import Step
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.dispatch import Cancel, Signal
from support.databases import NOON

MOST_ACTIVE: Final = 2
WORKSPACES: Final = (WorkspaceId("mara"), WorkspaceId("omar"))
CUT_OFF: Final[Mapping[Step, int]] = {Step("work", 1): 3}


@dataclass
class Execution:
    """It is active from its first advance that is not held until it is ended."""

    id: ExecutionId
    workspace_id: WorkspaceId
    world: "World"
    status: Status = Status.RUNNING
    is_held: bool = False
    unanswered: list["asyncio.Future[bool]"] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    was_held_before: bool = False
    cut_off: Mapping[Step, int] = field(default_factory=lambda: CUT_OFF)

    def hold(self) -> None:
        self.is_held = True

    def resume_after_hold(self, cut_off: Mapping[Step, int]) -> None:
        assert cut_off == CUT_OFF
        self.was_held_before = True

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self.unanswered.append(answer)
        self._answer()

    def cancel(self, request: Cancel, answer: "asyncio.Future[bool] | None" = None) -> None:
        assert answer is not None
        self.unanswered.append(answer)
        self.world.cancelled.add(self.id)
        self.ended.set()

    def nudge(self) -> None:
        self.ended.set()

    def _answer(self) -> None:
        for answer in self.unanswered:
            answer.set_result(True)
        self.unanswered.clear()

    async def advance(self) -> datetime | None:
        if self.is_held and self.id not in self.world.cancelled:
            self.world.held.add(self.id)
            self._answer()
            return None
        if not self.is_held:
            assert self.was_held_before == (self.id in self.world.held), self.id
            self.world.began.append(self.id)
            self.world.active[self.id] = self
            await self.ended.wait()
            del self.world.active[self.id]
        self.status = self.world.statuses[self.id] = (
            Status.CANCELLED if self.id in self.world.cancelled else Status.COMPLETED
        )
        self._answer()
        return None


class World:
    """The engine and the database of one dispatcher."""

    def __init__(self) -> None:
        self.statuses: dict[ExecutionId, Status] = {}
        self.began: list[ExecutionId] = []
        self.active: dict[ExecutionId, Execution] = {}
        self.held: set[ExecutionId] = set()
        self.cancelled: set[ExecutionId] = set()
        self.others_wait = False
        self.is_stopping = False

    def now(self) -> datetime:
        return NOON

    # The engine

    async def open(self) -> None:
        pass

    def stop(self) -> None:
        self.is_stopping = True

    def set_others_wait(self, others_wait: bool) -> None:
        self.others_wait = others_wait

    async def begin(self, new: Any, flow: object, input: object, *, at_once: bool) -> Execution | None:
        self.statuses[new.id] = Status.RUNNING
        return Execution(new.id, new.workspace_id, self) if at_once else None

    async def load(self, id: ExecutionId) -> Execution | None:
        return None if self.statuses[id].is_final else Execution(id, workspace_of(id), self)

    # The database

    async def stored(self, id: ExecutionId) -> Any:
        return Started(id)

    async def unfinished(self, **_: object) -> Sequence[object]:
        return ()

    due = unreconciled = queued_keys = unfinished

    async def next_wake(self, **_: object) -> None:
        return None


@dataclass
class Started:
    """A new execution, as far as the dispatcher reads it."""

    id: ExecutionId

    @property
    def workspace_id(self) -> WorkspaceId:
        return workspace_of(self.id)


def workspace_of(id: ExecutionId) -> WorkspaceId:
    return WorkspaceId(id.partition("-")[0])


async def settled(world: World, dispatcher: LocalDispatcher) -> None:
    """Wait until nothing is loaded or held any more."""
    for _ in range(100):
        await asyncio.sleep(0)
        if dispatcher.active == len(world.active):
            return
    raise AssertionError("it does not come to rest")


Act = tuple[str, int]


async def play(acts: Sequence[Act]) -> None:
    world = World()
    parts = cast("Any", world)
    dispatcher = LocalDispatcher(
        parts, parts, journal=parts, due=parts, concurrency=parts, children=parts, most_active=100,
        limits=WorkspaceLimits(active=MOST_ACTIVE),
    )  # fmt: skip
    await dispatcher.open()
    started: list[ExecutionId] = []
    for act, number in acts:
        is_open = [id for id in started if not world.statuses[id].is_final]
        if act == "start":
            id = ExecutionId(f"{WORKSPACES[number % 2]}-{len(started)}")
            started.append(id)
            await dispatcher.start(cast("Any", Started(id)), parts, None)
        elif act == "end" and world.active:
            list(world.active.values())[number % len(world.active)].ended.set()
        elif act == "signal" and is_open:
            assert await dispatcher.signal(is_open[number % len(is_open)], Signal(key="paid", payload=None))
        elif act == "cancel" and is_open:
            await dispatcher.cancel(is_open[number % len(is_open)], reason="no longer wanted")
        await settled(world, dispatcher)

        open_ones = [id for id in started if not world.statuses[id].is_final]
        assert dispatcher.queued == len(open_ones) - len(world.active)
        assert world.others_wait == bool(dispatcher.queued)
        for workspace in WORKSPACES:
            of_one = [id for id in open_ones if workspace_of(id) == workspace]
            assert [id for id in of_one if id in world.active] == of_one[:MOST_ACTIVE]

    while world.active:
        next(iter(world.active.values())).ended.set()
        await settled(world, dispatcher)
    for workspace in WORKSPACES:
        began = [id for id in world.began if workspace_of(id) == workspace]
        assert began == sorted(began, key=started.index)
    assert {*world.began} | world.cancelled == {*started}
    assert all(status.is_final for status in world.statuses.values())
    await dispatcher.close()


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(("start", "start", "end", "signal", "cancel")), st.integers(0, 9)), max_size=30)
)
def test_the_first_to_start_is_the_first_to_be_active_whatever_arrives(acts: list[Act]) -> None:
    asyncio.run(play(acts))


def test_what_a_message_has_taken_from_the_queue_has_its_place_again() -> None:
    asyncio.run(play([("start", 0)] * 5 + [("signal", 2), ("signal", 3), ("end", 0), ("end", 0), ("end", 0)]))
