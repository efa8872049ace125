"""Rotations of keys: what was asked for, and what is over."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.ports import Audit, KeyKind, KeyRotation, Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.transaction import Transaction, one_row

REQUEST: Final = """
INSERT INTO key_rotations (kind, replaces, requested_at) VALUES (:kind, :replaces, :at)
    ON CONFLICT DO NOTHING
"""
REQUESTED: Final = """
SELECT id, kind, replaces, requested_at, needed_until, completed_at FROM key_rotations
 WHERE kind = :kind AND coalesce(replaces, '') = coalesce(:replaces, '') AND completed_at IS NULL
"""
# Somebody may hold a token signed with the key of before.
KEEP_UNTIL: Final = """
UPDATE key_rotations
   SET needed_until = (SELECT max(at) FROM (SELECT CAST(:at AS bigint) AS at
                                            UNION ALL SELECT token_expires_at FROM sessions) AS ends)
 WHERE id = :id
RETURNING needed_until
"""
COMPLETE: Final = "UPDATE key_rotations SET completed_at = :at WHERE id = :id"
UNDER_WAY: Final = """
SELECT id, kind, replaces, requested_at, needed_until, completed_at FROM key_rotations
 WHERE completed_at IS NULL ORDER BY id
"""
PAGE: Final = """
SELECT id, kind, replaces, requested_at, needed_until, completed_at FROM key_rotations
 ORDER BY id DESC LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM key_rotations"


class SqlKeyRotations:
    """Fills `ports.KeyRotationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request(
        self, kind: KeyKind, *, replaces: str | None, at: datetime, audit: Audit = None
    ) -> tuple[KeyRotation, bool]:
        values = {"kind": kind, "replaces": replaces, "at": to_ms(at)}

        async def request(tx: Transaction) -> tuple[KeyRotation, bool]:
            is_new = await tx.run(REQUEST, values) == 1
            return _rotation(await one_row(tx, REQUESTED, values)), is_new

        return await self._database.write(request, audit=audit)

    async def keep_until(self, id: int, at: datetime) -> datetime:
        values = {"id": id, "at": to_ms(at)}
        row = await self._database.write(lambda tx: one_row(tx, KEEP_UNTIL, values))
        return from_ms(row[0])

    async def complete(self, id: int, *, at: datetime, audit: Audit = None) -> None:
        values = {"id": id, "at": to_ms(at)}
        await self._database.write(lambda tx: tx.run(COMPLETE, values), audit=audit)

    async def under_way(self) -> Sequence[KeyRotation]:
        rows = await self._database.read(lambda tx: tx.rows(UNDER_WAY))
        return [_rotation(row) for row in rows]

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        values = {"limit": page.limit, "offset": page.offset}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, PAGE, COUNT, values))
        return [_rotation(row) for row in rows], total


def _rotation(row: tuple[Any, ...]) -> KeyRotation:
    id, kind, replaces, requested_at, needed_until, completed_at = row
    return KeyRotation(
        id=id,
        kind=kind,
        replaces=replaces,
        requested_at=from_ms(requested_at),
        needed_until=from_ms_or_none(needed_until),
        completed_at=from_ms_or_none(completed_at),
    )
