"""Room for executions in the memory of several processes, so much for each account."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import NewExecution
from flowrunner.storage.database import Database
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Transaction, one_row

# Room is counted from the executions that have it, so that none can leak: one that has ended has none.
COUNTS: Final = """
SELECT (SELECT count(*) FROM executions WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL),
       (SELECT count(*) FROM executions
         WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL)
"""
HAS_ROOM: Final = """
SELECT 1 FROM executions WHERE id = :id AND is_active AND queued_at IS NULL AND completed_at IS NULL
"""
# Without a limit there is room, and nothing is noted. One may still be waiting from a time with one.
NEEDS_NONE: Final = "SELECT 1 FROM executions WHERE id = :id AND queued_at IS NULL"
ASK: Final = """
UPDATE executions SET queued_at = CASE WHEN is_active THEN NULL ELSE coalesce(queued_at, :at) END
 WHERE id = :id AND completed_at IS NULL
RETURNING is_active, workspace_id
"""
# The one that has asked first comes first, whoever looks.
TAKE: Final = """
UPDATE executions SET is_active = true, queued_at = NULL
 WHERE id = :id
   AND id = (SELECT id FROM executions
              WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
              ORDER BY queued_at, id LIMIT 1)
   AND :most > (SELECT count(*) FROM executions
                 WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL)
"""
# When it has asked stays there until a process takes it up: see `EXPECTED`.
LET_IN: Final = """
UPDATE executions SET is_active = true
 WHERE id = (SELECT id FROM executions
              WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
              ORDER BY queued_at, id LIMIT 1)
   AND :most > (SELECT count(*) FROM executions
                 WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL)
RETURNING id
"""
# Only of the process that has it in memory: another one may have taken it over.
LEAVE: Final = """
UPDATE executions SET is_active = false WHERE id = :id AND epoch = :mark AND is_active AND completed_at IS NULL
"""
IS_WAITING: Final = """
SELECT 1 FROM executions WHERE id = :id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
"""
ACCOUNTS_WAITING: Final = """
SELECT DISTINCT workspace_id FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
"""
SOME_WAIT: Final = """
SELECT 1 FROM executions
 WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL LIMIT 1
"""
# For room, or for a process to own them for the first time.
WAITING: Final = """
SELECT (SELECT count(*) FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL)
     + (SELECT count(*) FROM executions
         WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL
           AND epoch <= (SELECT epoch FROM engine))
"""
EXPECTED: Final = """
SELECT id, workspace_id FROM executions
 WHERE is_active AND completed_at IS NULL AND queued_at <= :since LIMIT :limit
"""
IDLE: Final = """
SELECT id, workspace_id FROM executions
 WHERE is_active AND completed_at IS NULL AND is_idle LIMIT :limit
"""
# One that is under way and has been in memory has room from then on, or has asked for it, where that is limited. These
# had to wait for their turn when they were looked at, and whoever gave it to them was cut off before it told them.
UNNOTIFIED: Final = """
SELECT id, workspace_id FROM executions
 WHERE concurrency_key IS NOT NULL AND completed_at IS NULL AND NOT is_idle
   AND NOT is_active AND queued_at IS NULL AND epoch > (SELECT epoch FROM engine)
 LIMIT :limit
"""
_NO_LIMIT: Final = 2**31 - 1


class SqlActiveSlots:
    """Fills `ports.ActiveSlots`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, id: ExecutionId, *, most: int | None, at: datetime) -> bool:
        # Most have had it from their beginning, and a read costs less than a commit.
        enters = NEEDS_NONE if most is None else HAS_ROOM
        if await self._database.read(lambda tx: tx.row(enters, {"id": id})) is not None:
            return True

        async def enter(tx: Transaction) -> bool:
            row = await tx.row(ASK, {"id": id, "at": to_ms(at)})
            if row is None or row[0]:
                return True
            return await tx.run(TAKE, {"id": id, "workspace_id": row[1], "most": _or_no_limit(most)}) == 1

        return await self._database.write(enter)

    async def leave(self, id: ExecutionId, fencing_token: int) -> None:
        await self._database.write(lambda tx: tx.run(LEAVE, {"id": id, "mark": fencing_token}))

    async def is_waiting(self, id: ExecutionId) -> bool:
        return await self._database.read(lambda tx: tx.row(IS_WAITING, {"id": id})) is not None

    async def admit_next(self, workspace_id: WorkspaceId, *, most: int | None) -> ExecutionId | None:
        values = {"workspace_id": workspace_id, "most": _or_no_limit(most)}
        # Most accounts have none that waits.
        if await self._database.read(lambda tx: tx.row(SOME_WAIT, values)) is None:
            return None
        row = await self._database.write(lambda tx: tx.row(LET_IN, values))
        return None if row is None else ExecutionId(row[0])

    async def accounts_waiting(self) -> Sequence[WorkspaceId]:
        rows = await self._database.read_long(lambda tx: tx.rows(ACCOUNTS_WAITING))
        return [WorkspaceId(row[0]) for row in rows]

    async def waiting(self) -> int:
        row = await self._database.read_long(lambda tx: one_row(tx, WAITING))
        return int(row[0])

    async def expected(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(EXPECTED, {"since": to_ms(since), "limit": limit})

    async def idle(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(IDLE, {"limit": limit})

    async def unnotified(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return await self._ids(UNNOTIFIED, {"limit": limit})

    async def _ids(self, statement: str, values: dict[str, Any]) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        rows = await self._database.read_long(lambda tx: tx.rows(statement, values))
        return [(ExecutionId(row[0]), WorkspaceId(row[1])) for row in rows]


async def assign_active_slots(tx: Transaction, created: Sequence[tuple[NewExecution, dict[str, Any]]]) -> None:
    """Say in the rows of new executions which have room at once, and since when the others wait.

    Raises: TooManyRequests.
    """
    counts: dict[WorkspaceId, tuple[int, int]] = {}
    for new, row in created:
        limits = new.limits
        if limits is None or limits.active is None or row["is_queued"]:
            continue
        if new.workspace_id not in counts:
            in_room, waiting = await one_row(tx, COUNTS, {"workspace_id": new.workspace_id})
            counts[new.workspace_id] = in_room, waiting
        in_room, waiting = counts[new.workspace_id]
        if in_room < limits.active and not waiting:
            row["is_active"] = True
            counts[new.workspace_id] = in_room + 1, waiting
        else:
            limits.check_queued(waiting)
            row["queued_at"] = row["started_at"]
            counts[new.workspace_id] = in_room, waiting + 1


def _or_no_limit(most: int | None) -> int:
    return _NO_LIMIT if most is None else most
