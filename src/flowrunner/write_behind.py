"""Values that are noted in memory and written from time to time, so that no request waits for the write."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class WriteBehind(Generic[K, V]):
    """Values by key that wait to be written.

    Args:
        store: Writes the values of some keys. Raises: Unavailable.
        combine: Returns the value of a key for which there are an earlier value and a later one; by default the later.
    """

    def __init__(
        self,
        store: Callable[[Mapping[K, V]], Awaitable[None]],
        combine: Callable[[V, V], V] = lambda earlier, later: later,
    ) -> None:
        self._store = store
        self._combine = combine
        self._pending: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._pending

    def __len__(self) -> int:
        return len(self._pending)

    def note(self, key: K, value: V) -> None:
        pending = self._pending
        pending[key] = self._combine(pending[key], value) if key in pending else value

    async def write(self) -> None:
        """Write what was noted since the last write.

        Raises: Unavailable; the next call writes it, too. Values whose outcome is unknown are then written again.
        """
        if self._pending:
            unwritten, self._pending = self._pending, {}
            try:
                await self._store(unwritten)
            except BaseException:
                # A write whose caller was cancelled may still read what it was given.
                later, self._pending = self._pending, dict(unwritten)
                for key, value in later.items():
                    self.note(key, value)
                raise
