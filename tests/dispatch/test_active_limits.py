"""A workspace has no more executions in the memory of all workers together than it may."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus

from dispatch.cluster import Cluster, Front, UntimedEngine
from flowrunner.dispatch.temporal.admission import Admission
from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.events import NodeStarted
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from flowrunner.plugin import StepContext
from flowrunner.ports.journal import Journal
from flowrunner.storage.active_slots import SqlActiveSlots
from flowrunner.storage.appends import AppendOp
from flowrunner.storage.database import Database
from flowrunner.storage.transaction import Transaction
from support.databases import OMAR, account, change, rows_of
from support.dependencies import Acting, SteppingClock

WORKS = "nodes: {work: {type: test.work, params: {value: '${input.name}'}}}"
WAITS = "nodes: {ask: {type: wait, params: {key: go}, next: work}, work: {type: test.work, params: {value: told}}}"


@dataclass
class Work:
    """Steps of the type `test.work`, which are under way until they are let go.

    On a busy machine Temporal may give an execution to a second worker before the first one notices. That is one
    execution under way, with one slot.

    Attributes:
        values: Those of the executions that have begun, in that order.
        most: Executions that were under way at the same time.
    """

    values: dict[str, object] = field(default_factory=dict)
    under_way: Counter[str] = field(default_factory=Counter)
    most: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def begun(self) -> list[object]:
        return list(self.values.values())

    async def do(self, value: object, context: StepContext) -> None:
        id = context.execution_id
        self.values.setdefault(id, value)
        self.under_way[id] += 1
        self.most = max(self.most, len(+self.under_way))
        try:
            await self.may_end.wait()
            # Long enough for others to come in, if they could.
            await asyncio.sleep(0.05)
        finally:
            self.under_way[id] -= 1


@pytest.fixture
def work(machines: Cluster) -> Work:
    work = Work()
    machines.add_type(Acting("test.work", work.do))
    return work


@pytest.fixture
async def front(machines: Cluster) -> AsyncIterator[Front]:
    machines.limits = WorkspaceLimits(active=2, queued=5)
    async with machines.server() as opened:
        yield opened


async def until_begun(front: Front, work: Work, count: int) -> None:
    async def are_under_way() -> bool:
        return len(work.begun) >= count

    await front.until(are_under_way)


async def start(front: Front, *names: str) -> list[ExecutionId]:
    return [await front.start(input={"name": name}) for name in names]


async def test_no_more_advance_at_once_than_may_and_all_come_in(machines: Cluster, front: Front, work: Work) -> None:
    await front.save(WORKS)
    async with machines.worker(), machines.worker(), machines.server() as other:
        ids = [id for n in range(7) for id in await start(other if n % 2 else front, str(n))]
        await until_begun(front, work, 2)
        work.may_end.set()

        assert await front.until_ended(*ids) == [Status.COMPLETED] * 7
    assert work.most == 2
    assert sorted(work.begun[:2], key=str) == ["0", "1"]
    # One of two admitted executions may be loaded so late that others have been loaded and left meanwhile. The tests of
    # the storage check the order of admission.
    assert sorted(work.begun[2:], key=str) == list("23456")


async def test_no_more_of_a_workspace_wait_than_may_whichever_server_is_asked(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    async with machines.server() as other:
        answers = await asyncio.gather(
            *(side.start(input={"name": "n"}) for side in (front, other) * 5), return_exceptions=True
        )
    refused = [answer for answer in answers if isinstance(answer, TooManyRequests)]
    accepted = [ExecutionId(answer) for answer in answers if isinstance(answer, str)]

    # Two have slots, and five are queued.
    assert (len(accepted), len(refused)) == (7, 3)
    assert {(r.limit, r.most, r.retry_after) for r in refused} == {("workspace_queued", 5, timedelta(seconds=5))}
    async with machines.server() as late:

        async def has_counted() -> bool:
            return late.dispatcher.queued == 7

        # Without a worker those with slots wait as well.
        await front.until(has_counted)
        assert late.dispatcher.oldest_queued_seconds > 0
    work.may_end.set()
    async with machines.worker():
        assert await front.until_ended(*accepted) == [Status.COMPLETED] * 7
        await front.until_ended(await front.start(input={"name": "one more"}))


async def test_a_queue_that_is_still_full_is_found_by_a_read(
    front: Front, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of a rejected start is rolled back for everything that shares it, and each append done by itself."""
    redone: list[ExecutionId] = []
    run = AppendOp.run

    async def noted(self: AppendOp, tx: Transaction) -> None:
        redone.append(self.execution_id)
        await run(self, tx)

    monkeypatch.setattr(AppendOp, "run", noted)
    await front.save(WORKS)
    *_, last = await start(front, *"abcdefg")
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            await start(front, "one more")
    assert len(redone) == 1

    await front.side.database.write(lambda tx: tx.run("DELETE FROM events WHERE execution_id = :id", {"id": last}))
    await front.side.database.write(lambda tx: tx.run("DELETE FROM executions WHERE id = :id", {"id": last}))
    await start(front, "one more")


