"""Storage and queued executions of a workspace."""

from typing import Final

from flowrunner.domain.values import WorkspaceId
from flowrunner.storage.database import Database
from flowrunner.storage.transaction import one_row

STORED: Final = "SELECT CAST(coalesce(sum(stored), 0) AS bigint) FROM usage WHERE workspace_id = :workspace_id"
QUEUED: Final = """
SELECT count(*) FROM executions WHERE workspace_id = :workspace_id AND is_queued AND completed_at IS NULL
"""


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
