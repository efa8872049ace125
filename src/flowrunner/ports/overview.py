"""Reading of the data of a workspace's overview, in bounded parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentExecution:
    """An execution among the latest of its flow.

    Attributes:
        error: The beginning of its error.
    """

    id: ExecutionId
    status: Status
    started_at: datetime
    completed_at: datetime | None
    error_type: str | None = None
    failed_node: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFlow:
    """A flow with its latest executions, the newest first.

    Attributes:
        next_start_at: When a schedule that is not paused starts it next; None if none does.
    """

    id: FlowId
    name: str
    is_disabled: bool
    executions: Sequence[RecentExecution]
    next_start_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExecution:
    """An execution that has not ended; ``waiting_for`` is a JSON text, or None."""

    id: ExecutionId
    flow_id: FlowId
    flow_name: str | None
    started_at: datetime
    waiting_for: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentActivity:
    """The recent activity of a workspace.

    Attributes:
        counts: The number of all its executions in each status.
        waiting: The newest executions that wait for a signal or an approval.
        running: The newest of the other open executions.
        flows: Flows, those with the newest executions first.
        failing_flows: The number of flows whose last execution that has ended has failed, among the newest 2,000 flows.
    """

    counts: Mapping[Status, int]
    waiting: Sequence[OpenExecution]
    running: Sequence[OpenExecution]
    flows: Sequence[RecentFlow]
    failing_flows: int


@dataclass(frozen=True, slots=True)
class IdRange:
    """Ids from one to another, which is excluded. Ids sort by the time of the start."""

    first: str
    end: str


class OverviewReader(Protocol):
    async def activity(
        self,
        workspace_id: WorkspaceId,
        *,
        flows: int,
        of_each: int,
        open_ones: int,
        ids: Sequence[FlowId] | None = None,
    ) -> RecentActivity:
        """Return the activity, with at most ``flows`` flows, or with those that have the ids."""
        ...

    async def counts(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, ranges: Sequence[IdRange], *, most: int
    ) -> Sequence[Mapping[Status, int]]:
        """Return the number of executions in each range by status; each is counted up to ``most``."""
        ...

    async def durations(
        self, workspace_id: WorkspaceId, flow_id: FlowId | None, within: IdRange, *, most: int
    ) -> Sequence[int]:
        """Return the durations, in milliseconds, of the newest executions that have completed."""
        ...
