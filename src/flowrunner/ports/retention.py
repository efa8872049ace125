"""The store of retention rules, and the executions that exceed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.retention import RetentionRule
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledFlow:
    """A flow with another rule than the installation.

    Attributes:
        rule: The flow's rule, completed by that of its workspace.
    """

    id: FlowId
    workspace_id: WorkspaceId
    rule: RetentionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedExecutions:
    """Ended executions of a flow.

    Attributes:
        before: Those that ended before.
        up_to: Those with this id or an earlier one.
    """

    workspace_id: WorkspaceId
    flow_id: FlowId
    before: datetime
    up_to: str


class RetentionStore(Protocol):
    """The store of retention rules, and the deletion of executions.

    An execution whose end has not started the flows that wait for it is neither returned, counted nor deleted, and
    neither are those that methods are given as ``unreported``.
    """

    async def of_workspace(self, id: WorkspaceId) -> RetentionRule:
        """Return the rule of a workspace. Raises: NotFound."""
        ...

    async def of_flow(self, workspace_id: WorkspaceId, id: FlowId) -> tuple[RetentionRule, RetentionRule]:
        """Return the rules of a flow and of its workspace. Raises: NotFound."""
        ...

    async def set_of_workspace(self, id: WorkspaceId, rule: RetentionRule, *, audit: Audit = None) -> RetentionRule:
        """Replace the rule of a workspace, and return it. Raises: NotFound."""
        ...

    async def set_of_flow(
        self, workspace_id: WorkspaceId, id: FlowId, rule: RetentionRule, *, audit: Audit = None
    ) -> tuple[RetentionRule, RetentionRule]:
        """Replace the rule of a flow, and return what `of_flow` would. Raises: NotFound."""
        ...

    async def ruled_flows(self, *, after: str, limit: int, is_every: bool) -> Sequence[RuledFlow]:
        """Return flows with a rule, or every flow, in the order of their ids; deleted ones are included."""
        ...

    async def last_beyond(self, workspace_id: WorkspaceId, flow_id: FlowId, count: int) -> ExecutionId | None:
        """Return the latest ended execution of a flow that ``count`` later ended ones follow; None if there is none."""
        ...

    async def unreported(self) -> Sequence[ExecutionId]:
        """Return the ended executions of whose end their open parents have not been notified."""
        ...

    async def ids(
        self, wanted: EndedExecutions, *, after: str, limit: int, unreported: Sequence[ExecutionId]
    ) -> Sequence[ExecutionId]:
        """Return the ids of the first executions after an id."""
        ...

    async def count(
        self, wanted: Sequence[EndedExecutions], *, since: datetime, unreported: Sequence[ExecutionId]
    ) -> tuple[int, int]:
        """Return the number of those that ended since a time, and their bytes."""
        ...

    async def count_before(self, before: datetime, *, unreported: Sequence[ExecutionId]) -> tuple[int, int]:
        """Return the number and the bytes of all flows' executions that ended before."""
        ...

    async def purge(self, *, ended_before: datetime, limit: int, unreported: Sequence[ExecutionId]) -> tuple[int, bool]:
        """Delete at most ``limit`` ended executions with their events, as many as one short commit can hold.

        Returns:
            The number of deleted ones, and whether there may be more to delete.
        """
        ...

    async def delete(self, ids: Sequence[ExecutionId]) -> tuple[int, Sequence[ExecutionId]]:
        """Delete ended executions with their events, as many as one short commit can hold.

        Returns:
            The number of deleted ones, and those that are left.
        """
        ...

    async def give_space_back(self) -> bool:
        """Return a small part of the space freed by a purge to the file system; return whether more is left."""
        ...
