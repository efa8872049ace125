"""What a flow on Temporal is compared with: a plain workflow, with one activity for each of the same HTTP calls.

python -m bench.plain worker ADDRESS QUEUE
python -m bench.plain load ADDRESS QUEUE URL CALLS IN_FLIGHT SECONDS
"""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from typing import Any, Final

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import aiohttp
    import uvloop
    from temporalio.client import Client
    from temporalio.worker import Worker

    from bench.closed_loop import closed_loop
    from bench.processes import READY

# As many as a worker of FlowRunner has in memory.
_MOST_ACTIVE: Final = 1000


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, url: str, calls: int) -> Any:
        answer: Any = None
        for _ in range(calls):
            answer = await workflow.execute_activity("call", url, start_to_close_timeout=timedelta(seconds=60))
        return answer


async def work(address: str, queue: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    client = await Client.connect(address)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        @activity.defn
        async def call(url: str) -> Any:
            async with session.get(url) as response:
                return {"status": response.status, "body": await response.json()}

        async with Worker(
            client, task_queue=queue, workflows=[Calls], activities=[call], max_concurrent_activities=_MOST_ACTIVE
        ):
            print(READY, flush=True)
            await ended.wait()


async def load(address: str, queue: str, work: tuple[str, int], *, in_flight: int, seconds: float) -> dict[str, Any]:
    """Args: work: What a workflow calls, and how often."""
    client = await Client.connect(address)

    async def run_one(name: str) -> None:
        answer = await client.execute_workflow(Calls.run, args=work, id=name, task_queue=queue)
        assert answer["status"] == 200

    return await closed_loop(run_one, in_flight, seconds)


def main() -> None:
    match sys.argv[1:]:
        case ["worker", address, queue]:
            uvloop.run(work(address, queue))
        case ["load", address, queue, url, calls, in_flight, seconds]:
            loading = load(address, queue, (url, int(calls)), in_flight=int(in_flight), seconds=float(seconds))
            print(json.dumps(uvloop.run(loading)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
