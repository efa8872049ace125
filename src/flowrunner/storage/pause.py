"""The pause of the installation, stored in a table with one row."""

from datetime import datetime
from typing import Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms_or_none, to_ms
from flowrunner.storage.transaction import Transaction, one_row

PAUSED_AT: Final = "SELECT paused_at FROM engine"
PAUSE: Final = "UPDATE engine SET paused_at = :at WHERE paused_at IS NULL"
RESUME: Final = "UPDATE engine SET paused_at = NULL WHERE paused_at IS NOT NULL"


class SqlPause:
    """Implements `ports.PauseStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def paused_at(self) -> datetime | None:
        return await self._database.read(_paused_at)

    async def set(self, at: datetime | None, *, audit: AuditEntry | None = None) -> datetime | None:
        async def set(tx: Transaction) -> tuple[datetime | None, int]:
            changed = await tx.run(RESUME) if at is None else await tx.run(PAUSE, {"at": to_ms(at)})
            return await _paused_at(tx), changed

        paused_at, _ = await self._database.write(set, audit=lambda result: audit if result[1] else None)
        return paused_at


async def _paused_at(tx: Transaction) -> datetime | None:
    paused_at = (await one_row(tx, PAUSED_AT))[0]
    return from_ms_or_none(paused_at)
