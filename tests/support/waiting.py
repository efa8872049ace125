"""Patience with processes that come to something in their own time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowrunner.domain.errors import Unavailable

T = TypeVar("T")
# How long anything may take that must come, on a machine that is slow and has other work. A test has 600 s in all.
PATIENCE_SECONDS: Final = 120.0


def pause(since: float) -> None:
    """Wait between two looks: for a tenth of the time since then, as each look takes time from what is waited for."""
    time.sleep(min(0.1, max(0.005, (time.monotonic() - since) / 10)))


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> float:
    """How long it took until the condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, "it never came to that"
        pause(start)
    return time.monotonic() - start


async def eventually(work: Callable[[], Awaitable[T]], *, seconds: float = PATIENCE_SECONDS) -> T:
    """What the work gives once it does not raise `Unavailable` any more."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await work()
            except Unavailable:
                await asyncio.sleep(0.02)
