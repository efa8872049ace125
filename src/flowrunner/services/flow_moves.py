"""Moves of flows, with their whole history, to another workspace."""

from collections.abc import Sequence
from dataclasses import dataclass

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.ports.flow_moves import FlowMoveStore
from flowrunner.ports.flows import SavedFlow
from flowrunner.services.flows import Flows
from flowrunner.services.short_commits import commit_in_portions


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedFlow:
    """A flow after its move.

    Attributes:
        missing_secrets: Secrets that the flow needs and its new workspace does not have.
        missing_config: Configuration values that the flow needs and its new workspace does not have.
    """

    flow: SavedFlow
    workspace_id: WorkspaceId
    missing_secrets: Sequence[str]
    missing_config: Sequence[str]


class FlowMoves:
    def __init__(self, store: FlowMoveStore, flows: Flows, clock: Clock, *, limits: WorkspaceLimits) -> None:
        self._store = store
        self._flows = flows
        self._clock = clock
        self._limits = limits

    async def move(self, caller: Caller, id: FlowId, target: Caller, *, dry_run: bool = False) -> MovedFlow:
        """Move a flow with its revisions and executions; secrets and configuration values stay where they are.

        A repeated request completes a move that was cut off. A move takes the history away from all members, so it
        needs more than a change of the flow: the role of an admin in the workspace that it leaves.

        Args:
            target: The caller, acting in the workspace that the flow moves to.
            dry_run: Return the flow as it is, and move nothing.

        Raises: NotFound; Forbidden; Conflict if executions are open; LimitReached.
        """
        authorise(target, Right.WRITE)
        source, to = caller.workspace_id, target.workspace_id
        flow = await self._flows.get(caller, id)
        if source != to:
            authorise(caller, Right.MEMBERS)
        # Read before the move: an outage after it must not hide that it was made.
        secrets, config = await self._flows.missing_names(target, flow.definition)
        moved = MovedFlow(flow=flow, workspace_id=to, missing_secrets=secrets, missing_config=config)
        if dry_run:
            if source != to:
                await self._store.check(source, id, to, limits=self._limits)
            return moved
        await self._complete(id)
        if source != to:
            now = self._clock.now()
            entries = [
                act(caller, "flow.moved", "flow", id, at=now, workspace_id=source, details={"to": to}),
                act(caller, "flow.moved", "flow", id, at=now, workspace_id=to, details={"from": source}),
            ]
            await self._store.begin(source, id, to, limits=self._limits, audit=lambda _: entries)
            await self._complete(id)
        return moved

    async def complete_all(self) -> None:
        """Complete the moves that were cut off."""
        for id in await self._store.incomplete():
            await self._complete(id)

    async def _complete(self, id: FlowId) -> None:
        await commit_in_portions(lambda: self._store.advance(id))
