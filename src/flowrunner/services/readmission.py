"""Requests that have waited are admitted again, because their callers may have lost access meanwhile."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final

# Admits the request that the running task answers once more if its admission may be outdated, and raises if its caller
# has lost access since; None for work of the server itself. Tasks inherit it.
READMIT: Final[ContextVar[Callable[[], Awaitable[None]] | None]] = ContextVar("READMIT", default=None)


async def readmit() -> None:
    """Admit the request that the running task answers once more, if it answers one. Raises: what its admission does."""
    if (admit_again := READMIT.get()) is not None:
        await admit_again()
