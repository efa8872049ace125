"""Work that is read in batches and changes what is read."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


async def handle_all(
    read: Callable[[], Awaitable[Sequence[T]]],
    handle: Callable[[T], Awaitable[None]],
    *,
    key: Callable[[T], Hashable],
    concurrent: int,
) -> None:
    """Read and handle batches until one has nothing new.

    Args:
        read: Returns the next batch; what has been handled may still be in it, such as if another process did so.
        key: Tells items apart; none with the same key is handled twice.
        concurrent: Most items that are handled at the same time.

    Raises: the first error of ``handle``, after the whole batch.
    """
    handled: set[Hashable] = set()
    free = asyncio.Semaphore(concurrent)

    async def handle_one(item: T) -> None:
        async with free:
            await handle(item)

    while batch := await read():
        news = [item for item in batch if key(item) not in handled]
        if not news:
            return
        for error in await asyncio.gather(*map(handle_one, news), return_exceptions=True):
            if error is not None:
                raise error
        handled.update(map(key, news))
