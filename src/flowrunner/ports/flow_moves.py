"""The store of moves of flows to another workspace."""

from collections.abc import Sequence
from typing import Protocol

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.audit import Audit


class FlowMoveStore(Protocol):
    async def begin(
        self,
        source: WorkspaceId,
        id: FlowId,
        target: WorkspaceId,
        *,
        limits: WorkspaceLimits,
        audit: Audit = None,
    ) -> None:
        """Move a flow with its newest revisions and executions; `advance` moves the others.

        Raises:
            NotFound: If the flow or the target does not exist.
            Conflict: If executions of the flow are open, or an earlier move of it is not complete.
            LimitReached: If the target would have too many flows, or store too much.
        """
        ...

    async def check(self, source: WorkspaceId, id: FlowId, target: WorkspaceId, *, limits: WorkspaceLimits) -> None:
        """Raises: What `begin` would raise now."""
        ...

    async def advance(self, id: FlowId) -> bool:
        """Move some of the revisions and executions that are left; return whether there are more."""
        ...

    async def incomplete(self) -> Sequence[FlowId]:
        """Return flows that have moved without all of their revisions and executions."""
        ...
