"""Active slots, which limit the executions of a workspace in the memory of several processes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.active_slots import SlotEntry, WaitingExecutions
from flowrunner.ports.journal import NewExecution
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms_or_none, ids_with_workspaces, to_ms
from flowrunner.storage.transaction import Transaction, one_row

# Slots are counted from the executions that hold them, so that none can leak: an ended execution holds none.
COUNTS: Final = """
SELECT (SELECT count(*) FROM executions WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL),
       (SELECT count(*) FROM executions
         WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL)
"""
HAS_SLOT: Final = """
SELECT 1 FROM executions WHERE id = :id AND is_active AND queued_at IS NULL AND completed_at IS NULL
"""
# Without a limit no slot is needed. An execution may wait since a time when there was a limit.
NEEDS_NO_SLOT: Final = "SELECT 1 FROM executions WHERE id = :id AND queued_at IS NULL"
QUEUE: Final = """
UPDATE executions SET queued_at = coalesce(queued_at, :at) WHERE id = :id AND completed_at IS NULL
RETURNING is_active, workspace_id, queued_at
"""
LEAVE_QUEUE: Final = "UPDATE executions SET queued_at = NULL WHERE id = :id"
# The execution that has waited longest is first, no matter which execution freed the slot.
TAKE: Final = """
UPDATE executions SET is_active = true, queued_at = NULL
 WHERE id = :id
   AND id = (SELECT id FROM executions
              WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
              ORDER BY queued_at, id LIMIT 1)
   AND :most > (SELECT count(*) FROM executions
                 WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL)
"""
# `queued_at` stays until a process takes the execution over: see `EXPECTED`.
ADMIT_NEXT: Final = """
UPDATE executions SET is_active = true
 WHERE id = (SELECT id FROM executions
              WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
              ORDER BY queued_at, id LIMIT 1)
   AND :most > (SELECT count(*) FROM executions
                 WHERE workspace_id = :workspace_id AND is_active AND completed_at IS NULL)
RETURNING id
"""
# Only by the process that has it in memory: another process may have taken it over.
RELEASE: Final = """
UPDATE executions SET is_active = false WHERE id = :id AND epoch = :fencing_token AND is_active AND completed_at IS NULL
"""
IS_WAITING: Final = """
SELECT 1 FROM executions WHERE id = :id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
"""
WORKSPACES_WAITING: Final = """
SELECT DISTINCT workspace_id FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL
"""
HAS_WAITING: Final = """
SELECT 1 FROM executions WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL LIMIT 1
"""
HAS_WAITING_IN_WORKSPACE: Final = """
SELECT 1 FROM executions
 WHERE workspace_id = :workspace_id AND queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL LIMIT 1
"""
# Executions that wait for a slot, or for a process to acquire them for the first time.
WAITING: Final = """
SELECT slots.count + new.count, slots.since, new.since
  FROM (SELECT count(*) AS count, min(queued_at) AS since FROM executions
         WHERE queued_at IS NOT NULL AND NOT is_active AND completed_at IS NULL) AS slots,
       (SELECT count(*) AS count, min(CASE WHEN concurrency_key IS NULL THEN started_at END) AS since FROM executions
         WHERE status IN ('running', 'waiting') AND status = 'running' AND is_idle = false AND queued_at IS NULL
           AND epoch <= (SELECT epoch FROM engine)) AS new
"""
EXPECTED: Final = """
SELECT id, workspace_id FROM executions
 WHERE is_active AND completed_at IS NULL AND queued_at <= :since LIMIT :limit
"""
IDLE: Final = """
SELECT id, workspace_id FROM executions
 WHERE is_active AND completed_at IS NULL AND is_idle LIMIT :limit
"""
# With a limit, a running execution that has been in memory holds a slot or waits for one. These do neither: they waited
# for a concurrency slot, and the process that gave it to them ended before it notified them.
UNNOTIFIED: Final = """
SELECT id, workspace_id FROM executions
 WHERE concurrency_key IS NOT NULL AND completed_at IS NULL AND NOT is_idle
   AND NOT is_active AND queued_at IS NULL AND epoch > (SELECT epoch FROM engine)
 LIMIT :limit
