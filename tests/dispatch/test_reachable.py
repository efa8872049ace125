"""Whether Temporal can be reached, as the metrics tell it."""

import asyncio
from datetime import timedelta
from typing import Any, cast

from google.protobuf.duration_pb2 import Duration
from structlog.testing import capture_logs
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from dispatch.cluster import PATIENCE_SECONDS, Cluster, Front
from flowrunner.dispatch.temporal.worker import TemporalWorker
from flowrunner.dispatch.temporal.workflow_client import WorkflowClient
from support.temporal import Temporal


async def test_temporal_without_its_namespace_is_not_reachable(temporal: Temporal) -> None:
    name, nothing = "soon-deleted", cast("Any", None)
    client = await Client.connect(temporal.address, namespace=name)
    workflows = WorkflowClient(client, "queue", journal=nothing, inbox=nothing, vault=nothing, clock=nothing)

    async def until_reachable(wanted: bool) -> None:
        # Temporal keeps for a while which namespaces there are.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await workflows.is_reachable() is not wanted:  # noqa: ASYNC110 # Temporal has no other sign of it
                await asyncio.sleep(0.1)

    retention = Duration(seconds=int(timedelta(days=1).total_seconds()))
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    await until_reachable(True)

    await client.operator_service.delete_namespace(DeleteNamespaceRequest(namespace=name))

    await until_reachable(False)


async def test_a_worker_that_has_ended_by_itself_says_why(temporal: Temporal, machines: Cluster, front: Front) -> None:
    client = await Client.connect(temporal.address, namespace="nowhere")
    side = front.side
    worker = TemporalWorker(
        side.engine, side.workflows, side.inbox, side.admission, machines.clock, client=client,
        queue=machines.url.queue, most_active=10,
    )  # fmt: skip

    with capture_logs() as lines:
        await worker.open()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while worker.is_open:  # noqa: ASYNC110 # as its server looks
                await asyncio.sleep(0.1)
        await worker.close()

    assert {line["event"] for line in lines} == {"dispatcher.failed"}
    assert "nowhere" in lines[0]["exception"]
