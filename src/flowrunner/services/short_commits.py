"""Long changes in short commits, between which running executions write."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Rows that a purge deletes in one commit, which takes about 10 ms.
PURGED_AT_ONCE: Final = 500
# Of work that a request waits for.
_PAUSE_SECONDS: Final = 0.005
# Rows that are deleted together, which may have a megabyte each, and the time that their deletion may take.
_LEAST_DELETED: Final = 20
_MOST_DELETED: Final = 500
_DELETION_SECONDS: Final = 0.1


async def commit_in_portions(commit: Callable[[], Awaitable[bool]], *, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Repeat a short commit, with pauses, while it returns that there is more to do."""
    has_more = True
    while has_more:
        has_more = await commit()
        await asyncio.sleep(pause_seconds)


class ShortDeletions(Generic[T]):
    """Deletion of many rows in commits whose length follows the time that they take."""

    def __init__(self, delete: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._delete = delete
        self._limit = _LEAST_DELETED

    async def run(self, ids: Sequence[T]) -> None:
        """Delete the rows in this order. Other writes happen in between, in half of the time."""
        done = 0
        while done < len(ids):
            portion = ids[done : done + self._limit]
            began = time.monotonic()
            await self._delete(portion)
            seconds = time.monotonic() - began
            done += len(portion)
            is_long = seconds > _DELETION_SECONDS
            self._limit = max(self._limit // 2, _LEAST_DELETED) if is_long else min(2 * self._limit, _MOST_DELETED)
            await asyncio.sleep(seconds)
