"""E-mails that are not sent yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowrunner.ports.outgoing_mails import QueuedMail
from flowrunner.storage.database import Database
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.transaction import Statement, one_row

NEXT_DUE: Final = "SELECT min(next_at) FROM outgoing_mails"
DUE: Final = """
SELECT id, recipient, subject, text, page, seed, expires_at, failures
  FROM outgoing_mails WHERE next_at <= :now ORDER BY next_at, id LIMIT :limit
"""
POSTPONE: Final = "UPDATE outgoing_mails SET failures = failures + 1, next_at = :until WHERE id = :id"
DELETE: Final = "DELETE FROM outgoing_mails WHERE id = :id"
EXPIRED: Final = "SELECT id FROM outgoing_mails WHERE expires_at <= :now LIMIT :limit"
PURGE: Final = Statement.with_texts("DELETE FROM outgoing_mails WHERE id IN (:ids)", "ids")


class SqlOutgoingMails:
    """Implements `ports.OutgoingMailStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next_due(self) -> datetime | None:
        (at,) = await self._database.read(lambda tx: one_row(tx, NEXT_DUE))
        return from_ms_or_none(at)

    async def due(self, *, now: datetime, limit: int) -> Sequence[QueuedMail]:
        rows = await self._database.read(lambda tx: tx.rows(DUE, {"now": to_ms(now), "limit": limit}))
        return [
            QueuedMail(
                id=id, to=to, subject=subject, text=text, page=page, seed=seed, expires_at=from_ms(at),
                failures=failures,
            )
            for id, to, subject, text, page, seed, at, failures in rows
        ]  # fmt: skip

    async def postpone(self, id: str, *, until: datetime) -> None:
        values = {"id": id, "until": to_ms(until)}
        await self._database.write(lambda tx: tx.run(POSTPONE, values))

    async def delete(self, id: str) -> None:
        await self._database.write(lambda tx: tx.run(DELETE, {"id": id}))

    async def purge(self, *, now: datetime, limit: int) -> int:
        return await delete_some(self._database, EXPIRED, PURGE, {"now": to_ms(now)}, limit=limit)
