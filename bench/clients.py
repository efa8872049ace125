"""Clients of the REST API that keep so many executions of a flow in flight, and see each of them end.

python -m bench.clients URL FLOW_ID FIRST_LOOK_SECONDS IN_FLIGHT SECONDS    (the token is in BENCH_TOKEN)
"""

import asyncio
import json
import os
import sys
from typing import Any, Final

import aiohttp
import uvloop

from bench.closed_loop import closed_loop
from bench.processes import BenchFailed

_LOOK_SECONDS: Final = 0.25


async def load(url: str, flow_id: str, first_look: float, in_flight: int, seconds: float) -> dict[str, Any]:
    """Args: first_look: Seconds that an execution takes at least: nobody asks earlier."""
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:

        async def run_one(name: str) -> None:
            async with session.post(f"/api/v1/flows/{flow_id}/run", json={"input": {"name": name}}) as response:
                if response.status != 201:
                    raise BenchFailed(f"{response.status}: {await response.text()}")
                id = (await response.json())["execution_id"]
            await asyncio.sleep(first_look)
            while (status := await _status(session, id)) in ("running", "waiting"):
                await asyncio.sleep(_LOOK_SECONDS)
            if status != "completed":
                raise BenchFailed(f"{id} is {status}")

        return await closed_loop(run_one, in_flight, seconds)


async def _status(session: aiohttp.ClientSession, id: str) -> str:
    async with session.get(f"/api/v1/executions/{id}") as response:
        if response.status != 200:
            raise BenchFailed(f"{response.status}: {await response.text()}")
        status: str = (await response.json())["status"]
        return status


def main() -> None:
    url, flow_id, first_look, in_flight, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(load(url, flow_id, float(first_look), int(in_flight), float(seconds)))))


if __name__ == "__main__":
    main()
