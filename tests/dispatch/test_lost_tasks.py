"""Executions whose workers die again and again: Temporal waits for each longer than for the one before."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from copy import copy
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, NoReturn

import pytest
from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import PendingWorkflowTaskInfo
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse
from temporalio.client import Client, WorkflowExecutionStatus

from dispatch.cluster import Cluster, Front
from flowrunner.bootstrap.dispatching import temporal_jobs
from flowrunner.dispatch.temporal import dispatcher, lost_tasks, workflow_client
from flowrunner.dispatch.temporal.dispatcher import TemporalDispatcher
from flowrunner.dispatch.temporal.lost_tasks import LostTasks
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from support.temporal import Temporal

# The time that a worker has for a task.
TASK_TIMEOUT: Final = timedelta(seconds=1)


async def dying_worker(client: Client, queue: str) -> PollWorkflowTaskQueueResponse:
    """Take a task as a worker does that dies then."""
    request = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), identity="dying")
    return await client.workflow_service.poll_workflow_task_queue(request, timeout=timedelta(seconds=60))


async def task_after(check: Callable[[], Awaitable[object]], machines: Cluster, front: Front) -> Any:
    """Return the next task after a check. If that came too late, because the worker's time was up, make another one."""
    task = await dying_worker(front.client, machines.url.queue)
    for _ in range(4):
        taken_at = time.monotonic()
        await check()
        # With room for the time that the answer with the task took.
        is_in_time = time.monotonic() - taken_at < 0.7 * TASK_TIMEOUT.total_seconds()
        task = await dying_worker(front.client, machines.url.queue)
        if is_in_time or task.attempt == 1:
            break
    return task


