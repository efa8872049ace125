"""Due schedules, and what becomes of their triggers if no execution starts."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.schedules import NextStart
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import ExecutionId, WorkspaceId, rfc3339
from flowrunner.ports.triggers import CompletedStart, TriggerView
from flowrunner.storage.database import Database
from flowrunner.storage.execution_search import REPAIRS
from flowrunner.storage.rows import from_ms_or_none, to_ms
from flowrunner.storage.transaction import Statement, Transaction, listed, one_row
from flowrunner.storage.trigger_events import notify_if_failing, notify_of_trigger
from flowrunner.storage.trigger_fires import next_start
from flowrunner.storage.triggers import ALL, view

ADVANCE: Final = """
UPDATE triggers
   SET due_at = :next_due_at, next_at = :next_at, missed = missed + :missed, skipped = skipped + :skipped
 WHERE id = :id AND due_at = :due_at
"""
FAIL: Final = """
UPDATE triggers
   SET due_at = :next_due_at, next_at = :next_at, missed = missed + :missed, failures = failures + 1, error = :error
 WHERE id = :id AND workspace_id = :workspace_id AND due_at = :due_at
RETURNING failures
"""
# Nothing is due during a pause; missed due times are found after it. For a moment, a deleted workspace has triggers.
EARLIEST: Final = """
SELECT (SELECT t.next_at FROM triggers t CROSS JOIN flows f
         WHERE t.next_at IS NOT NULL AND f.id = t.flow_id AND f.deleted_at IS NULL
         ORDER BY t.next_at LIMIT 1)
  FROM engine WHERE paused_at IS NULL
"""
_IS_DUE: Final = """
 WHERE t.next_at <= :at AND t.next_at IS NOT NULL AND f.deleted_at IS NULL
   AND (SELECT paused_at IS NULL FROM engine)
   AND t.workspace_id NOT IN (:outside)
 ORDER BY t.next_at LIMIT :limit
"""
DUE: Final = Statement.with_texts(f"{ALL}{_IS_DUE}", "outside")

# The second column is the execution whose completion counts for the first one.
_STARTED: Final = """
SELECT x.id,
       CASE WHEN x.status = 'completed' THEN x.id
            WHEN x.status IN ('failed', 'cancelled') THEN (SELECT min(later.id) {repairs}) END,
       x.started_by, x.idempotency_key
""".replace("{repairs}", REPAIRS)
_OF_TRIGGER: Final = """
  FROM executions x
 WHERE x.workspace_id = :workspace_id AND x.trigger_id = :trigger_id AND x.id < :position
 ORDER BY x.id DESC LIMIT :limit
"""
STARTED: Final = _STARTED + _OF_TRIGGER
END_SIZE: Final = """
SELECT length(data) FROM events
 WHERE execution_id = :id AND seq = (SELECT last_seq FROM executions WHERE id = :id AND workspace_id = :workspace_id)
"""
# Usually the latest execution has completed.
_STARTED_AT_ONCE: Final = 50
_AFTER_ALL_IDS: Final = "~"

MOST_ERROR_CHARACTERS: Final = 500


class SqlSchedules:
    """Implements `ports.ScheduleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def earliest(self) -> datetime | None:
        row = await self._database.read(lambda tx: tx.row(EARLIEST))
        return None if row is None else from_ms_or_none(row[0])

    async def due(self, *, at: datetime, limit: int, outside: Collection[WorkspaceId] = ()) -> Sequence[TriggerView]:
        values = {"at": to_ms(at), "limit": limit, "outside": listed(outside)}
        rows = await self._database.read_long(lambda tx: tx.rows(DUE, values))
        return [view(row) for row in rows]

    async def last_completed(self, workspace_id: WorkspaceId, id: TriggerId, *, most: int) -> CompletedStart | None:
        async def read(tx: Transaction) -> CompletedStart | None:
            position = _AFTER_ALL_IDS
            for _ in range(0, most, _STARTED_AT_ONCE):
                values = {
                    "workspace_id": workspace_id,
                    "trigger_id": id,
                    "position": position,
                    "limit": _STARTED_AT_ONCE,
                }
                rows = await tx.rows(STARTED, values)
                for started, completed, by, key in rows:
                    is_of_backfill = by is not None and key is not None and key.startswith(f"{id} ")
                    if completed is not None and not is_of_backfill:
                        (size,) = await one_row(tx, END_SIZE, {"id": completed, "workspace_id": workspace_id})
                        return CompletedStart(id=ExecutionId(started), completed=ExecutionId(completed), size=size)
                if len(rows) < _STARTED_AT_ONCE:
                    return None
                position = rows[-1][0]
            return None

        return await self._database.read_long(read)

    async def advance(
        self, id: TriggerId, *, due_at: datetime, next: NextStart | None, missed: int = 0, skipped: int = 0
    ) -> bool:
        values = next_start(next) | {"id": id, "due_at": to_ms(due_at), "missed": missed, "skipped": skipped}

        async def advance(tx: Transaction) -> bool:
            has_changed = await tx.run(ADVANCE, values) == 1
            if has_changed and missed:
                await notify_of_trigger(tx, "trigger.missed", id, at=due_at, due_at=rfc3339(due_at), missed=missed)
            return has_changed

        return await self._database.write(advance)

    async def fail(
        self,
        workspace_id: WorkspaceId,
        id: TriggerId,
        *,
        due_at: datetime,
        next: NextStart | None,
        missed: int = 0,
        error: str,
    ) -> int:
        values = next_start(next) | {"workspace_id": workspace_id, "id": id, "due_at": to_ms(due_at), "missed": missed}
        values["error"] = error[:MOST_ERROR_CHARACTERS]

        async def fail(tx: Transaction) -> int:
            row = await tx.row(FAIL, values)
            if row is None:
                return 0
            if missed:
                await notify_of_trigger(tx, "trigger.missed", id, at=due_at, due_at=rfc3339(due_at), missed=missed)
            await notify_if_failing(tx, id, error=values["error"], at=due_at)
            return int(row[0])

        return await self._database.write(fail)
