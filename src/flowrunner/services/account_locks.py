"""One at a time for each account, where what is asked for takes much: who asks for many waits for themselves."""

import asyncio
from weakref import WeakValueDictionary

from flowrunner.domain.values import WorkspaceId


class AccountLocks:
    """Turns are kept only while somebody has or awaits one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[WorkspaceId, asyncio.Lock] = WeakValueDictionary()

    def of(self, workspace_id: WorkspaceId) -> asyncio.Lock:
        lock = self._locks.get(workspace_id)
        if lock is None:
            lock = self._locks[workspace_id] = asyncio.Lock()
        return lock
