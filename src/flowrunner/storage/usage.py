"""How much an account keeps here."""

from typing import Final

from flowrunner.domain.values import AccountId
from flowrunner.storage.database import Database
from flowrunner.storage.transaction import one_row

STORED: Final = "SELECT CAST(coalesce(sum(stored), 0) AS bigint) FROM usage WHERE account_id = :account_id"
QUEUED: Final = """
SELECT count(*) FROM executions WHERE account_id = :account_id AND is_queued AND completed_at IS NULL
"""


class SqlUsage:
    """Fills `ports.UsageReader`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def stored(self, account_id: AccountId) -> int:
        return await self._number(STORED, account_id)

    async def queued(self, account_id: AccountId) -> int:
        return await self._number(QUEUED, account_id)

    async def _number(self, statement: str, account_id: AccountId) -> int:
        values = {"account_id": account_id}
        row = await self._database.read(lambda tx: one_row(tx, statement, values))
        return int(row[0])
