"""Locks for expensive operations: per account of a request, or per key."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId
from flowrunner.services.readmission import readmit

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

    The key is always the account, whatever the number of its workspaces. Many requests can wait for minutes, so each is
    admitted again when its turn comes, and when its expensive part is over.
    """

    def __init__(self) -> None:
        self._locks: Locks[AccountId] = Locks()

    def of(self, caller: Caller) -> "AccountTurn":
        return AccountTurn(self._locks.of(caller.account_id))


class AccountTurn:
    """A turn of an account. Raises, at its begin and end: what the admission of the request raises."""

    __slots__ = ("_lock",)

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await readmit()
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._lock.release()
        if kind is None:
            await readmit()
