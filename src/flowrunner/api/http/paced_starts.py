"""Requests with long heads begin a few at a time, so that many of them leave time for others."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# Reading a head of 64 KiB takes up to ten milliseconds.
_MOST_AT_ONCE: Final = 4


class PacedStarts:
    """A queue of requests that begin in later iterations of the event loop, in order and a few in each."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, begin: Callable[[], None]) -> None:
        """Call ``begin`` in a later iteration."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
        self._waiting.append(begin)

    def _begin(self) -> None:
        for _ in range(min(_MOST_AT_ONCE, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin)
