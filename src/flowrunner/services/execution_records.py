"""The deletion of single executions, with all that is stored of them."""

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.clock import Clock
from flowrunner.ports.execution_records import ExecutionRecordStore
from flowrunner.services.short_commits import commit_in_portions


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
        await self._delete_events(id)

    async def complete_all(self) -> None:
        """Delete the events of deletions that were cut off."""
        for id in await self._store.incomplete():
            await self._delete_events(id)

    async def _delete_events(self, id: ExecutionId) -> None:
        await commit_in_portions(lambda: self._store.delete_events(id))
