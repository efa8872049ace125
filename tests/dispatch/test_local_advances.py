"""The first advance of an execution: within a task of its workflow while short, then in the same process."""

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.service import RPCError

from dispatch.cluster import Cluster, Front, UntimedEngine
from flowrunner.dispatch.temporal import dispatcher as dispatcher_module
from flowrunner.dispatch.temporal import worker as worker_module
from flowrunner.dispatch.temporal import workflow_client
from flowrunner.dispatch.temporal.workflow import HEARTBEAT_SECONDS
from flowrunner.domain.events import NodeStarted
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from support.dependencies import Acting, SteppingClock

WORKS = "nodes: {work: {type: test.work, idempotent: false}}"
SHORT_SECONDS = 0.2


@dataclass
class Work:
    """Steps of the type `test.work` are under way until they are let go."""

    begun: int = 0
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def do(self, value: object, context: object) -> None:
        self.begun += 1
        await self.may_end.wait()


@pytest.fixture
def work(machines: Cluster) -> Work:
    work = Work()
    machines.add_type(Acting("test.work", work.do))
    return work


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SHORT_SECONDS", SHORT_SECONDS)


async def kinds(front: Front, id: ExecutionId) -> Counter[str]:
    """The events of its workflow."""
    history = await front.client.get_workflow_handle(id).fetch_history()
    return Counter(EventType.Name(event.event_type) for event in history.events)


async def until_begun(front: Front, work: Work, count: int) -> None:
    async def have_begun() -> bool:
        return work.begun >= count

    await front.until(have_begun)


async def until_handed_over(front: Front, id: ExecutionId) -> None:
    async def is_handed_over() -> bool:
        with contextlib.suppress(RPCError):
            return (await kinds(front, id))["EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"] == 1
        # Its workflow has not been started yet.
        return False

    await front.until(is_handed_over)


async def has_closed(front: Front, id: ExecutionId) -> None:
    await front.client.get_workflow_handle(id).result()


async def test_a_short_one_costs_temporal_one_task_however_many_were_before_it(machines: Cluster, front: Front) -> None:
    await front.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
    # One at a time is advanced so.
    async with machines.worker(most_active=2):
        for _ in range(3):
            id = await front.start()

            assert await front.until_ended(id) == [Status.COMPLETED]
            await has_closed(front, id)
            events = await kinds(front, id)
            assert events["EVENT_TYPE_WORKFLOW_TASK_COMPLETED"] == 1
            assert events["EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"] == 0


