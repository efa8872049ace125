"""The workloads on DBOS, as its documentation writes them: asynchronous workflows and steps, on PostgreSQL.

Run by the interpreter of a venv that has dbos and aiohttp: dbos_peer.py DATABASE_URL RECEIVER_URL SECONDS CLIENTS
"""

# mypy: ignore-errors
# Its library is installed in another venv.

import asyncio
import json
import os
import resource
import sys
import time

import aiohttp
from dbos import DBOS

begun_at = time.perf_counter()
database, receiver, seconds, clients = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
DBOS(config={"name": "peer", "system_database_url": database, "log_level": "ERROR"})
session: aiohttp.ClientSession


@DBOS.step()
async def get() -> object:
    async with session.get(receiver) as answer:
        return await answer.json()


@DBOS.step()
async def post(value: object) -> object:
    async with session.post(receiver, json=value) as answer:
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


async def measured(workflow) -> dict[str, float]:
    latencies: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()

    async def client() -> None:
        while time.perf_counter() - begun < seconds:
            start = time.perf_counter()
            await workflow()
            latencies.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client() for _ in range(clients)))
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    latencies.sort()
    return {
        "per_second": len(latencies) / took,
        "p50_ms": latencies[len(latencies) // 2],
        "p99_ms": latencies[int(len(latencies) * 0.99)],
        "cpu_ms": used * 1000 / len(latencies),
    }


async def main() -> None:
    global session
    async with aiohttp.ClientSession() as session:
        workloads = {"W1": two_calls, "W2": ten_steps, "W3": ten_calls}
        found = {name: await measured(workflow) for name, workflow in workloads.items()}
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**found, "start_seconds": started_seconds, "memory_mb": megabytes}))


if __name__ == "__main__":
    DBOS.launch()
    started_seconds = time.perf_counter() - begun_at
    asyncio.run(main())
    sys.stdout.flush()
    os._exit(0)
