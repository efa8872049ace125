"""Requests with long heads begin one at a time, so that many of them leave time for others."""

import asyncio
from collections.abc import Callable

from flowrunner.api.http.address_turns import AddressTurns


class PacedStarts:
    """Requests that begin in later iterations of the event loop, one in each, in turns of their addresses.

    Reading a head of 64 KiB takes up to ten milliseconds.
    """

    def __init__(self) -> None:
        self._waiting = AddressTurns()
        self._is_scheduled = False

    def add(self, address: str, begin: Callable[[], None]) -> None:
        """Call ``begin`` in a later iteration."""
        self._waiting.add(address, begin)
        self._schedule()

    def leave(self, address: str, begin: Callable[[], None]) -> None:
        """Do not call ``begin`` any more."""
        self._waiting.discard(address, begin)

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._is_scheduled = False
        try:
            if self._waiting:
                self._waiting.take()()
        finally:
            # One that fails keeps no other from beginning.
            self._schedule()
