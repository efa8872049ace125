"""A cache that drops what has not been used for longest."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Values by key, bounded by their weights.

    Args:
        most: Weight of all values. Beyond it, those that were not used for longest are dropped; a heavier value is not
            kept.

    Attributes:
        weight: Weight of all values.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Ordered by last use, the oldest first.
        self._kept: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.weight = 0

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[tuple[K, V]]:
        """Yield the keys and values, those that were not used for longest first."""
        return ((key, value) for key, (value, _) in self._kept.items())

    def get(self, key: K) -> V | None:
        """Return the value and count that as a use; None if there is none."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, weight: int = 1) -> None:
        """Keep a value, replacing an earlier one."""
        self.forget(key)
        if weight > self._most:
            return
        self._kept[key] = value, weight
        self.weight += weight
        while self.weight > self._most:
            self.drop_oldest()

    def forget(self, key: K) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self.weight -= found[1]

    def drop_oldest(self) -> None:
        _, (_, weight) = self._kept.popitem(last=False)
        self.weight -= weight