async def test_one_that_takes_longer_than_a_task_of_its_workflow_may_is_asked_more_time_for(
    machines: Cluster, front: Front, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client asks at four fifths of it, and a busy machine takes the rest.
    monkeypatch.setattr(workflow_client, "TASK_TIMEOUT", timedelta(seconds=7))
    # It is not handed over before.
    monkeypatch.setattr(worker_module, "SHORT_SECONDS", 25.0)
    await front.save(WORKS)
    async with machines.worker(), machines.worker():
        id = await front.start()
        await until_begun(front, work, 1)

        async def has_been_asked_for() -> bool:
            return (await kinds(front, id))["EVENT_TYPE_WORKFLOW_TASK_COMPLETED"] >= 2

        await front.until(has_been_asked_for)
        work.may_end.set()
        assert await front.until_ended(id) == [Status.COMPLETED]
        await has_closed(front, id)

    events = await kinds(front, id)
    assert events["EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT"] == events["EVENT_TYPE_ACTIVITY_TASK_SCHEDULED"] == 0
    assert work.begun == 1


@pytest.mark.usefixtures("short")
async def test_a_longer_one_goes_on_where_it_is_and_nothing_of_it_is_cut_off(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    async with machines.worker(), machines.worker(), machines.worker():
        ids = [await front.start() for _ in range(6)]
        for id in ids:
            await until_handed_over(front, id)
        work.may_end.set()

        assert await front.until_ended(*ids) == [Status.COMPLETED] * 6
        for id in ids:
            await has_closed(front, id)

    assert work.begun == 6
    for id in ids:
        assert len([event for event in await front.events(id) if isinstance(event, NodeStarted)]) == 1


@pytest.mark.usefixtures("short")
async def test_one_whose_worker_is_gone_before_it_could_be_handed_over_goes_on_elsewhere(
    machines: Cluster, front: Front, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.dispatch.temporal.workflow.HEARTBEAT_SECONDS", 1.0)
    await front.save("nodes: {work: {type: test.work}}")
    async with contextlib.AsyncExitStack() as first:
        worker = await first.enter_async_context(machines.worker())
        # Nobody asks at the queue that is this worker's own.
        await worker._own_worker.shutdown()
        id = await front.start()
        await until_begun(front, work, 1)
        async with machines.worker():
            work.may_end.set()

            assert await front.until_ended(id) == [Status.COMPLETED]
            await has_closed(front, id)


async def test_what_comes_to_a_worker_that_stops_goes_on_elsewhere_in_the_same_workflow(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    work.may_end.set()
    async with machines.worker() as stopping:
        # It asks for tasks until its steps have ended.
        stopping._engine.stop()
        id = await front.start()

        async def is_rejected() -> bool:
            with contextlib.suppress(RPCError):
                return (await kinds(front, id))["EVENT_TYPE_MARKER_RECORDED"] == 1
            # It has not been begun yet.
            return False

        await front.until(is_rejected)
        run_id = (await front.client.get_workflow_handle(id).describe()).run_id
        async with machines.worker():
            assert await front.until_ended(id) == [Status.COMPLETED]
            await has_closed(front, id)

    assert (await front.client.get_workflow_handle(id).describe()).run_id == run_id
    assert (await kinds(front, id))["EVENT_TYPE_WORKFLOW_EXECUTION_FAILED"] == 0


@pytest.mark.usefixtures("short")
async def test_what_comes_when_an_execution_has_left_memory_and_its_workflow_does_not_know_is_taken(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No other process reads the message.
    monkeypatch.setattr(dispatcher_module, "_LATE", timedelta(hours=1))
    await front.save("nodes: {a: {type: wait, params: {key: go}}}")
    async with machines.worker() as worker:
        has_left, may_end = asyncio.Event(), asyncio.Event()

        async def settled() -> None:
            has_left.set()
            await may_end.wait()

        monkeypatch.setattr(worker._workflows, "settled", settled)
        id = await front.start()
        await has_left.wait()
        await until_handed_over(front, id)
        telling = asyncio.create_task(front.signals.send(front.caller, id, "go", 1))

        async def is_nudged() -> bool:
            return (await kinds(front, id))["EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED"] == 1

        await front.until(is_nudged)
        may_end.set()

        assert await front.until_ended(id) == [Status.COMPLETED]
        await telling


async def test_there_is_never_more_in_memory_than_a_worker_may_have(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    async with machines.worker(most_active=3) as one, machines.worker(most_active=3) as two:
        ids = [await front.start() for _ in range(9)]
        await until_begun(front, work, 6)
        await asyncio.sleep(0.5)

        assert [one.active, two.active] == [3, 3]

        work.may_end.set()
        assert await front.until_ended(*ids) == [Status.COMPLETED] * 9
    assert work.begun == 9


@pytest.mark.usefixtures("short")
async def test_temporal_gets_several_heartbeats_before_it_considers_a_worker_dead(
    machines: Cluster, front: Front, work: Work
) -> None:
    await front.save(WORKS)
    heard: set[float] = set()
    id: ExecutionId

    async def is_heard_often() -> bool:
        described = await front.client.get_workflow_handle(id).describe()
        for activity in described.raw_description.pending_activities:
            heard.add(activity.last_heartbeat_time.ToMilliseconds() / 1000)
        return any(0 < later - earlier < HEARTBEAT_SECONDS / 2 for earlier, later in pairwise(sorted(heard - {0.0})))

    async with machines.worker():
        id = await front.start()
        await until_begun(front, work, 1)

        await front.until(is_heard_often)
        work.may_end.set()
        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_a_worker_takes_no_more_tasks_while_the_turns_of_its_event_loop_are_long(
    machines: Cluster, front: Front, work: Work
) -> None:
    held: list[int] = []

    async def slow_down(value: object, context: object) -> None:
        while not work.may_end.is_set():
            held.append(worker._task_slots.held)
            time.sleep(0.12)  # noqa: ASYNC251 # it is what is tested
            await asyncio.sleep(0)

    machines.add_type(Acting("test.slow", slow_down))
    await front.save("nodes: {a: {type: test.slow}}")
    await front.save(WORKS, "flow-2")
    async with machines.worker() as worker:
        slow = await front.start()

        async def has_slowed_down(turns: int) -> bool:
            return len(held) >= turns

        await front.until(partial(has_slowed_down, 3))
        ids = await asyncio.gather(*(front.start("flow-2") for _ in range(16)))
        await front.until(partial(has_slowed_down, len(held) + 10))
        work.may_end.set()
        assert await front.until_ended(slow, *ids) == [Status.COMPLETED] * 17

    # Polls that waited before may have brought one each.
    assert max(held) == held[0]


@pytest.mark.parametrize("most_active", [1, 2, 3, 10, 99, 100, 1000, 100_000])
def test_a_worker_takes_no_more_workflow_tasks_than_the_executions_it_may_have(most_active: int) -> None:
    tasks = worker_module.most_workflow_tasks(most_active)

    # The client needs two, and at most half of the executions occupy one each.
    assert min(most_active // 2, 500) < tasks <= max(2, min(most_active, 550))


async def test_a_short_wait_keeps_no_slot_of_a_worker_that_has_no_other(machines: Cluster) -> None:
    # What has a slot while it waits has it for good.
    machines.clock, machines.engine = SteppingClock(), UntimedEngine
    async with machines.server() as front, machines.worker(most_active=2):
        await front.save("nodes: {a: {type: delay, params: {duration: 1s}}}")
        ids = [await front.start() for _ in range(4)]

        for id in ids:
            await front.until_waiting_for(id, "a")
