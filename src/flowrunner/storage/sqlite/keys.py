"""Rotations of keys: what was asked for, and what is over."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.ports import Audit, KeyKind, KeyRotation, Page
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.paging import page_and_total
from flowrunner.storage.sqlite.rows import from_ms, from_ms_or_none, to_ms

REQUEST: Final = """
INSERT INTO key_rotations (kind, replaces, requested_at) VALUES (:kind, :replaces, :at)
    ON CONFLICT DO NOTHING
"""
REQUESTED: Final = """
SELECT id, kind, replaces, requested_at, needed_until, completed_at FROM key_rotations
 WHERE kind = :kind AND replaces IS :replaces AND completed_at IS NULL
"""
# Somebody may hold a token signed with the key of before.
KEEP_UNTIL: Final = """
UPDATE key_rotations
   SET needed_until = max(:at, coalesce((SELECT max(token_expires_at) FROM sessions), 0))
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


class SqliteKeyRotations:
    """Fills `ports.KeyRotationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request(
        self, kind: KeyKind, *, replaces: str | None, at: datetime, audit: Audit = None
    ) -> tuple[KeyRotation, bool]:
        values = {"kind": kind, "replaces": replaces, "at": to_ms(at)}

        def request(connection: sqlite3.Connection) -> tuple[KeyRotation, bool]:
            is_new = connection.execute(REQUEST, values).rowcount == 1
            return _rotation(connection.execute(REQUESTED, values).fetchone()), is_new

        return await self._database.write(request, audit=audit)

    async def keep_until(self, id: int, at: datetime) -> datetime:
        values = {"id": id, "at": to_ms(at)}
        row = await self._database.write(lambda connection: connection.execute(KEEP_UNTIL, values).fetchone())
        return from_ms(row[0])

    async def complete(self, id: int, *, at: datetime, audit: Audit = None) -> None:
        values = {"id": id, "at": to_ms(at)}
        await self._database.write(lambda connection: connection.execute(COMPLETE, values).rowcount, audit=audit)

    async def under_way(self) -> Sequence[KeyRotation]:
        rows = await self._database.read(lambda connection: connection.execute(UNDER_WAY).fetchall())
        return [_rotation(row) for row in rows]

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        values = {"limit": page.limit, "offset": page.offset}
        rows, total = await self._database.read(lambda connection: page_and_total(connection, PAGE, COUNT, values))
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
