"""Executions that wait for an approval, read from an index of their own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.approvals import WaitingExecution
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Statement, listed

# Reads at most one page of rows of each workspace from the index. The page ends with the row at which the waits reach
# the number of characters.
PAGE: Final = Statement(
    sqlite="""
WITH found AS MATERIALIZED (
    SELECT x.id, x.flow_id, x.workspace_id, x.approval_at, length(x.waiting_for) AS characters
      FROM json_each(:workspaces) AS among
     CROSS JOIN executions x ON x.id IN (
               SELECT id FROM executions INDEXED BY executions_approvals
                WHERE workspace_id = among.value AND approval_at IS NOT NULL AND completed_at IS NULL
                  AND (approval_at, id) <= (:approval_at, :id)
                ORDER BY approval_at DESC, id DESC LIMIT :limit)
     ORDER BY x.approval_at DESC, x.id DESC LIMIT :limit
), sized AS (
    SELECT *, sum(characters) OVER (ORDER BY approval_at DESC, id DESC) - characters AS before FROM found
)
SELECT s.id, s.flow_id, f.name, s.workspace_id, s.approval_at,
       (SELECT waiting_for FROM executions WHERE id = s.id AND workspace_id = s.workspace_id)
  FROM sized s CROSS JOIN flows f ON f.id = s.flow_id
 WHERE s.before < :characters OR s.before IS NULL
 ORDER BY s.approval_at DESC, s.id DESC
""",
    postgres="""
WITH found AS MATERIALIZED (
    SELECT x.*
      FROM json_array_elements_text(CAST(:workspaces AS json)) AS among (workspace_id)
     CROSS JOIN LATERAL (
               SELECT id, flow_id, workspace_id, approval_at, length(waiting_for) AS characters FROM executions
                WHERE workspace_id = among.workspace_id AND approval_at IS NOT NULL AND completed_at IS NULL
                  AND (approval_at, id) <= (:approval_at, :id)
                ORDER BY approval_at DESC, id DESC LIMIT :limit) AS x
     ORDER BY x.approval_at DESC, x.id DESC LIMIT :limit
), sized AS (
    SELECT *, sum(characters) OVER (ORDER BY approval_at DESC, id DESC) - characters AS before FROM found
)
SELECT s.id, s.flow_id, f.name, s.workspace_id, s.approval_at,
       (SELECT waiting_for FROM executions WHERE id = s.id AND workspace_id = s.workspace_id)
  FROM sized s JOIN flows f ON f.id = s.flow_id
 WHERE s.before < :characters OR s.before IS NULL
 ORDER BY s.approval_at DESC, s.id DESC
""",
)
# Later than every approval.
_LAST_MS: Final = 2**62


class SqlApprovals:
    """Implements `ports.ApprovalReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        workspaces: Sequence[WorkspaceId],
        *,
        until: tuple[datetime, ExecutionId] | None,
        limit: int,
        most_bytes: int,
    ) -> Sequence[WaitingExecution]:
        approval_at, id = (_LAST_MS, "") if until is None else (to_ms(until[0]), until[1])
        values = {
            "workspaces": listed(workspaces),
            "approval_at": approval_at,
            "id": id,
            "limit": limit,
            "characters": most_bytes,
        }
        # A few rows, but perhaps megabytes.
        rows = await self._database.read_long(lambda tx: tx.rows(PAGE, values))
        return [
            WaitingExecution(
                id=ExecutionId(row[0]),
                flow_id=FlowId(row[1]),
                flow_name=row[2],
                workspace_id=WorkspaceId(row[3]),
                approval_at=from_ms(row[4]),
                # A process of an earlier version may have answered without changing `approval_at`.
                waiting_for=b"[]" if row[5] is None else row[5].encode(),
            )
            for row in rows
        ]
