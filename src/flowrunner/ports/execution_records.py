"""The store of single executions, of which it knows whether they exist, and which it deletes."""

from collections.abc import Sequence, Set
from typing import Protocol

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.audit import Audit


class ExecutionRecordStore(Protocol):
    async def existing(self, workspace_id: WorkspaceId, ids: Sequence[ExecutionId]) -> Set[ExecutionId]:
        """Return those of the ids that have an execution in the workspace."""
        ...

    async def delete(self, workspace_id: WorkspaceId, id: ExecutionId, *, audit: Audit = None) -> None:
        """Delete an execution that has ended; `delete_events` deletes its events.

        Raises:
            NotFound.
            Conflict: If it has not ended, or an execution that has not ended waits for it.
        """
        ...

    async def delete_events(self, id: ExecutionId) -> bool:
        """Delete a part of the events of a deleted execution; return whether there are more."""
        ...

    async def incomplete(self) -> Sequence[ExecutionId]:
        """Return deleted executions whose events have not all been deleted."""
        ...
