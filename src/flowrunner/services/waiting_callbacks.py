"""Order in which callbacks send: workspaces take turns, and so do the callbacks of each."""

from collections import Counter
from collections.abc import Iterable, Mapping
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

    def update(
        self,
        due: Iterable[tuple[WorkspaceId, CallbackId]],
        *,
        after: CallbackId | None = None,
        until: CallbackId | None = None,
    ) -> None:
        """Keep the places of those that are still due, and append the others.

        Args:
            after, until: The part of all callbacks of which ``due`` has those that are due; the others stay. None is
                the beginning, or the end.
        """

        def is_kept(id: CallbackId, found: Mapping[CallbackId, None]) -> bool:
            return id in found or (after is not None and id <= after) or (until is not None and id > until)

        found: dict[WorkspaceId, dict[CallbackId, None]] = {}
        for workspace_id, id in due:
            found.setdefault(workspace_id, {})[id] = None
        kept = {}
        for workspace_id, ids in self._waiting.items():
            of_workspace = found.get(workspace_id, {})
            if left := {id: None for id in ids if is_kept(id, of_workspace)} | of_workspace:
                kept[workspace_id] = left
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
