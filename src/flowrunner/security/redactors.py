"""The redactors of workspaces that are in memory."""

from collections.abc import Callable, Iterator
from typing import Final
from weakref import WeakValueDictionary

from flowrunner.domain.values import WorkspaceId
from flowrunner.lru_cache import LruCache
from flowrunner.security.hidden_values import HiddenValues

# Of redactors that nobody holds: an account may have twenty workspaces whose redactors take 30 MiB each.
MOST_BYTES: Final = 64 * 1024 * 1024


class Redactors:
    """The redactors that somebody holds, each of which follows the values of its workspace, and those last used.

    Args:
        new: Makes the redactor of a workspace.
    """

    def __init__(self, new: Callable[[WorkspaceId], HiddenValues]) -> None:
        self._new = new
        self._all: WeakValueDictionary[WorkspaceId, HiddenValues] = WeakValueDictionary()
        self._kept: LruCache[WorkspaceId, HiddenValues] = LruCache(MOST_BYTES)

    def __iter__(self) -> Iterator[HiddenValues]:
        return iter(list(self._all.values()))

    def get(self, workspace_id: WorkspaceId) -> HiddenValues | None:
        """Return the redactor of a workspace; None if it is not in memory."""
        return self._all.get(workspace_id)

    def of(self, workspace_id: WorkspaceId) -> HiddenValues:
        """Return the redactor of a workspace, which may be a new one that redacts nothing yet."""
        hidden = self._all.get(workspace_id)
        if hidden is None:
            hidden = self._all[workspace_id] = self._new(workspace_id)
        return hidden

    def keep(self, workspace_id: WorkspaceId, hidden: HiddenValues) -> None:
        """Count a use of the redactor of a workspace, with what it takes now."""
        if self._all.get(workspace_id) is hidden:
            self._kept.keep(workspace_id, hidden, hidden.weight)

    def forget(self, workspace_id: WorkspaceId) -> None:
        """Forget the redactor of a workspace that was deleted. Its holders still redact with it."""
        self._all.pop(workspace_id, None)
        self._kept.forget(workspace_id)
