"""Long changes in short commits, between which running executions write."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

# Of work that a request waits for.
_PAUSE_SECONDS: Final = 0.005


async def commit_in_portions(commit: Callable[[], Awaitable[bool]], *, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Repeat a short commit, with pauses, while it returns that there is more to do."""
    has_more = True
    while has_more:
        has_more = await commit()
        await asyncio.sleep(pause_seconds)