"""
_NO_LIMIT: Final = 2**31 - 1


class SqlActiveSlots:
    """Implements `ports.ActiveSlots`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, id: ExecutionId, *, most: int | None, at: datetime) -> SlotEntry:
        # Most hold a slot from their start, and a read costs less than a commit.
        enters = NEEDS_NO_SLOT if most is None else HAS_SLOT
        if await self._database.read(lambda tx: tx.row(enters, {"id": id})) is not None:
            return SlotEntry(is_active=True)

        async def enter(tx: Transaction) -> SlotEntry:
            row = await tx.row(QUEUE, {"id": id, "at": to_ms(at)})
            if row is None:
                return SlotEntry(is_active=True)
            if row[0]:
                await tx.run(LEAVE_QUEUE, {"id": id})
                return SlotEntry(is_active=True, queued_at=row[2])
            values = {"id": id, "workspace_id": row[1], "most": _or_no_limit(most)}
            return SlotEntry(is_active=await tx.run(TAKE, values) == 1, queued_at=row[2])

        return await self._database.write(enter)

    async def leave(self, id: ExecutionId, fencing_token: int) -> None:
        await self._database.write(lambda tx: tx.run(RELEASE, {"id": id, "fencing_token": fencing_token}))

    async def is_waiting(self, id: ExecutionId) -> bool:
        return await self._database.read(lambda tx: tx.row(IS_WAITING, {"id": id})) is not None

    async def has_waiting(self) -> bool:
        return await self._database.read(lambda tx: tx.row(HAS_WAITING)) is not None

    async def check_queue(self, workspace_id: WorkspaceId, limits: WorkspaceLimits) -> None:
        active, waiting = await self._database.read(lambda tx: one_row(tx, COUNTS, {"workspace_id": workspace_id}))
        _is_active_at_once(limits, active, waiting)

    async def admit_next(self, workspace_id: WorkspaceId, *, most: int | None) -> ExecutionId | None:
        values = {"workspace_id": workspace_id, "most": _or_no_limit(most)}
        # Most workspaces have no waiting execution.
        if await self._database.read(lambda tx: tx.row(HAS_WAITING_IN_WORKSPACE, values)) is None:
            return None
        row = await self._database.write(lambda tx: tx.row(ADMIT_NEXT, values))
        return None if row is None else ExecutionId(row[0])

    async def workspaces_waiting(self) -> Sequence[WorkspaceId]:
        rows = await self._database.read_long(lambda tx: tx.rows(WORKSPACES_WAITING))
        return [WorkspaceId(row[0]) for row in rows]

    async def waiting(self) -> WaitingExecutions:
        count, *began = await self._database.read_long(lambda tx: one_row(tx, WAITING))
        return WaitingExecutions(count, from_ms_or_none(min((at for at in began if at is not None), default=None)))

    async def expected(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"since": to_ms(since), "limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(EXPECTED, values)))

    async def idle(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(IDLE, values)))

    async def unnotified(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"limit": limit}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(UNNOTIFIED, values)))


async def assign_active_slots(tx: Transaction, created: Sequence[tuple[NewExecution, dict[str, Any]]]) -> None:
    """Write to the rows of new executions which of them get a slot, and when the others began to wait.

    Raises: TooManyRequests.
    """
    counts: dict[WorkspaceId, tuple[int, int]] = {}
    for new, row in created:
        limits = new.limits
        if limits is None or limits.active is None or row["is_queued"]:
            continue
        if new.workspace_id not in counts:
            active, waiting = await one_row(tx, COUNTS, {"workspace_id": new.workspace_id})
            counts[new.workspace_id] = active, waiting
        active, waiting = counts[new.workspace_id]
        if _is_active_at_once(limits, active, waiting):
            row["is_active"] = True
            counts[new.workspace_id] = active + 1, waiting
        else:
            row["queued_at"] = row["started_at"]
            counts[new.workspace_id] = active, waiting + 1


def _is_active_at_once(limits: WorkspaceLimits, active: int, waiting: int) -> bool:
    """Return whether a new execution gets an active slot; otherwise it is queued. Raises: TooManyRequests."""
    if limits.active is None or (active < limits.active and not waiting):
        return True
    limits.check_queued(waiting)
    return False


def _or_no_limit(most: int | None) -> int:
    return _NO_LIMIT if most is None else most
