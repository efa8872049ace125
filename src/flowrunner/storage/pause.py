"""The pause of the installation, stored in a table with one row."""

from datetime import datetime
from typing import Final

from flowrunner.ports.audit import Audit
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Transaction, one_row

PAUSED_AT: Final = "SELECT paused_at FROM engine"
PAUSE: Final = "UPDATE engine SET paused_at = coalesce(paused_at, :at)"
RESUME: Final = "UPDATE engine SET paused_at = NULL"


class SqlPause:
    """Implements `ports.PauseStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def paused_at(self) -> datetime | None:
        return await self._database.read(_paused_at)

    async def set(self, at: datetime | None, *, audit: Audit = None) -> datetime | None:
        async def set(tx: Transaction) -> datetime | None:
            if at is None:
                await tx.run(RESUME)
            else:
                await tx.run(PAUSE, {"at": to_ms(at)})
            return await _paused_at(tx)

        return await self._database.write(set, audit=audit)


async def _paused_at(tx: Transaction) -> datetime | None:
    paused_at = (await one_row(tx, PAUSED_AT))[0]
    return None if paused_at is None else from_ms(paused_at)
