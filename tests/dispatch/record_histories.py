"""Recorder of histories of the present workflow, against which later versions are replayed.

`PYTHONPATH=tests python -m dispatch.record_histories`. Histories that are there already stay: executions that have
begun under an earlier version go on under a later one.
"""

import asyncio
import json
import re
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from temporalio.client import WorkflowHandle

from dispatch.cluster import Cluster, Front, cluster
from flowrunner.domain.values import ExecutionId
from support.databases import new_postgres_database
from support.dependencies import Acting
from support.postgres import PostgresServer
from support.temporal import Temporal

DIRECTORY: Final = Path(__file__).with_name("histories")
AT_ONCE: Final = "nodes: {a: {type: transform, params: {value: 1}}}"
TWICE: Final = """
nodes:
  rest: {type: delay, params: {duration: 1200ms}, next: first}
  first: {type: wait, params: {key: first}, next: second}
  second: {type: wait, params: {key: second}}
"""
AGAIN: Final = """
vars: {n: 0}
nodes:
  again:
    type: while
    params: {when: "vars.n < 7", delay: 1100ms}
    nodes: {a: {type: set, params: {n: "${vars.n + 1}"}}}
"""


async def until_over(front: Front, id: ExecutionId) -> None:
    await front.until_ended(id)
    async with asyncio.timeout(60):
        await front.client.get_workflow_handle(id).result()


async def ends_at_once(machines: Cluster, front: Front) -> ExecutionId:
    await front.save(AT_ONCE)
    async with machines.worker():
        id = await front.start()
        await until_over(front, id)
    return id


async def is_told_and_waits_and_is_taken_over(machines: Cluster, front: Front) -> ExecutionId:
    await front.save(TWICE)
    async with machines.worker():
        id = await front.start()
        await front.until_waiting_for(id, "first")
        await front.signals.send(front.caller, id, "first", 1)
    async with machines.worker():
        await front.signals.send(front.caller, id, "second", 1)
        await until_over(front, id)
    return id


async def is_cancelled_in_temporal_while_it_waits(machines: Cluster, front: Front) -> ExecutionId:
    await front.save("nodes: {ask: {type: wait, params: {key: go}}}")
    async with machines.worker():
        id = await front.start()
        await front.until_waiting(id)
        await front.client.get_workflow_handle(id).cancel()
        await until_over(front, id)
    return id


async def is_cancelled_in_temporal_while_it_runs(machines: Cluster, front: Front) -> ExecutionId:
    under_way = asyncio.Event()

    async def hang(value: object, context: object) -> None:
        under_way.set()
        await asyncio.Event().wait()

    machines.add_type(Acting("test.hang", hang))
    await front.save("nodes: {work: {type: test.hang}}")
    async with machines.worker():
        id = await front.start()
        await under_way.wait()
        await front.client.get_workflow_handle(id).cancel()
        await until_over(front, id)
    return id


async def is_left_by_a_worker_that_stops(machines: Cluster, front: Front) -> ExecutionId:
    attempts, may_end = 0, asyncio.Event()

    async def work(value: object, context: object) -> None:
        nonlocal attempts
        attempts += 1
        await may_end.wait()

    machines.add_type(Acting("test.work", work))
    await front.save(
        "nodes: {work: {type: test.work, next: more}, more: {type: test.work, next: last}, last: {type: test.work}}"
    )
    async with machines.worker():
        id = await front.start()
        while attempts == 0:  # noqa: ASYNC110 # the worker does it
            await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.5, may_end.set)
    async with machines.worker():
        await until_over(front, id)
    return id


async def begins_a_new_history(machines: Cluster, front: Front) -> ExecutionId:
    await front.save(AGAIN)
    async with machines.worker():
        id = await front.start()
        await until_over(front, id)
    return id


SCENARIOS: Final[tuple[Callable[[Cluster, Front], Awaitable[ExecutionId]], ...]] = (
    ends_at_once,
    is_told_and_waits_and_is_taken_over,
    is_cancelled_in_temporal_while_it_waits,
    is_cancelled_in_temporal_while_it_runs,
    is_left_by_a_worker_that_stops,
    begins_a_new_history,
)


async def record(machines: Cluster, scenario: Callable[[Cluster, Front], Awaitable[ExecutionId]]) -> None:
    async with machines.server() as front:
        id = await scenario(machines, front)
        handles: list[WorkflowHandle[Any, Any]] = [
            front.client.get_workflow_handle(id, run_id=run.run_id)
            async for run in front.client.list_workflows(f"WorkflowId = '{id}'")
        ]
        for number, handle in enumerate(reversed(handles), start=1):
            history = (await handle.fetch_history()).to_json_dict()
            name = scenario.__name__ + (f"-{number}" if len(handles) > 1 else "")
            (DIRECTORY / f"{name}.json").write_text(json.dumps(_anonymous(history), indent=1) + "\n")


def _anonymous(value: Any) -> Any:
    """Without the names of the machine, of the processes on it, and of its files."""
    text = json.dumps(value)
    text = re.sub(r'"stackTrace": "(?:[^"\\]|\\.)*"', '"stackTrace": ""', text)
    text = re.sub(r'"identity": "[^"]*"', '"identity": "worker"', text)
    return json.loads(re.sub(r'"name": "[^"]*@[^"]*"', '"name": "worker"', text))


async def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    postgres = PostgresServer()
    with tempfile.TemporaryDirectory() as directory:
        temporal = Temporal(Path(directory), limit__historyCount__suggestContinueAsNew="25").start()
        try:
            postgres.start()
            for scenario in SCENARIOS:
                if list(DIRECTORY.glob(f"{scenario.__name__}*.json")):
                    continue
                async with cluster(new_postgres_database(postgres), temporal.url(f"queue-{uuid4()}")) as machines:
                    await record(machines, scenario)
        finally:
            temporal.stop()
            postgres.stop()


if __name__ == "__main__":
    asyncio.run(main())
