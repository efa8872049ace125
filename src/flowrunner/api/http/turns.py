"""Input of many connections is read over several iterations of the event loop, in turns of their addresses."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

# A request takes up to a millisecond until its handler first waits for something.
_MOST_REQUESTS: Final = 64


class Turns:
    """Counts the requests that begin in one iteration of the event loop; later ones read the input beyond them.

    Addresses take turns, so that a crowd of connections from one delays another by one request at a time.

    Attributes:
        are_over: No more input is to be read in this iteration.
    """

    def __init__(self) -> None:
        self.are_over = False
        self._begun = 0
        self._is_scheduled = False
        # Ordered: the address that is next comes first.
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()

    def count(self) -> None:
        """Count a request that begins."""
        self._begun += 1
        self.are_over = self.are_over or self._begun >= _MOST_REQUESTS
        self._schedule()

    def wait(self, address: str, read: Callable[[], None]) -> None:
        """Call ``read`` in a later iteration."""
        self._waiting.setdefault(address, deque()).append(read)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_next)

    def _begin_next(self) -> None:
        self._begun, self.are_over, self._is_scheduled = 0, False, False
        try:
            for _ in range(_MOST_REQUESTS):
                if not self._waiting or self.are_over:
                    break
                address, waiting = self._waiting.popitem(last=False)
                read = waiting.popleft()
                if waiting:
                    self._waiting[address] = waiting
                read()
        finally:
            # One that fails keeps no other from being read.
            if self._waiting:
                self.are_over = True
                self._schedule()
