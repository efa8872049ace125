"""So many at once, each followed by the next as soon as it has ended: how many end in a second?"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any


async def closed_loop(run_one: Callable[[str], Awaitable[None]], in_flight: int, seconds: float) -> dict[str, Any]:
    """Counts for ``seconds``, from when as many have ended as are in flight.

    Args:
        run_one: Is given a name that no other one has.
    """
    done = 0
    is_over = False
    is_warm = asyncio.Event()

    async def keep_one_in_flight(delay: float) -> None:
        nonlocal done
        # All at once they would go on in step.
        await asyncio.sleep(delay)
        while not is_over:
            await run_one(uuid.uuid4().hex)
            done += 1
            if done >= in_flight:
                is_warm.set()

    async with asyncio.TaskGroup() as tasks:
        for number in range(in_flight):
            tasks.create_task(keep_one_in_flight(number / in_flight))
        await is_warm.wait()
        begun, before = time.perf_counter(), done
        await asyncio.sleep(seconds)
        elapsed, counted = time.perf_counter() - begun, done - before
        is_over = True
    return {"per_second": counted / elapsed, "all": done}
