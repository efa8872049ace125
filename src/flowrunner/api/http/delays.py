"""Delays of answers, so that a client that repeats its request at once does it less often."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# As long as the answers tell clients to wait.
_SECONDS: Final = 1.0
# More are sent at once.
_MOST: Final = 4_096
# Answers that are due within this time are sent together.
_PAUSE_SECONDS: Final = 0.02


class Delays:
    """Answers that are sent a second later, in order. Their number is limited."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        # There is one timer: an answer that is sent may begin the wait of another one.
        self._has_timer = False

    def delay(self, send: Callable[[], None]) -> bool:
        """Call ``send`` a second later; return False, and never call it, if too many answers wait already."""
        if len(self._waiting) >= _MOST:
            return False
        loop = asyncio.get_running_loop()
        due = loop.time() + _SECONDS
        self._waiting.append((due, send))
        if not self._has_timer:
            self._has_timer = True
            loop.call_at(due, self._send)
        return True

    def _send(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            while self._waiting and self._waiting[0][0] <= now:
                self._waiting.popleft()[1]()
        finally:
            # One that fails delays no other.
            self._has_timer = bool(self._waiting)
            if self._waiting:
                loop.call_at(max(self._waiting[0][0], now + _PAUSE_SECONDS), self._send)
