"""A cache bounded in bytes, and the measurement of the memory that a value takes."""

import gc
import sys
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final, Generic, TypeVar

from flowrunner.domain.values import WorkspaceId
from flowrunner.lru_cache import LruCache

K = TypeVar("K")
V = TypeVar("V")

# Objects that values refer to without owning them.
_SHARED: Final = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


class WeighedCache(Generic[K, V]):
    """The values that workspaces used last, bounded in bytes.

    Args:
        most: Bytes of all values. Beyond it, values of the least recently active workspace are dropped.
        share: Bytes of one workspace. Beyond it, the workspace's own oldest values are dropped; a larger value is not
            kept.

    Attributes:
        weight: Bytes of all values.
    """

    def __init__(self, *, most: int, share: int) -> None:
        assert share <= most, "a share is a part of the whole"
        self._most = most
        self._share = share
        # Each workspace has at least a byte, so no workspace is dropped for their number.
        self._workspaces: LruCache[WorkspaceId, LruCache[K, V]] = LruCache(most)
        self.weight = 0

    def get(self, workspace_id: WorkspaceId, key: K) -> V | None:
        of_workspace = self._workspaces.get(workspace_id)
        return None if of_workspace is None else of_workspace.get(key)

    def keep(self, workspace_id: WorkspaceId, key: K, value: V, weight: int) -> None:
        """Keep a value of ``weight`` bytes under the key, replacing an earlier one, if it fits."""
        of_workspace = self._workspaces.get(workspace_id)
        if of_workspace is None:
            of_workspace = LruCache(self._share)
            self._workspaces.keep(workspace_id, of_workspace)
        self.weight -= of_workspace.weight
        of_workspace.keep(key, value, weight)
        self._add(workspace_id, of_workspace)
        while self.weight > self._most:
            oldest, values = next(iter(self._workspaces))
            self.weight -= values.weight
            values.drop_oldest()
            self._add(oldest, values)

    def _add(self, workspace_id: WorkspaceId, of_workspace: LruCache[K, V]) -> None:
        self.weight += of_workspace.weight
        if len(of_workspace) == 0:
            self._workspaces.forget(workspace_id)


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
