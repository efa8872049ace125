"""Executions that are told things more often than Temporal takes signals for a workflow: ten thousand times."""

import asyncio
from collections.abc import Iterator

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from dispatch.cluster import PATIENCE_SECONDS, Cluster, Front
from flowrunner.dispatch.temporal import workflow_client
from flowrunner.dispatch.temporal.workflow import (
    ADVANCE,
    ADVANCE_LOCALLY,
    NUDGE,
    WORKFLOW,
    AdvanceResult,
    ExecutionWorkflow,
)
from flowrunner.domain.status import Status
from support.dependencies import Acting
from support.temporal import Temporal

MOST_SIGNALS = 5
RUNS_MANY = """
nodes:
  both:
    type: parallel
    branches:
      stays: {nodes: {stay: {type: test.stay}}}
      runs:
        nodes:
          each:
            type: foreach
            params: {items: "${[...Array(40).keys()]}"}
            nodes: {call: {type: flow, params: {flow: child, input: {}}}}
            next: done
          done: {type: test.done}
"""


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    running = Temporal(tmp_path_factory.mktemp("temporal"), history__maximumSignalsPerExecution=str(MOST_SIGNALS))
    try:
        yield running.start()
    finally:
        running.stop()


async def test_a_flow_that_stays_in_memory_is_notified_by_all_its_sub_flows(machines: Cluster, front: Front) -> None:
    is_done = asyncio.Event()

    async def stay(value: object, context: object) -> None:
        await is_done.wait()

    async def done(value: object, context: object) -> None:
        is_done.set()

    machines.add_type(Acting("test.stay", stay))
    machines.add_type(Acting("test.done", done))
    await front.save("nodes: {a: {type: return, params: {value: 1}}}", "child")
    await front.save(RUNS_MANY)
    # Fewer places than sub-flows: none of them is held by one that has ended.
    async with machines.worker(most_active=8):
        assert await front.until_ended(await front.start()) == [Status.COMPLETED]


async def test_what_cannot_be_done_for_one_execution_holds_up_no_other(
    machines: Cluster, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_client, "_SETTLE_SECONDS", 0.2)

    async def fail() -> None:
        raise AssertionError

    await front.save("nodes: {a: {type: return, params: {value: 1}}}")
    async with machines.worker() as worker:
        worker._workflows.keep_trying(fail, "temporal.nudge_failed", "exec-1")
        id = await front.start()

        assert await front.until_ended(id) == [Status.COMPLETED]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await front.client.get_workflow_handle(id).result()


async def test_a_nudge_at_the_end_of_an_advance_leads_to_another_one(machines: Cluster, front: Front) -> None:
    id, queue = "exec-nudged", machines.url.queue
    advances: list[str] = []

    async def is_nudged() -> bool:
        """Whether the workflow has taken the nudge, while the activity still runs."""
        history = await front.client.get_workflow_handle(id).fetch_history()
        kinds = [event.event_type for event in history.events]
        nudge, task = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
        return nudge in kinds and task in kinds[kinds.index(nudge) :]

    @activity.defn(name=ADVANCE_LOCALLY)
    async def advance_locally(execution_id: str) -> AdvanceResult:
        return AdvanceResult(is_cut_off=True)

    @activity.defn(name=ADVANCE)
    async def advance(execution_id: str) -> AdvanceResult:
        advances.append(execution_id)
        if len(advances) > 1:
            return AdvanceResult(is_over=True)
        await front.client.get_workflow_handle(id).signal(NUDGE)
        await front.until(is_nudged)
        # It has not seen what it was nudged for, and waits for nothing else.
        return AdvanceResult()

    async with Worker(
        front.client,
        task_queue=queue,
        workflows=[ExecutionWorkflow],
        activities=[advance_locally, advance],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        workflow = await front.client.start_workflow(WORKFLOW, id, id=id, task_queue=queue)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await workflow.result()

    assert advances == [id, id]
