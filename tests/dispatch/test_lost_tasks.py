"""Executions whose workers die again and again: Temporal waits for each longer than for the one before."""

from datetime import timedelta
from typing import NoReturn

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse
from temporalio.client import Client, WorkflowExecutionStatus

from dispatch.cluster import Cluster, Front
from flowrunner.bootstrap.dispatching import temporal_jobs
from flowrunner.dispatch.temporal import dispatcher, lost_tasks, workflow_client
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId


async def dying_worker(client: Client, queue: str) -> PollWorkflowTaskQueueResponse:
    """Take a task as a worker does that dies then."""
    request = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), identity="dying")
    return await client.workflow_service.poll_workflow_task_queue(request, timeout=timedelta(seconds=60))


async def test_an_execution_does_not_wait_for_the_last_of_many_workers_that_died_with_it(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_client, "TASK_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(dispatcher, "_LATE", timedelta(0))
    monkeypatch.setattr(lost_tasks, "_LOST_AFTER_SECONDS", 0.0)
    sweep = front.side.dispatcher.sweep
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    id = await front.start()
    tasks = []
    for _ in range(4):
        # Temporal is soon enough with the first ones, so sweeps leave them to it.
        tasks.append(await dying_worker(front.client, machines.url.queue))
        if len(tasks) < 4:
            await sweep()
            await sweep()
    assert len({task.workflow_execution.run_id for task in tasks}) == 1

    await sweep()
    await sweep()

    again = await dying_worker(front.client, machines.url.queue)
    assert again.attempt == 1, "the fifth attempt of the same task would come seconds later"
    assert again.workflow_execution.workflow_id == id
    async with machines.worker():
        assert await front.until_ended(id) == [Status.COMPLETED]


async def test_an_execution_that_a_worker_had_acquired_does_not_wait_either(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was begun and is not due, so nothing but its task shows that it waits."""
    monkeypatch.setattr(workflow_client, "TASK_TIMEOUT", timedelta(seconds=1))
    monkeypatch.setattr(lost_tasks, "_LOST_AFTER_SECONDS", 0.0)
    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    id = await front.start()
    await front.side.journal.acquire(id, await front.side.journal.epoch())
    for _ in range(4):
        await dying_worker(front.client, machines.url.queue)

    for job in temporal_jobs(front.side.dispatcher):
        if job.name in ("temporal.sweep", "temporal.running", "temporal.suspects"):
            await job.run()

    again = await dying_worker(front.client, machines.url.queue)
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
