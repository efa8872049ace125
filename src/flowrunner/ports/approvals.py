"""Executions that wait for an approval."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingExecution:
    """An execution that waits for an approval, and perhaps for more.

    Attributes:
        approval_at: Start of its last step that waits for an approval.
        waiting_for: Its waits, as a JSON text.
    """

    id: ExecutionId
    flow_id: FlowId
    flow_name: str
    workspace_id: WorkspaceId
    approval_at: datetime
    waiting_for: bytes


class ApprovalReader(Protocol):
    async def page(
        self,
        workspaces: Sequence[WorkspaceId],
        *,
        until: tuple[datetime, ExecutionId] | None,
        limit: int,
        most_bytes: int,
    ) -> Sequence[WaitingExecution]:
        """Return executions that wait for an approval, the ones with the latest approval first.

        Args:
            until: The ``approval_at`` and the id to begin with; None to begin with the latest.
            most_bytes: End the page with the execution at which the waits reach this size.
        """
        ...
