"""Deletion of single executions: first the execution in one transaction, then its events in short ones."""

import time
from collections.abc import Sequence, Set
from typing import Final

from flowrunner.domain.errors import Conflict
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.storage.database import Database
from flowrunner.storage.retention import PURGE_EVENTS
from flowrunner.storage.transaction import Statement, Transaction, existing_row, listed

# The sign keeps the planner from using the indexes of all executions of the workspace.
EXISTING: Final = Statement(
    sqlite="""
SELECT id FROM executions WHERE +workspace_id = :workspace_id AND id IN (SELECT value FROM json_each(:ids))
""",
    postgres="""
SELECT id FROM executions
 WHERE workspace_id = :workspace_id AND id IN (SELECT json_array_elements_text(CAST(:ids AS json)))
""",
)
STATUS: Final = """
SELECT x.status, parent.id FROM executions x
  LEFT JOIN executions parent
    ON parent.id = x.parent_id AND parent.workspace_id = x.workspace_id AND parent.completed_at IS NULL
 WHERE x.id = :id AND x.workspace_id = :workspace_id
"""
DELETE: Final = "DELETE FROM executions WHERE id = :id AND workspace_id = :workspace_id"
NOTE: Final = "INSERT INTO deleted_executions (id) VALUES (:id)"
COMPLETE: Final = "DELETE FROM deleted_executions WHERE id = :id"
INCOMPLETE: Final = "SELECT id FROM deleted_executions ORDER BY id LIMIT 100"

# Other writes wait for a transaction, so these limit how long it takes.
_EVENTS_AT_ONCE: Final = 100
_SECONDS_A_COMMIT: Final = 0.02


class SqlExecutionRecords:
    """Implements `ports.ExecutionRecordStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def existing(self, workspace_id: WorkspaceId, ids: Sequence[ExecutionId]) -> Set[ExecutionId]:
        values = {"workspace_id": workspace_id, "ids": listed(ids)}
        rows = await self._database.read_long(lambda tx: tx.rows(EXISTING, values))
        return {ExecutionId(id) for (id,) in rows}

    async def delete(self, workspace_id: WorkspaceId, id: ExecutionId, *, audit: Audit = None) -> None:
        values = {"id": id, "workspace_id": workspace_id}

        async def delete(tx: Transaction) -> None:
            row = await existing_row(tx, STATUS, values, "execution")
            if not Status(row[0]).is_final:
                raise Conflict(f"The execution has not ended: it is {row[0]}. Cancel it first, or wait for its end")
            if row[1] is not None:
                # It may not have been notified of the end yet.
                raise Conflict(f"The execution {row[1]} started this one and has not ended: wait for its end")
            await tx.run(DELETE, values)
            await tx.run(NOTE, values)
            await _delete_events(tx, id)

        await self._database.write(delete, audit=audit)

    async def delete_events(self, id: ExecutionId) -> bool:
        return await self._database.write(lambda tx: _delete_events(tx, id))

    async def incomplete(self) -> Sequence[ExecutionId]:
        return [ExecutionId(id) for (id,) in await self._database.read(lambda tx: tx.rows(INCOMPLETE))]


async def _delete_events(tx: Transaction, id: ExecutionId) -> bool:
    until = time.monotonic() + _SECONDS_A_COMMIT
    values = {"id": id, "events": _EVENTS_AT_ONCE}
    while await tx.run(PURGE_EVENTS, values) == _EVENTS_AT_ONCE:
        if time.monotonic() > until:
            return True
    await tx.run(COMPLETE, values)
    return False
