"""Clients of the REST API that keep so many executions of a flow in flight, and see each of them end.

python -m bench.clients URL FLOW_ID IN_FLIGHT SECONDS    (the token is in BENCH_TOKEN)
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


class _Ends:
    """Knows when executions end: it looks four times a second which of all of them still run."""

    def __init__(self, session: aiohttp.ClientSession, flow_id: str, most: int) -> None:
        self._session = session
        self._query = {"flow_id": flow_id, "status": "running", "limit": str(most)}
        self._awaited: dict[str, asyncio.Future[None]] = {}

    async def of(self, id: str) -> None:
        """Done when the execution has ended. Raises: BenchFailed if it has not completed."""
        self._awaited[id] = asyncio.get_running_loop().create_future()
        await self._awaited[id]
        del self._awaited[id]

    async def look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            awaited = list(self._awaited.items())
            running = {each["id"] for each in (await _get(self._session, "executions", **self._query))["executions"]}
            for id, ended in awaited:
                if id not in running and not ended.done():
                    ended.set_result(None)


async def load(url: str, flow_id: str, in_flight: int, seconds: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:
        ends = _Ends(session, flow_id, in_flight)

        async def run_one(name: str) -> None:
            async with session.post(f"/api/v1/flows/{flow_id}/run", json={"input": {"name": name}}) as response:
                if response.status != 201:
                    raise BenchFailed(f"{response.status}: {await response.text()}")
                id = (await response.json())["execution_id"]
            await ends.of(id)
            status = (await _get(session, f"executions/{id}"))["status"]
            if status != "completed":
                raise BenchFailed(f"{id} is {status}")

        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(ends.look())
            report = await closed_loop(run_one, in_flight, seconds)
            looking.cancel()
        return report


async def _get(session: aiohttp.ClientSession, what: str, **query: str) -> Any:
    async with session.get(f"/api/v1/{what}", params=query) as response:
        if response.status != 200:
            raise BenchFailed(f"{response.status}: {await response.text()}")
        return await response.json()


def main() -> None:
    url, flow_id, in_flight, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(load(url, flow_id, int(in_flight), float(seconds)))))


if __name__ == "__main__":
    main()
