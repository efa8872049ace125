"""Executions that are told things more often than Temporal takes signals for a workflow: ten thousand times."""

import asyncio
from collections.abc import Iterator

import pytest

from dispatch.cluster import PATIENCE_SECONDS, Cluster, Front
from flowrunner.dispatch.temporal import workflow_client
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