class LateLeaving:
    """A journal whose previous owner frees the slot at the last moment before it loses ownership."""

    def __init__(self, journal: Journal, database: Database, tokens: dict[ExecutionId, int]) -> None:
        self._journal = journal
        self._slots = SqlActiveSlots(database)
        self._tokens = tokens

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        if id in self._tokens:
            await self._slots.leave(id, self._tokens[id])
        self._tokens[id] = await self._journal.acquire(id, epoch)
        return self._tokens[id]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def test_a_former_owner_cannot_free_the_slot_of_an_active_execution(machines: Cluster, work: Work) -> None:
    tokens: dict[ExecutionId, int] = {}
    machines.limits = WorkspaceLimits(active=2, queued=5)
    machines.wrap = lambda journal, database: LateLeaving(journal, database, tokens)
    async with machines.server() as front:
        await front.save(WORKS)
        id = await front.start(input={"name": "x"})
        await front.side.engine.load(id)
        async with machines.worker():
            await until_begun(front, work, 1)
            found = rows_of(machines.place, "SELECT is_active FROM executions")
            work.may_end.set()
            await front.until_ended(id)

    assert found == [(True,)]


async def test_active_executions_of_one_workspace_do_not_count_for_another(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    await machines.add_account(account(OMAR))
    await front.save("nodes: {a: {type: transform, params: {value: 1}}}", "omar", workspace_id=OMAR)
    async with machines.worker():
        await start(front, "0", "1", "2")
        await until_begun(front, work, 2)

        assert await front.until_ended(await front.start("omar", workspace_id=OMAR)) == [Status.COMPLETED]
        work.may_end.set()


async def test_a_waiting_execution_holds_no_slot(
    machines: Cluster, front: Front, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Admission, **_: object) -> None:
        """Nobody looks for slots whose next execution was forgotten."""

    monkeypatch.setattr(Admission, "sweep", nothing)
    machines.limits = WorkspaceLimits(active=1)
    work.may_end.set()
    await front.save(WAITS, "waits")
    await front.save(WORKS)
    async with machines.server() as narrow, machines.worker():
        waiting = [await narrow.start("waits") for _ in range(3)]
        for id in waiting:
            await narrow.until_waiting(id)

        assert await narrow.until_ended(*await start(narrow, "0", "1")) == [Status.COMPLETED] * 2
        await asyncio.gather(*(narrow.signals.send(narrow.caller, id, "go", 1) for id in waiting))
        assert await narrow.until_ended(*waiting) == [Status.COMPLETED] * 3
    assert work.most == 1


async def test_an_execution_without_a_slot_takes_signals_and_advances_when_it_gets_one(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WAITS, "waits")
    await front.save(WORKS)
    async with machines.worker():
        waiting = await front.start("waits")
        await front.until_waiting(waiting)
        ids = await start(front, "0", "1")
        await until_begun(front, work, 2)

        await front.signals.send(front.caller, waiting, "go", 1)

        assert work.begun.count("told") == 0
        assert await front.status(waiting) is not Status.COMPLETED
        work.may_end.set()
        assert await front.until_ended(waiting, *ids) == [Status.COMPLETED] * 3
    assert work.most == 2
    started = [event for event in await front.events(waiting) if isinstance(event, NodeStarted)]
    assert [(event.node, event.attempt, event.interrupted) for event in started] == [
        ("ask", 1, False),
        ("work", 1, False),
    ]


async def test_a_step_counts_as_interrupted_if_others_had_its_execution_with_a_slot_meanwhile(
    machines: Cluster, front: Front, work: Work
) -> None:
    """They may have resumed it, and have died."""
    await front.save(WAITS, "waits")
    await front.save(WORKS)
    async with machines.worker():
        waiting = await front.start("waits")
        await front.until_waiting(waiting)
        ids = await start(front, "0", "1")
        await until_begun(front, work, 2)
        await front.signals.send(front.caller, waiting, "go", 1)

        # It queues for another time.
        change(machines.place, "UPDATE executions SET queued_at = queued_at + 1 WHERE id = ?", waiting)
        work.may_end.set()
        assert await front.until_ended(waiting, *ids) == [Status.COMPLETED] * 3

    started = [event for event in await front.events(waiting) if isinstance(event, NodeStarted)]
    assert [(event.node, event.attempt, event.interrupted) for event in started] == [
        ("ask", 1, False),
        ("ask", 2, True),
        ("work", 1, False),
    ]


async def test_an_execution_without_a_slot_is_cancelled_at_once(machines: Cluster, front: Front, work: Work) -> None:
    await front.save(WORKS)
    async with machines.worker():
        first, second, third = await start(front, "0", "1", "2")
        await until_begun(front, work, 2)

        await front.dispatcher.cancel(third, reason="enough")

        assert await front.until_ended(third) == [Status.CANCELLED]
        work.may_end.set()
        assert await front.until_ended(first, second) == [Status.COMPLETED] * 2
    assert sorted(map(str, work.begun)) == ["0", "1"]


async def test_a_flow_of_a_workspace_with_one_slot_waits_for_its_sub_flow(machines: Cluster, front: Front) -> None:
    machines.limits = WorkspaceLimits(active=1)
    await front.save("nodes: {b: {type: return, params: {value: 7}}}", "child")
    await front.save("nodes: {call: {type: flow, params: {flow: child}}}")
    async with machines.server() as narrow, machines.worker():
        assert await narrow.until_ended(await narrow.start(), await narrow.start()) == [Status.COMPLETED] * 2


async def test_an_execution_admitted_by_a_process_that_died_is_nudged_again(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    *_, third = await start(front, "0", "1", "2")
    assert await front.side.slots.admit_next(front.caller.workspace_id, most=3) == third

    await front.side.admission.sweep(late=machines.clock.now(), limit=10)

    described = await front.client.get_workflow_handle(third).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_a_sweep_fills_every_free_slot(machines: Cluster, front: Front, work: Work) -> None:
    """Such as after a start with a higher limit, when no execution that ends would admit more than one."""
    await front.save(WORKS)
    ids = await start(front, "0", "1", "2", "3", "4")
    machines.limits = WorkspaceLimits(active=4, queued=5)
    async with machines.server() as wider:
        await wider.side.admission.sweep(late=machines.clock.now(), limit=10)

        handles = [wider.client.get_workflow_handle(id) for id in ids[2:4]]
        assert [(await handle.describe()).status for handle in handles] == [WorkflowExecutionStatus.RUNNING] * 2
        assert await wider.side.slots.admit_next(wider.caller.workspace_id, most=5) == ids[4]


async def test_a_forgotten_slot_is_freed(machines: Cluster, front: Front, work: Work) -> None:
    """The worker dies before it has left, and Temporal has lost the execution as well."""
    machines.limits = WorkspaceLimits(active=1)
    work.may_end.set()
    await front.save(WAITS, "waits")
    await front.save(WORKS)
    async with machines.server() as narrow:
        async with machines.worker():
            lost = await narrow.start("waits")
            await narrow.until_waiting(lost)
        await narrow.client.get_workflow_handle(lost).terminate()
        assert await narrow.side.slots.enter(lost, most=1, at=machines.clock.now())
        (other,) = await start(narrow, "0")
        await narrow.side.admission.sweep_lost(limit=10)
        async with machines.worker():
            assert await narrow.until_ended(other) == [Status.COMPLETED]


async def test_a_short_wait_keeps_no_slot_that_other_executions_of_the_workspace_wait_for(machines: Cluster) -> None:
    # What has a slot while it waits has it for good.
    machines.clock = SteppingClock()
    machines.limits, machines.engine = WorkspaceLimits(active=1, queued=5), UntimedEngine
    async with machines.server() as front, machines.worker():
        await front.save("nodes: {a: {type: delay, params: {duration: 1s}}}")
        ids = [await front.start() for _ in range(3)]

        for id in ids:
            await front.until_waiting_for(id, "a")
