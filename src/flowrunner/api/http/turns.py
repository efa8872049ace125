"""Input of many connections is read over several iterations of the event loop, in turns of their addresses."""

import asyncio
from collections.abc import Callable
from typing import Final

from flowrunner.api.http.address_turns import AddressTurns

# A request takes up to a millisecond until its handler first waits for something, the handshake of a WebSocket takes
# several, and a piece of a head or body takes little.
HANDSHAKE: Final = 32
REQUEST: Final = 8
PIECE: Final = 1
_MOST: Final = 32 * REQUEST


class Turns:
    """Counts the input that is read in one iteration of the event loop. What is beyond its limit waits for later ones.

    Attributes:
        are_over: No more input is to be read in this iteration.
    """

    def __init__(self) -> None:
        self.are_over = False
        self._read = 0
        self._is_scheduled = False
        self._waiting = AddressTurns()

    def count(self, weight: int) -> None:
        """Count a piece of input, or a request in it, which is read only while the turns are not over."""
        self._read += weight
        self.are_over = self._read >= _MOST
        self._schedule()

    def wait(self, address: str, read: Callable[[], None]) -> None:
        """Call ``read`` in a later iteration."""
        self._waiting.add(address, read)
        self._schedule()

    def leave(self, address: str, read: Callable[[], None]) -> None:
        """Do not call ``read`` any more."""
        self._waiting.discard(address, read)

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_next)

    def _begin_next(self) -> None:
        self._read, self.are_over, self._is_scheduled = 0, False, False
        try:
            for _ in range(_MOST):
                if not self._waiting or self.are_over:
                    break
                self._waiting.take()()
        finally:
            # One that fails keeps no other from being read.
            if self._waiting:
                self.are_over = True
                self._schedule()
