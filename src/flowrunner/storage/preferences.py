"""Preferences of accounts in the interface."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import AccountId
from flowrunner.storage.database import Database
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Transaction

GET: Final = "SELECT data FROM preferences WHERE account_id = :account_id"
# Writes nothing for an account that is deleted at the same time, which would keep the row.
PUT: Final = """
INSERT INTO preferences (account_id, data, updated_at)
SELECT id, :data, :at FROM accounts WHERE id = :account_id AND deleted_at IS NULL
    ON CONFLICT (account_id) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at
"""


class SqlPreferences:
    """Implements `ports.PreferenceStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account_id: AccountId) -> bytes | None:
        return await self._database.read(lambda tx: _present(tx, account_id))

    async def put(
        self, account_id: AccountId, data: bytes, *, at: datetime, check: Callable[[bytes | None], None]
    ) -> None:
        values = {"account_id": account_id, "data": data.decode(), "at": to_ms(at)}

        async def put(tx: Transaction) -> None:
            check(await _present(tx, account_id))
            if not await tx.run(PUT, values):
                raise NotFound("account")

        await self._database.write(put)


async def _present(tx: Transaction, account_id: AccountId) -> bytes | None:
    row = await tx.row(GET, {"account_id": account_id})
    return None if row is None else row[0].encode()