async def test_an_execution_does_not_wait_for_the_last_of_many_workers_that_died_with_it(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_client, "TASK_TIMEOUT", TASK_TIMEOUT)
    monkeypatch.setattr(dispatcher, "_LATE", timedelta(0))
    monkeypatch.setattr(lost_tasks, "_LOST_AFTER_SECONDS", 0.0)

    async def sweep() -> None:
        for _ in range(2):
            await front.side.dispatcher.sweep()

    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    id = await front.start()
    tasks = []
    for _ in range(3):
        # Temporal is soon enough with the first ones, so sweeps leave them to it.
        tasks.append(await dying_worker(front.client, machines.url.queue))
        await sweep()
    assert len({task.workflow_execution.run_id for task in tasks}) == 1

    again = await task_after(sweep, machines, front)

    assert again.attempt == 1, "the fifth attempt of the same task would come seconds later"
    assert again.workflow_execution.workflow_id == id
    async with machines.worker():
        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_an_execution_that_a_worker_had_acquired_does_not_wait_either(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was begun and is not due, so nothing but its task shows that it waits."""
    monkeypatch.setattr(workflow_client, "TASK_TIMEOUT", TASK_TIMEOUT)
    monkeypatch.setattr(lost_tasks, "_LOST_AFTER_SECONDS", 0.0)
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    id = await front.start()
    await front.side.journal.acquire(id, await front.side.journal.epoch())
    for _ in range(3):
        await dying_worker(front.client, machines.url.queue)

    async def run_jobs() -> None:
        for job in temporal_jobs(front.side.dispatcher):
            if job.name in ("temporal.sweep", "temporal.running", "temporal.suspects"):
                await job.run()

    again = await task_after(run_jobs, machines, front)

    assert (again.attempt, again.workflow_execution.workflow_id) == (1, id)
    async with machines.worker():
        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_a_workflow_that_is_gone_is_started_again(machines: Cluster, front: Front) -> None:
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    id = await front.start()
    await dying_worker(front.client, machines.url.queue)
    await front.client.get_workflow_handle(id).terminate()

    await front.side.dispatcher.restart_all()

    async with machines.worker():
        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_a_call_that_fails_in_a_sweep_holds_up_neither_other_executions_nor_other_parts(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_LATE", timedelta(0))
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    ids = [await front.start() for _ in range(3)]
    handles = [front.client.get_workflow_handle(id) for id in ids]
    workflows = front.side.workflows
    revive = workflows.revive

    async def revive_others(id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if id == ids[0]:
            raise Unavailable("this one fails")
        await revive(id, workspace_id)

    async def fail(**asked: object) -> NoReturn:
        raise Unavailable("this part fails")

    monkeypatch.setattr(workflows, "revive", revive_others)
    monkeypatch.setattr(front.side.inbox, "waiting", fail)
    await workflows.settled()
    for handle in handles:
        await handle.terminate()

    with pytest.raises(Unavailable, match=r"this .* fails"):
        await front.side.dispatcher.sweep()

    found = [(await handle.describe()).status for handle in handles]
    ended, again = WorkflowExecutionStatus.TERMINATED, WorkflowExecutionStatus.RUNNING
    assert found == [ended, again, again]


async def test_each_worker_that_begins_a_task_has_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_tasks, "_LOST_AFTER_SECONDS", 0.2)
    task = PendingWorkflowTaskInfo(state=PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED, attempt=4)
    described = SimpleNamespace(
        status=WorkflowExecutionStatus.RUNNING,
        run_id="run",
        raw_description=SimpleNamespace(pending_workflow_task=task),
    )

    async def describe(**_: object) -> object:
        return described

    client: Any = SimpleNamespace(get_workflow_handle=lambda _: SimpleNamespace(describe=describe))
    lost = LostTasks(client)

    async def is_lost() -> bool:
        return await lost.has_to_start(ExecutionId("e"), WorkspaceId("w"))

    found = [await is_lost()]
    for attempt in (5, 6):
        await asyncio.sleep(0.25)
        task.attempt = attempt
        found.append(await is_lost())
    await asyncio.sleep(0.25)

    assert found == [False, False, False]
    assert await is_lost()


# Executions of which one pass over the running ones asks Temporal


def recorded(front: Front, monkeypatch: pytest.MonkeyPatch) -> tuple[TemporalDispatcher, list[ExecutionId]]:
    """Return a dispatcher without background jobs, with pages of 10, and the executions that it asks Temporal about."""
    monkeypatch.setattr(dispatcher, "_PAGE", 10)
    own, workflows = copy(front.side.dispatcher), copy(front.side.workflows)
    own._workflows = workflows
    workflows._lost = lost = LostTasks(front.client)
    has_to_start, checked = lost.has_to_start, list[ExecutionId]()

    async def check(id: ExecutionId, workspace_id: WorkspaceId) -> bool:
        checked.append(id)
        return await has_to_start(id, workspace_id)

    monkeypatch.setattr(lost, "has_to_start", check)
    return own, checked


async def test_an_outage_of_temporal_ends_a_pass_at_once(
    front: Front, temporal: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    ids = [await front.start() for _ in range(40)]
    await front.side.workflows.settled()
    own, checked = recorded(front, monkeypatch)
    monkeypatch.setattr(lost_tasks, "_RPC", timedelta(seconds=0.3))

    for one_pass in (own.revive_running, own._revive_all):
        checked.clear()
        with temporal.paused(), pytest.raises(Unavailable):
            await one_pass()
        # Eight are asked about at a time; seven of them are replaced before the eighth has failed.
        assert 8 <= len(checked) <= 15

    checked.clear()
    monkeypatch.setattr(lost_tasks, "_RPC", timedelta(seconds=10))
    await own.revive_running()
    assert sorted(checked) == sorted(ids)


async def test_a_pass_is_bounded_and_the_next_one_continues_there(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    ids = sorted([await front.start() for _ in range(25)])
    await front.side.workflows.settled()
    own, checked = recorded(front, monkeypatch)
    monkeypatch.setattr(dispatcher, "_MOST_OF_A_PASS", 20)
    revive = own._workflows.revive

    async def revive_others(id: ExecutionId, workspace_id: WorkspaceId) -> None:
        await revive(id, workspace_id)
        if id == ids[3]:
            raise Unavailable("this one fails")

    monkeypatch.setattr(own._workflows, "revive", revive_others)
    passes = []
    for is_failing in (True, False, True):
        checked.clear()
        if is_failing:
            with pytest.raises(Unavailable, match="this one fails"):
                await own.revive_running()
        else:
            await own.revive_running()
        passes.append(sorted(checked))

    assert passes == [ids[:20], ids[20:], ids[:20]]
    checked.clear()
    with pytest.raises(Unavailable, match="this one fails"):
        await own.restart_all()
    assert sorted(checked) == ids
