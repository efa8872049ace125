"""A cache bounded in bytes, and the measurement of the memory that a value takes."""

import gc
import sys
from collections import Counter, OrderedDict
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, Generic, TypeVar

from flowrunner.domain.values import WorkspaceId

K = TypeVar("K")
V = TypeVar("V")

# Objects that values refer to without owning them.
_SHARED: Final = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


class WeighedCache(Generic[K, V]):
    """The values that accounts used last, bounded in bytes.

    Args:
        most: Bytes of all values. Beyond it, values of the least recently active account are dropped.
        share: Bytes of one account. Beyond it, the account's own oldest values are dropped; a larger value is not
            kept.

    Attributes:
        weight: Bytes of all values.
    """

    def __init__(self, *, most: int, share: int) -> None:
        self._most = most
        self._share = share
        self._kept: OrderedDict[WorkspaceId, OrderedDict[K, tuple[V, int]]] = OrderedDict()
        self._weights: Counter[WorkspaceId] = Counter()
        self.weight = 0

    def get(self, workspace_id: WorkspaceId, key: K) -> V | None:
        of_account = self._kept.get(workspace_id)
        found = None if of_account is None else of_account.get(key)
        if of_account is None or found is None:
            return None
        of_account.move_to_end(key)
        self._kept.move_to_end(workspace_id)
        return found[0]

    def keep(self, workspace_id: WorkspaceId, key: K, value: V, weight: int) -> None:
        """Keep a value of ``weight`` bytes under the key, replacing an earlier one, if it fits."""
        if weight > self._share:
            return
        of_account = self._kept.setdefault(workspace_id, OrderedDict())
        _, before = of_account.pop(key, (None, 0))
        of_account[key] = value, weight
        self._kept.move_to_end(workspace_id)
        self._weights[workspace_id] += weight - before
        self.weight += weight - before
        while self._weights[workspace_id] > self._share:
            self._drop_one(workspace_id)
        while self.weight > self._most:
            self._drop_one(next(iter(self._kept)))

    def _drop_one(self, workspace_id: WorkspaceId) -> None:
        of_account = self._kept[workspace_id]
        _, (_, weight) = of_account.popitem(last=False)
        self._weights[workspace_id] -= weight
        self.weight -= weight
        if not of_account:
            del self._kept[workspace_id], self._weights[workspace_id]


def memory_of(value: object) -> int:
    """Return the bytes of a value and everything it holds, except types, functions and modules."""
    seen: set[int] = {id(value)}
    total, level = sys.getsizeof(value), [value]
    while level:
        below: list[Any] = []
        for held in gc.get_referents(*level):
            if id(held) not in seen and not isinstance(held, _SHARED):
                seen.add(id(held))
                total += sys.getsizeof(held)
                below.append(held)
        level = below
    return total
