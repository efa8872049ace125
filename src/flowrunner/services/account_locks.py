"""Per-account locks for expensive operations."""

import asyncio
from weakref import WeakValueDictionary

from flowrunner.domain.values import WorkspaceId


class AccountLocks:
    """A mutex for each account, so that an account's expensive requests delay only its own.

    A lock is kept only while a task holds it or waits for it.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[WorkspaceId, asyncio.Lock] = WeakValueDictionary()

    def of(self, workspace_id: WorkspaceId) -> asyncio.Lock:
        lock = self._locks.get(workspace_id)
        if lock is None:
            lock = self._locks[workspace_id] = asyncio.Lock()
        return lock
