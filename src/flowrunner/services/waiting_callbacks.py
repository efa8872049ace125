"""Order in which callbacks send: workspaces take turns, and so do the callbacks of each."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.callbacks import CallbackId

# Callbacks that send at a time: of all workspaces, and of each.
AT_ONCE: Final = 32
OF_A_WORKSPACE: Final = 8


class WaitingCallbacks:
    """Callbacks that are due and do not send. Those that have waited longest are at the front.

    It is kept in memory: after a restart, all of them begin to wait at the same time.
    """

    def __init__(self) -> None:
        self._waiting: dict[WorkspaceId, dict[CallbackId, None]] = {}

    def update(self, due: Iterable[tuple[WorkspaceId, CallbackId]]) -> None:
        """Keep the places of those that are still due, and append the others."""
        found: dict[WorkspaceId, dict[CallbackId, None]] = {}
        for workspace_id, id in due:
            found.setdefault(workspace_id, {})[id] = None
        kept = {
            workspace_id: {id: None for id in ids if id in found[workspace_id]} | found[workspace_id]
            for workspace_id, ids in self._waiting.items()
            if workspace_id in found
        }
        self._waiting = kept | {each: ids for each, ids in found.items() if each not in kept}

    def take(self, sending: Counter[WorkspaceId]) -> tuple[WorkspaceId, CallbackId] | None:
        """Remove and return the next callback; None if none may send now.

        Args:
            sending: The number of callbacks of each workspace that send, less than `AT_ONCE` in total.
        """
        # One of that many workspaces sends nothing, so that none further back can be ahead of it.
        workspace_id = min(islice(self._waiting, AT_ONCE), key=lambda each: sending[each], default=None)
        if workspace_id is None or sending[workspace_id] >= OF_A_WORKSPACE:
            return None
        ids = self._waiting.pop(workspace_id)
        id = next(iter(ids))
        del ids[id]
        if ids:
            self._waiting[workspace_id] = ids
        return workspace_id, id
