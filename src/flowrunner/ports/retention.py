"""The store of the rules of retention, and the executions that have outlived them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.retention import RetentionRule
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.audit import Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledFlow:
    """A flow for which another rule holds than that of the installation.

    Attributes:
        rule: That of the flow, and where it says nothing that of its workspace.
    """

    id: FlowId
    workspace_id: WorkspaceId
    rule: RetentionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedExecutions:
    """Ended executions of a flow.

    Attributes:
        before: They ended before.
        up_to: None of them has a later id.
    """

    workspace_id: WorkspaceId
    flow_id: FlowId
    before: datetime
    up_to: str


class RetentionStore(Protocol):
    async def of_workspace(self, id: WorkspaceId) -> RetentionRule:
        """Return the rule of a workspace. Raises: NotFound."""
        ...

    async def of_flow(self, workspace_id: WorkspaceId, id: FlowId) -> tuple[RetentionRule, RetentionRule]:
        """Return the rule of a flow and that of its workspace. Raises: NotFound."""
        ...

    async def set_of_workspace(self, id: WorkspaceId, rule: RetentionRule, *, audit: Audit = None) -> None:
        """Raises: NotFound."""
        ...

    async def set_of_flow(
        self, workspace_id: WorkspaceId, id: FlowId, rule: RetentionRule, *, audit: Audit = None
    ) -> None:
        """Raises: NotFound."""
        ...

    async def ruled_flows(self, *, after: str, limit: int, is_every: bool) -> Sequence[RuledFlow]:
        """Return flows with a rule, or every flow, in the order of their ids; also deleted ones."""
        ...

    async def last_beyond(self, workspace_id: WorkspaceId, flow_id: FlowId, count: int) -> ExecutionId | None:
        """Return the last ended execution of a flow that has ``count`` ended ones after it; None if none has."""
        ...

    async def ids(self, wanted: EndedExecutions, *, after: str, limit: int) -> Sequence[ExecutionId]:
        """Return the first of the executions after an id."""
        ...

    async def count(self, wanted: Sequence[EndedExecutions], *, since: datetime) -> tuple[int, int]:
        """Return the number of all these executions that ended since a time, and their bytes."""
        ...

    async def count_before(self, before: datetime) -> tuple[int, int]:
        """Return the number of executions of all flows that ended before, and their bytes."""
        ...
