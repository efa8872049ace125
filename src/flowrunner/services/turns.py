"""One at a time for each account, where what is asked for takes much: who asks for many waits for themselves."""

import asyncio
from weakref import WeakValueDictionary

from flowrunner.domain.values import AccountId


class Turns:
    """Turns are kept only while somebody has or awaits one."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[AccountId, asyncio.Lock] = WeakValueDictionary()

    def of(self, account_id: AccountId) -> asyncio.Lock:
        turn = self._turns.get(account_id)
        if turn is None:
            turn = self._turns[account_id] = asyncio.Lock()
        return turn
