"""Per-account locks for expensive operations."""

import asyncio
from weakref import WeakValueDictionary

from flowrunner.domain.values import AccountId, WorkspaceId


class AccountLocks:
    """A mutex for each account, so that an account's expensive requests delay only its own.

    Requests take the lock of the account that sends them, whatever the number of its workspaces; executions take the
    lock of their workspace.
    A lock is kept only while a task holds it or waits for it.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[AccountId | WorkspaceId, asyncio.Lock] = WeakValueDictionary()

    def of(self, holder: AccountId | WorkspaceId) -> asyncio.Lock:
        lock = self._locks.get(holder)
        if lock is None:
            lock = self._locks[holder] = asyncio.Lock()
        return lock
