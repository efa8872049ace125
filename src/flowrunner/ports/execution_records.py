"""Existence and deletion of single executions."""

from collections.abc import Sequence, Set
from typing import Protocol

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.audit import Audit


class ExecutionRecordStore(Protocol):
    async def existing(self, workspace_id: WorkspaceId, ids: Sequence[ExecutionId]) -> Set[ExecutionId]:
        """Return the ids that have an execution in the workspace."""
        ...

    async def delete(self, workspace_id: WorkspaceId, id: ExecutionId, *, audit: Audit = None) -> None:
        """Delete an execution that has ended; `delete_events` deletes its events.

        Raises:
            NotFound.
            Conflict: If it has not ended, or another execution still waits for it.
        """
        ...

    async def delete_events(self, id: ExecutionId) -> bool:
        """Delete some events of a deleted execution; return whether there are more."""
        ...

    async def incomplete(self) -> Sequence[ExecutionId]:
        """Return deleted executions whose events have not all been deleted."""
        ...
