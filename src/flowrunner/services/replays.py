"""What an execution has done, read back in full: by one request of an account at a time.

It may be as much as an execution may keep, and all of it is in memory meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from flowrunner.domain.errors import Conflict
from flowrunner.domain.rerun import Timed
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import Journal, Unreadable
from flowrunner.services.account_locks import AccountLocks

T = TypeVar("T")


class Replays:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._locks = AccountLocks()

    async def of(self, workspace_id: WorkspaceId, id: ExecutionId, what: Callable[[Sequence[Timed]], T]) -> T:
        """What comes of the execution's events. Raises: NotFound; Conflict if they cannot be read; what ``what`` does.

        Args:
            workspace_id: Who asks for it.
            what: Is called on another thread: a long execution would hold up everybody else.
        """
        async with self._locks.of(workspace_id):
            try:
                _, events = await self._journal.load(id)
            except Unreadable as error:
                raise Conflict(str(error)) from error
            return await asyncio.to_thread(what, events)
