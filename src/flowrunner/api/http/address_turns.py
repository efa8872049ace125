"""A queue in which addresses take turns."""

from collections import OrderedDict
from collections.abc import Callable


class AddressTurns:
    """Calls that wait, each once. The addresses take turns, so that a crowd from one delays another by one call."""

    def __init__(self) -> None:
        # Ordered: the address that is next comes first.
        self._waiting: OrderedDict[str, OrderedDict[Callable[[], None], None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, address: str, call: Callable[[], None]) -> None:
        self._waiting.setdefault(address, OrderedDict())[call] = None

    def discard(self, address: str, call: Callable[[], None]) -> None:
        """Forget a call, if it waits."""
        waiting = self._waiting.get(address)
        if waiting is not None:
            waiting.pop(call, None)
            if not waiting:
                del self._waiting[address]

    def take(self) -> Callable[[], None]:
        """Remove and return the next call."""
        address, waiting = self._waiting.popitem(last=False)
        call, _ = waiting.popitem(last=False)
        if waiting:
            self._waiting[address] = waiting
        return call
