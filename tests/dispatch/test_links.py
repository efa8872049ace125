"""Effects of executions on each other: who is told of what, and who takes the slot that another one leaves."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from flowrunner.dispatch.links import LinkingDispatcher
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.ports.children import UnreconciledChild
from flowrunner.ports.dispatch import PARENT_HAS_ENDED, PARENT_HAS_GONE_ON, REPLACED, Signal
from flowrunner.ports.journal import Fenced, NewExecution
from support.databases import MARA, REQUESTED, creation
from support.flows import flow_of


class World:
    """The other executions, as the ports show them.

    Attributes:
        queued: Executions that wait for a slot, by its key.
        outages: How many calls fail from now on.
    """

    def __init__(self) -> None:
        self.pairs: list[UnreconciledChild] = []
        self.ends: dict[str, Signal] = {}
        self.orphans: dict[str, Sequence[str]] = {}
        self.queued: dict[str, deque[str]] = {}
        self.holding: dict[str, list[str]] = {}
        self.older: dict[str, Sequence[str]] = {}
        self.replacing: set[str] = set()
        self.outages = 0
        self.unreadable: set[str] = set()

    async def unreconciled(self, parent: str | None = None) -> Sequence[UnreconciledChild]:
        return [pair for pair in self.pairs if parent in (None, pair.parent)]

    async def end_of(self, id: str) -> Signal | None:
        if id in self.unreadable:
            raise RuntimeError("it cannot be read")
        return self.ends.get(id)

    async def orphaned_children(self, parent: str, children: Sequence[str]) -> Sequence[str]:
        return [child for child in self.orphans.get(parent, ()) if child in children]

    async def queued_keys(self) -> Sequence[str]:
        return list(self.queued)

    async def admit(self, key: str) -> tuple[str, WorkspaceId] | None:
        admitted = self.queued[key].popleft() if self.queued.get(key) else None
        if admitted is not None:
            self.holding.setdefault(key, []).append(admitted)
        if self.outages:
            self.outages -= 1
            raise Unavailable("an outage")
        return None if admitted is None else (admitted, MARA)

    async def holding_slot(self, key: str) -> Sequence[tuple[str, WorkspaceId]]:
        return [(id, MARA) for id in self.holding.get(key, ())]

    async def last_queued(self, key: str) -> str | None:
        return self.queued[key][-1] if self.queued.get(key) else None

    async def replaces(self, id: str) -> bool:
        return id in self.replacing

    async def older_with_key(self, id: str) -> Sequence[str]:
        return self.older.get(id, ())


class Links(LinkingDispatcher):
    """A dispatcher that notes what reaches executions, and does its background work when the test says."""

    def __init__(self, world: Any) -> None:
        super().__init__(world, world, world)
        self.did: list[tuple[str, ...]] = []
        self.work: deque[Callable[[], Awaitable[None]]] = deque()
        self.error: Exception | None = None

    async def _start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        if self.error is not None:
            raise self.error
        self.did.append(("start", new.id))

    async def _send(self, id: ExecutionId, signal: Signal) -> None:
        self.did.append(("signal", id, signal.key))

    async def _end(self, id: ExecutionId, *, reason: str) -> None:
        self.did.append(("end", id, reason))

    async def _resume_admitted(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        self.did.append(("resume", id, workspace_id))

    def _keep_trying(self, work: Callable[[], Awaitable[None]], failure: str, what: str) -> None:
        self.work.append(work)

    async def all_done(self) -> list[tuple[str, ...]]:
        while self.work:
            work = self.work.popleft()
            try:
                await work()
            except Unavailable:
                self.work.append(work)
        return sorted(self.did)


def pair(child: str, parent: str, **ended: bool) -> UnreconciledChild:
    return UnreconciledChild(child=ExecutionId(child), parent=ExecutionId(parent), **ended)


def signal(key: str) -> Signal:
    return Signal(key=key, payload=None)


FLOW = flow_of("nodes: {a: {type: return}}")


def starts() -> Iterator[Any]:
    child = ChildOf(execution_id=ExecutionId("exec-0"), step="call.1", failures=0, flows=())
    yield pytest.param(REQUESTED, Unavailable, id="of a request")
    yield pytest.param(child, Fenced, id="of a step")


async def test_a_parent_is_told_of_the_end_of_its_child_and_a_child_is_cancelled() -> None:
    links = Links(World())
    links.child_ended(ExecutionId("parent"), signal("flow call.1"))
    links.cancel_soon(ExecutionId("child"), reason="no longer needed")

    assert links.did == []
    assert await links.all_done() == [("end", "child", "no longer needed"), ("signal", "parent", "flow call.1")]
    assert links.waits_to_become_active(ExecutionId("child")) is False


async def test_notifications_that_were_lost_between_executions_are_repeated() -> None:
    world = World()
    world.pairs = [
        pair("a1", "a", parent_has_ended=True), pair("b1", "b", child_has_ended=True), pair("b2", "b"), pair("b3", "b"),
        pair("c1", "c", child_has_ended=True), pair("d1", "d", child_has_ended=True),
    ]  # fmt: skip
    world.ends = {"b1": signal("flow b.1"), "d1": signal("flow d.1")}
    world.orphans = {"b": ["b3", "x"]}
    links = Links(world)

    await links._reconcile_all()

    assert await links.all_done() == [
        ("end", "a1", PARENT_HAS_ENDED), ("end", "b3", PARENT_HAS_GONE_ON),
        ("signal", "b", "flow b.1"), ("signal", "d", "flow d.1"),
    ]  # fmt: skip


async def test_one_parent_is_reconciled_alone() -> None:
    world = World()
    world.pairs = [pair("a1", "a", parent_has_ended=True), pair("b1", "b", parent_has_ended=True)]
    links = Links(world)
    links.reconcile_children(ExecutionId("b"))

    assert await links.all_done() == [("end", "b1", PARENT_HAS_ENDED)]


async def test_a_parent_that_cannot_be_reconciled_holds_up_no_other_and_is_tried_again() -> None:
    world = World()
    world.pairs = [pair("a1", "a", child_has_ended=True), pair("b1", "b", child_has_ended=True)]
    world.ends, world.unreadable = {"a1": signal("flow a.1"), "b1": signal("flow b.1")}, {"a1"}
    links = Links(world)

    await links._reconcile_all()
    world.unreadable.clear()

    assert await links.all_done() == [("signal", "a", "flow a.1"), ("signal", "b", "flow b.1")]


async def test_a_slot_that_is_left_is_taken_by_those_that_wait_for_it() -> None:
    world = World()
    world.queued = {"k": deque(["e1", "e2"]), "l": deque(["e3"])}
    links = Links(world)
    links.release_slot("k")

    assert await links.all_done() == [("resume", "e1", MARA), ("resume", "e2", MARA)]


async def test_one_that_got_a_slot_during_an_outage_advances_too() -> None:
    world = World()
    world.queued, world.outages = {"k": deque(["e1", "e2"])}, 1
    links = Links(world)
    links.release_slot("k")

    # After an outage, all that hold a slot are resumed, some of them once more, which is harmless.
    assert set(await links.all_done()) == {("resume", "e1", MARA), ("resume", "e2", MARA)}


async def test_the_newest_of_a_queue_replaces_the_older_ones_before_it_gets_the_slot() -> None:
    world = World()
    world.queued = {"k": deque(["e1", "e2"]), "l": deque(["e3"])}
    world.replacing, world.older = {"e2"}, {"e2": ["e0", "e1"], "e3": ["e9"]}
    links = Links(world)

    await links._reconcile_all()
    done = await links.all_done()

    assert [one for one in done if one[0] == "end"] == [("end", "e0", REPLACED), ("end", "e1", REPLACED)]
    assert [one[1] for one in done if one[0] == "resume"] == ["e1", "e2", "e3"]


async def test_an_execution_replaces_the_older_ones_of_its_limit() -> None:
    world = World()
    world.older = {"e2": ["e1"]}
    links = Links(world)
    links.replace(ExecutionId("e2"))

    assert await links.all_done() == [("end", "e1", REPLACED)]


@pytest.mark.parametrize(("cause", "error"), list(starts()))
async def test_a_start_of_a_server_that_lost_the_journal_may_be_tried_again_unless_a_step_made_it(
    cause: Any, error: type[Exception]
) -> None:
    links, new = Links(World()), creation("exec-1", epoch=1, cause=cause).create
    assert new is not None
    await links.start(new, FLOW, {})
    links.error = Fenced("another engine owns the journal")

    with pytest.raises(error):
        await links.start(new, FLOW, {})

    assert links.did == [("start", "exec-1")]
