"""The workloads on DBOS, as its documentation writes them: asynchronous workflows and steps, on PostgreSQL."""

# mypy: ignore-errors
# Its library is installed in another venv.

import asyncio
import os
import sys

import aiohttp
from dbos import DBOS

from bench.peers.load import Task, age_seconds, report, run_all

task = Task.given()
DBOS(config={"name": "peer", "system_database_url": task.database, "log_level": "ERROR"})
session: aiohttp.ClientSession


@DBOS.step()
async def get() -> object:
    async with session.get(task.receiver) as answer:
        return await answer.json()


@DBOS.step()
async def post(value: object) -> object:
    async with session.post(task.receiver, json=value) as answer:
        return await answer.json()


@DBOS.step()
async def nothing(value: int) -> int:
    return value


@DBOS.workflow()
async def two_calls() -> object:
    return await post(await get())


@DBOS.workflow()
async def ten_steps() -> int:
    value = 0
    for number in range(10):
        value = await nothing(number)
    return value


@DBOS.workflow()
async def ten_calls() -> object:
    value = None
    for _ in range(10):
        value = await get()
    return value


async def main() -> None:
    global session
    async with aiohttp.ClientSession() as session:
        found = await run_all({"W1": two_calls, "W2": ten_steps, "W3": ten_calls}, task, [os.getpid()])
    report(found, start_seconds=started_seconds)


if __name__ == "__main__":
    DBOS.launch()
    started_seconds = age_seconds()
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)
