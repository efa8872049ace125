"""What all workers together record of a workspace is stored only as far as it may be kept."""

import json

import pytest

from dispatch.cluster import Cluster
from flowrunner.domain.errors import Conflict
from flowrunner.domain.events import Failed
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.storage.usage import SqlUsage
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT
from support.dependencies import answer

MOST = 500_000
GROWS = """
start: a
nodes:
  a: {type: http.request, params: {url: "http://peer/"}, next: b}
  b: {type: http.request, params: {url: "http://peer/"}, next: a}
"""


async def test_executions_on_several_workers_keep_no_more_than_their_workspace_may(machines: Cluster) -> None:
    machines.limits = WorkspaceLimits(stored=MOST)
    machines.http.at("http://peer/", answer(body=json.dumps("x" * 60_000)))
    async with machines.server() as front, machines.worker(), machines.worker():
        await front.save(GROWS)
        ids = [await front.start() for _ in range(6)]

        assert await front.until_ended(*ids) == [Status.FAILED] * 6
        # Two statements at once do not see each other.
        assert await SqlUsage(front.side.database).stored(MARA) < MOST + 70_000
        for id in ids:
            end = (await front.events(id))[-1]
            assert isinstance(end, Failed)
            assert end.error.type == "limit.workspace_stored"


async def test_an_execution_that_cannot_store_a_signal_ends_and_the_sender_gets_an_error(machines: Cluster) -> None:
    async with machines.server() as front, machines.worker():
        await front.save("nodes: {ask: {type: wait, params: {key: go}}}")
        id = await front.start()
        await front.until_waiting(id)
        most = await SqlUsage(front.side.database).stored(MARA)
    machines.limits = WorkspaceLimits(stored=most)
    async with machines.server() as front, machines.worker():
        with pytest.raises(Conflict):
            await front.signals.send(caller_of(MARA_ACCOUNT), id, "go", "x" * 5000)

        assert await front.until_ended(id) == [Status.FAILED]
