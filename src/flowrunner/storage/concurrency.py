"""Concurrency slots of the executions of a flow, and the queues for them."""

from collections.abc import Sequence
from typing import Final

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.storage.database import Database
from flowrunner.storage.rows import ids_with_workspaces
from flowrunner.storage.transaction import Transaction, one_row

# Slots are counted from the executions that hold them, so that none can leak. Queued executions count, too, so that
# none is overtaken; the count ends at the number of slots, however many wait.
HAS_FREE_SLOT: Final = """
SELECT :concurrency_limit > (SELECT count(*)
                               FROM (SELECT 1 FROM executions
                                      WHERE concurrency_key = :concurrency_key AND completed_at IS NULL
                                      LIMIT :concurrency_limit) AS first_ones)
"""
# Admits the execution that has waited longest, under its own limit.
ADMIT: Final = """
UPDATE executions SET is_queued = false, is_idle = false, waiting_for = NULL
 WHERE id = (SELECT id FROM executions
              WHERE concurrency_key = :key AND completed_at IS NULL AND is_queued ORDER BY queue_position LIMIT 1)
   AND concurrency_limit > (SELECT count(*) FROM executions
                     WHERE concurrency_key = :key AND completed_at IS NULL AND NOT is_queued)
RETURNING id, workspace_id
"""
HOLDING_SLOT: Final = """
SELECT id, workspace_id FROM executions
 WHERE concurrency_key = :key AND completed_at IS NULL AND NOT is_queued AND NOT is_idle ORDER BY id
"""
QUEUED_KEYS: Final = """
SELECT DISTINCT concurrency_key FROM executions WHERE concurrency_key IS NOT NULL AND completed_at IS NULL AND is_queued
"""
LAST_QUEUED: Final = """
SELECT id FROM executions
 WHERE concurrency_key = :key AND completed_at IS NULL AND is_queued ORDER BY queue_position DESC LIMIT 1
"""
# Returns nothing for an execution that has ended, because its position may be in use again.
OLDER_WITH_KEY: Final = """
SELECT id FROM executions
 WHERE concurrency_key = (SELECT concurrency_key FROM executions WHERE id = :id AND completed_at IS NULL)
   AND completed_at IS NULL
   AND queue_position < (SELECT queue_position FROM executions WHERE id = :id)
 ORDER BY queue_position
"""


class SqlConcurrencyLimits:
    """Implements `ports.ConcurrencyLimits`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
        values = {"concurrency_key": slot.key, "concurrency_limit": slot.most}
        row = await self._database.read(lambda tx: one_row(tx, HAS_FREE_SLOT, values))
        return bool(row[0])

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        async def admit(tx: Transaction) -> tuple[ExecutionId, WorkspaceId] | None:
            row = await tx.row(ADMIT, {"key": key})
            return None if row is None else (ExecutionId(row[0]), WorkspaceId(row[1]))

        return await self._database.write(admit)

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        values = {"key": key}
        return ids_with_workspaces(await self._database.read_long(lambda tx: tx.rows(HOLDING_SLOT, values)))

    async def queued_keys(self) -> Sequence[str]:
        rows = await self._database.read_long(lambda tx: tx.rows(QUEUED_KEYS))
        return [row[0] for row in rows]

    async def last_queued(self, key: str) -> ExecutionId | None:
        row = await self._database.read(lambda tx: tx.row(LAST_QUEUED, {"key": key}))
        return None if row is None else ExecutionId(row[0])

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        rows = await self._database.read_long(lambda tx: tx.rows(OLDER_WITH_KEY, {"id": id}))
        return [ExecutionId(row[0]) for row in rows]
