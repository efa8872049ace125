"""Work in portions: batches that change what is read, and short commits."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

# Of work that a request waits for.
_PAUSE_SECONDS: Final = 0.005


async def commit_in_portions(commit: Callable[[], Awaitable[bool]], *, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Repeat a short commit while it returns that there is more to do. Running executions write in the pauses."""
    has_more = True
    while has_more:
        has_more = await commit()
        await asyncio.sleep(pause_seconds)


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
        key: Tells items apart; none with the same key is handled twice in a row.
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
        # Only of this batch: work may come as fast as it is done, and then never ends.
        handled = set(map(key, batch))
