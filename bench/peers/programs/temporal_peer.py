"""The workloads on Temporal: its development server, a worker, and clients in a process of their own.

The server keeps all in memory; as the variant `file`, in a file.
"""

# mypy: ignore-errors
# Its library is installed in another venv.

import asyncio
import sys
import time
import uuid
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import aiohttp
    from temporalio.client import Client
    from temporalio.worker import Worker

    from bench.peers.load import Task, log_file, report, run_all, running, wait_for
    from bench.processes import HOST, READY, free_port

_QUEUE = "peer"
session: aiohttp.ClientSession


@activity.defn
async def get(url: str) -> Any:
    async with session.get(url) as answer:
        return await answer.json()


@activity.defn
async def post(url: str, value: Any) -> Any:
    async with session.post(url, json=value) as answer:
        return await answer.json()


@activity.defn
async def nothing(value: int) -> int:
    return value


def step(function: object, *arguments: object) -> Any:
    return workflow.execute_activity(function, args=arguments, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class TwoCalls:
    @workflow.run
    async def run(self, url: str) -> Any:
        return await step(post, url, await step(get, url))


@workflow.defn
class TenSteps:
    @workflow.run
    async def run(self, url: str) -> int:
        value = 0
        for number in range(10):
            value = await step(nothing, number)
        return value


@workflow.defn
class TenCalls:
    @workflow.run
    async def run(self, url: str) -> Any:
        value = None
        for _ in range(10):
            value = await step(get, url)
        return value


WORKFLOWS = {"W1": TwoCalls, "W2": TenSteps, "W3": TenCalls}


async def work(address: str) -> None:
    global session
    client = await Client.connect(address)
    async with aiohttp.ClientSession() as session:
        async with Worker(client, task_queue=_QUEUE, workflows=[*WORKFLOWS.values()], activities=[get, post, nothing]):
            print(READY, flush=True)
            await asyncio.Event().wait()


async def connected(address: str) -> Client:
    while True:
        try:
            return await Client.connect(address)
        except RuntimeError:
            await asyncio.sleep(0.02)


async def main(task: Task) -> None:
    begun = time.perf_counter()
    address = f"{HOST}:{(port := free_port())}"
    start = [task.command("temporal"), "server", "start-dev", "--ip", HOST, "--port", str(port), "--headless",
             "--log-level", "error"]  # fmt: skip
    if task.variant == "file":
        start += ["--db-filename", f"{task.directory}/temporal.db"]
    with running(start, task) as server:
        async with asyncio.timeout(60):
            client = await connected(address)
        with running([sys.executable, "-m", "bench.peers.programs.temporal_peer", "work", address], task) as worker:
            wait_for(task, lambda: READY in log_file(task).read_text(), server, worker)
            started = time.perf_counter() - begun

            async def completed(function: object) -> None:
                await client.execute_workflow(function, task.receiver, id=uuid.uuid4().hex, task_queue=_QUEUE)

            runs = {name: partial(completed, one.run) for name, one in WORKFLOWS.items()}
            report(await run_all(runs, task, [server.pid, worker.pid]), start_seconds=started)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[2]) if sys.argv[1] == "work" else main(Task.given()))
