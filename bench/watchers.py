"""Clients with WebSockets (the token is in BENCH_TOKEN).

python -m bench.watchers hold PORT SOCKETS EXECUTION_ID…     opens them, says so, and reads until it is ended
python -m bench.watchers watch PORT FLOW_ID CLIENTS SECONDS  runs executions, and sees each to its end
"""

import asyncio
import json
import os
import signal
import sys
import time
from typing import Any, Final

import aiohttp
import uvloop

from bench.processes import HOST, READY, BenchFailed
from bench.rest import percentile
from bench.subscriber import subscribe

# How many connect at once.
_CONNECTING: Final = 50
# Watchers rest, so that the processor does not keep all of them waiting.
_REST_SECONDS: Final = 0.05
_LAST: Final = b'"execution_completed"'
_PATIENCE_SECONDS: Final = 20.0


async def hold(port: int, count: int, execution_ids: list[str], token: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    room = asyncio.Semaphore(_CONNECTING)

    async def open_one(number: int) -> Any:
        async with room:
            return await subscribe(port, execution_ids[number % len(execution_ids)], token)

    sockets = await asyncio.gather(*(open_one(number) for number in range(count)))
    print(READY, flush=True)
    await ended.wait()
    lost = sum(socket.ended.done() for socket in sockets)
    print(json.dumps({"lost": lost}), flush=True)


async def watch(port: int, flow_id: str, clients: int, seconds: float, token: str) -> dict[str, Any]:
    """Milliseconds from the request to run an execution to the message that it has completed."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    headers = {"Authorization": f"Bearer {token}"}

    async def run_and_see(session: aiohttp.ClientSession) -> float:
        begun = time.perf_counter()
        async with session.post(f"/api/v1/flows/{flow_id}/run", json={}) as response:
            if response.status != 201:
                raise BenchFailed(f"{response.status}: {await response.text()}")
            id = (await response.json())["execution_id"]
        completed: asyncio.Future[float] = loop.create_future()

        def on_message(text: bytes) -> None:
            if _LAST in text and not completed.done():
                completed.set_result(time.perf_counter())

        subscriber = await subscribe(port, id, token, on_message)
        try:
            return (await asyncio.wait_for(completed, _PATIENCE_SECONDS) - begun) * 1000
        finally:
            subscriber.close()

    async def watch_on(session: aiohttp.ClientSession) -> None:
        while loop.time() < ends_at:
            took.append(await run_and_see(session))
            await asyncio.sleep(_REST_SECONDS)

    async with aiohttp.ClientSession(f"http://{HOST}:{port}", headers=headers) as session, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(watch_on(session))
    took.sort()
    return {"count": len(took), "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}


def main() -> None:
    token = os.environ["BENCH_TOKEN"]
    match sys.argv[1:]:
        case ["hold", port, count, *execution_ids]:
            uvloop.run(hold(int(port), int(count), execution_ids, token))
        case ["watch", port, flow_id, clients, seconds]:
            print(json.dumps(uvloop.run(watch(int(port), flow_id, int(clients), float(seconds), token))))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
