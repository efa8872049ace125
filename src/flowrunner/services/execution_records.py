"""The deletion of single executions, with all that is stored of them."""

import asyncio
from typing import Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.execution_records import ExecutionRecordStore

_PAUSE_SECONDS: Final = 0.005


class ExecutionRecords:
    def __init__(self, store: ExecutionRecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def delete(self, caller: Caller, id: ExecutionId) -> None:
        """Delete an execution that has ended, with its events and logs.

        Raises: NotFound; Forbidden; Conflict if it has not ended, or an execution that has not ended waits for it.
        """
        authorise(caller, Right.WRITE)
        entry = act(caller, "execution.deleted", "execution", id, at=self._clock.now())
        await self._store.delete(caller.workspace_id, id, audit=entry)
        await self._complete(id)

    async def complete_all(self) -> None:
        """Delete the events of deletions that were cut off."""
        for id in await self._store.incomplete():
            await self._complete(id)

    async def _complete(self, id: ExecutionId) -> None:
        has_more = True
        while has_more:
            has_more = await self._store.delete_events(id)
            # The pause lets running executions write first.
            await asyncio.sleep(_PAUSE_SECONDS)
