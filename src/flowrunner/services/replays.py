"""What an execution has done, read back in full: by one request of an account at a time.

It may be as much as an execution may keep, and all of it is in memory meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar
from weakref import WeakValueDictionary

from flowrunner.domain.rerun import Timed
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.ports import Journal

T = TypeVar("T")


class Replays:
    """Turns are kept only while somebody has or awaits one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._turns: WeakValueDictionary[AccountId, asyncio.Lock] = WeakValueDictionary()

    async def of(self, account_id: AccountId, id: ExecutionId, what: Callable[[Sequence[Timed]], T]) -> T:
        """What comes of the execution's events. Raises: NotFound, and what ``what`` does.

        Args:
            account_id: Who asks for it.
            what: Is called on another thread: a long execution would hold up everybody else.
        """
        turn = self._turns.get(account_id)
        if turn is None:
            turn = self._turns[account_id] = asyncio.Lock()
        async with turn:
            _, events = await self._journal.load(id)
            return await asyncio.to_thread(what, events)
