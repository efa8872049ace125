"""Locks for expensive operations: per account of a request, or per key."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId

K = TypeVar("K", bound=Hashable)


class Locks(Generic[K]):
    """A mutex for each key. A lock is kept only while a task holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: K) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


class AccountLocks:
    """A mutex for each account that sends requests, so that its expensive requests delay only its own.

    The key is always the account, whatever the number of its workspaces.
    """

    def __init__(self) -> None:
        self._locks: Locks[AccountId] = Locks()

    def of(self, caller: Caller) -> asyncio.Lock:
        return self._locks.of(caller.account_id)
