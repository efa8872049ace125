"""Executions that have to continue, in the database."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms_or_none, ids_with_workspaces, to_ms
from flowrunner.storage.transaction import change_nothing, one_row

# An execution is created with the epoch of a claim, and has a fencing token above the last epoch once it is acquired.
# One that waits and was never acquired began to wait in a server without Temporal, so Temporal has no timer for it.
# The status is tested twice, here and below, because SQLite uses a partial index only for its exact condition.
UNOWNED: Final = """
SELECT id, workspace_id FROM executions
 WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL
   AND started_at <= :since AND epoch <= (SELECT epoch FROM engine)
UNION ALL
SELECT id, workspace_id FROM executions
 WHERE wake_at IS NOT NULL AND wake_at <= :since AND queued_at IS NULL AND epoch <= (SELECT epoch FROM engine)
 LIMIT :limit
"""
# Leaves out executions that wait for an active slot: they are admitted when one is free.
UNFINISHED: Final = """
SELECT id, workspace_id FROM executions
 WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL AND id > :after
 ORDER BY id LIMIT :limit
"""
DUE: Final = """
SELECT id, workspace_id FROM executions
 WHERE wake_at IS NOT NULL AND wake_at <= :now AND queued_at IS NULL ORDER BY wake_at LIMIT :limit
"""
NEXT_WAKE: Final = "SELECT min(wake_at) FROM executions WHERE wake_at IS NOT NULL AND wake_at > :after"


class SqlDueExecutions:
    """Implements `ports.DueExecutions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"since": to_ms(since), "limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(UNOWNED, values)))

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"after": after or "", "limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(UNFINISHED, values)))

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"now": to_ms(now), "limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(DUE, values)))

    async def next_wake(self, *, after: datetime) -> datetime | None:
        row = await self._database.read(lambda tx: one_row(tx, NEXT_WAKE, {"after": to_ms(after)}))
        return from_ms_or_none(row[0])

    async def settle(self) -> None:
        # PostgreSQL may still commit a transaction after its connection was lost. Until then, that one holds the lock
        # which this one waits for.
        await self._database.write(change_nothing)
