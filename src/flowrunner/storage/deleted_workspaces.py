"""Rows of deleted workspaces that are deleted after them, because other writes would wait for all of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import WorkspaceId
from flowrunner.storage.database import Database
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement, Transaction

IS_DELETED: Final = "SELECT 1 FROM workspaces WHERE id = :workspace_id AND deleted_at IS NOT NULL"
TRIGGERS_LEFT: Final = """
SELECT t.id FROM workspaces w CROSS JOIN triggers t
 WHERE w.deleted_at IS NOT NULL AND t.workspace_id = w.id LIMIT :limit
"""
DELETE_TRIGGERS: Final = Statement.with_texts("DELETE FROM triggers WHERE id IN (:ids)", "ids")
# Found by the index of the workspaces in which the tokens work.
TOKENS_LEFT: Final = """
SELECT t.id FROM workspaces w CROSS JOIN api_tokens t
 WHERE w.deleted_at IS NOT NULL AND coalesce(t.workspace_id, t.account_id) = w.id AND t.workspace_id = w.id LIMIT :limit
"""
DELETE_TOKENS: Final = Statement.with_texts("DELETE FROM api_tokens WHERE id IN (:ids)", "ids")
JOBS_LEFT: Final = """
SELECT j.id FROM workspaces w CROSS JOIN jobs j WHERE w.deleted_at IS NOT NULL AND j.workspace_id = w.id LIMIT :limit
"""
DELETE_JOBS: Final = Statement.with_texts("DELETE FROM jobs WHERE id IN (:ids)", "ids")
# What a process that ended has not cancelled. Due at once, so that one loads it and finds that its workspace is gone.
IDLE_LEFT: Final = Statement.with_indexes("""
SELECT x.id FROM workspaces w CROSS JOIN executions x INDEXED BY executions_status
 WHERE w.deleted_at IS NOT NULL AND x.workspace_id = w.id AND x.status IN ('running', 'waiting') AND x.is_idle = true
   AND (x.wake_at IS NULL OR x.wake_at > :now)
 LIMIT :limit
""")
WAKE: Final = Statement.with_texts(
    "UPDATE executions SET wake_at = :now WHERE id IN (:ids) AND completed_at IS NULL AND is_idle = true", "ids"
)
WITH_OPEN: Final = Statement.with_indexes("""
SELECT w.id FROM workspaces w
 WHERE w.deleted_at IS NOT NULL
   AND EXISTS (SELECT 1 FROM executions x INDEXED BY executions_status
                WHERE x.workspace_id = w.id AND x.status IN ('running', 'waiting'))
 ORDER BY w.id LIMIT 100
""")
# Triggers first: they are looked at whenever one of them is due.
_PARTS: Final = (
    (TRIGGERS_LEFT, DELETE_TRIGGERS),
    (TOKENS_LEFT, DELETE_TOKENS),
    (JOBS_LEFT, DELETE_JOBS),
    (IDLE_LEFT, WAKE),
)


async def check_not_deleted(tx: Transaction, workspace_id: WorkspaceId) -> None:
    """Raise Unavailable if the workspace was deleted.

    Called where something of it is missing. A step waits then, until its execution is cancelled: it would fail
    otherwise, and have the flow undo its work or raise an alarm.
    """
    if await tx.row(IS_DELETED, {"workspace_id": workspace_id}) is not None:
        raise Unavailable("The workspace was deleted")


async def empty_deleted(database: Database, *, now: datetime, limit: int) -> bool:
    """Delete or wake at most ``limit`` rows of each kind; return whether there may be more."""
    values = {"now": to_ms(now)}
    counts = [await delete_some(database, find, delete, values, limit=limit) for find, delete in _PARTS]
    return limit in counts


async def deleted_with_open(database: Database) -> Sequence[WorkspaceId]:
    """Return deleted workspaces that have open executions."""
    return [WorkspaceId(id) for (id,) in await database.read_long(lambda tx: tx.rows(WITH_OPEN))]
