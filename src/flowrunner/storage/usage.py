"""Storage and queued executions of a workspace."""

import time
from typing import Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.storage.database import Database
from flowrunner.storage.transaction import one_row

STORED: Final = "SELECT CAST(coalesce(sum(stored), 0) AS bigint) FROM usage WHERE workspace_id = :workspace_id"
QUEUED: Final = """
SELECT count(*) FROM executions WHERE workspace_id = :workspace_id AND is_queued AND completed_at IS NULL
"""

# The share of a workspace's free storage that one process uses between two readings, so that as many processes
# together cannot exceed it. Another process, or a flow, may use the rest meanwhile, so a reading is valid for a second.
_SHARE_OF_A_READING: Final = 64
_READING_SECONDS: Final = 1.0
_MOST_READINGS: Final = 10_000


class FreeStorage:
    """Bytes that workspaces may store before their usage has to be read again."""

    def __init__(self) -> None:
        # The bytes of each workspace, and when they were read.
        self._left: dict[WorkspaceId, tuple[int, float]] = {}

    def covers(self, workspace_id: WorkspaceId, size: int) -> bool:
        """Return whether ``size`` bytes certainly fit, and subtract them if so."""
        left, read_at = self._left.get(workspace_id, (0, 0.0))
        if size > left or time.monotonic() - read_at > _READING_SECONDS:
            return False
        self._left[workspace_id] = left - size, read_at
        return True

    def note(self, workspace_id: WorkspaceId, free: int) -> None:
        """Record a reading of the workspace's free storage."""
        if len(self._left) >= _MOST_READINGS:
            self._left.clear()
        self._left[workspace_id] = free // _SHARE_OF_A_READING, time.monotonic()


class SqlUsage:
    """Implements `ports.UsageReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored(self, workspace_id: WorkspaceId) -> int:
        return await self._number(STORED, workspace_id)

    async def queued(self, workspace_id: WorkspaceId) -> int:
        return await self._number(QUEUED, workspace_id)

    async def _number(self, statement: str, workspace_id: WorkspaceId) -> int:
        values = {"workspace_id": workspace_id}
        row = await self._database.read(lambda tx: one_row(tx, statement, values))
        return int(row[0])
