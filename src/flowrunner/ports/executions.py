"""What people see of executions, and how much they use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.execution import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.page import Page

# A whole list must stay something to look over; the execution itself tells all of its error.
LONGEST_LISTED_ERROR: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    id: ExecutionId
    flow_id: FlowId
    status: Status
    started_at: datetime
    completed_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionDetail(ExecutionView):
    """``input`` and ``result`` are JSON texts; there is no result before the end.

    Attributes:
        revision_id: The revision of the flow that it runs, also where that has been deleted.
        waiting_for: What its steps wait for, or itself, as a JSON text.
        failure: Why and where a failed one failed: its `Failed` event, as a JSON text.
        revision: Number of the flow's revision that it runs.
        parent_id: The execution that waits for it.
        rerun_of: The execution that it repeats.
    """

    input: bytes
    result: bytes | None
    revision_id: RevisionId
    waiting_for: bytes | None = None
    failure: bytes | None = None
    revision: int | None = None
    parent_id: ExecutionId | None = None
    rerun_of: ExecutionId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line of the log. Its ``data`` is a JSON text, and None if it has none."""

    seq: int
    timestamp: datetime
    level: str
    message: str
    node_id: str | None
    node_type: str | None
    data: bytes | None
    step: str | None = None


class ExecutionReader(Protocol):
    async def get(self, workspace_id: WorkspaceId, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        ...

    async def request(self, workspace_id: WorkspaceId, idempotency_key: str) -> tuple[ExecutionId, str | None] | None:
        """What was accepted under the key, with the digest of what was asked; None if it is free."""
        ...

    async def page(
        self, workspace_id: WorkspaceId, *, flow_id: FlowId | None, statuses: Sequence[Status], page: Page
    ) -> tuple[Sequence[ExecutionView], int]:
        """The newest first, with the total. Of a long error one character more than a list shows is read."""
        ...

    async def logs(
        self, workspace_id: WorkspaceId, id: ExecutionId, *, level: str | None, page: Page
    ) -> tuple[Sequence[LogLine], int]:
        """In the order of their events, with the total. Raises: NotFound."""
        ...

    async def logs_after(self, id: ExecutionId, *, level: str | None, after: int, limit: int) -> Sequence[LogLine]:
        """The lines that follow the event ``after``."""
        ...

    async def purge(self, *, ended_before: datetime, limit: int) -> tuple[int, bool]:
        """Delete some ended executions with their events, at most ``limit``, as far as a short commit goes.

        Returns:
            How many were deleted, and whether there may be more to delete.
        """
        ...

    async def give_space_back(self) -> bool:
        """Give a little of what a purge made free back to the disk; whether there is more."""
        ...


class UsageReader(Protocol):
    """How much an account uses, where its executions in memory do not tell."""

    async def stored(self, workspace_id: WorkspaceId) -> int:
        """Bytes of its executions' events, of its flows with every definition, and of its sealed secrets."""
        ...

    async def queued(self, workspace_id: WorkspaceId) -> int:
        """Its executions that wait for a turn among those of their flow."""
        ...
