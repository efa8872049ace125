"""Reading all events of an execution, one request per account at a time.

The events may take as much memory as an execution may keep.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from flowrunner.domain.errors import Conflict
from flowrunner.domain.rerun import Timed
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.ports.journal import JournalReader, Unreadable, load_whole
from flowrunner.services.account_locks import AccountLocks

T = TypeVar("T")


class Replays:
    def __init__(self, journal: JournalReader) -> None:
        self._journal = journal
        self._locks = AccountLocks()

    async def of(self, account_id: AccountId, id: ExecutionId, evaluate: Callable[[Sequence[Timed]], T]) -> T:
        """Return the result of ``evaluate`` for the execution's events.

        Args:
            account_id: The account that sends the request.
            evaluate: Runs on a thread: a long execution would block the event loop.

        Raises: NotFound; Conflict if the events cannot be read; any error of ``evaluate``.
        """
        async with self._locks.of(account_id):
            try:
                _, events = await load_whole(self._journal, id)
            except Unreadable as error:
                raise Conflict(str(error)) from error
            return await asyncio.to_thread(evaluate, events)
