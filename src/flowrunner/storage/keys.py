"""Rotations of keys, requested and completed."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.ports.audit import Audit
from flowrunner.ports.keys import HeldKeys, KeyHolder, KeyKind, KeyRotation
from flowrunner.ports.page import Page
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.transaction import Statement, Transaction, one_row

REQUEST: Final = """
INSERT INTO key_rotations (kind, replaces, requested_at) VALUES (:kind, :replaces, :at)
    ON CONFLICT DO NOTHING
"""
REQUESTED: Final = """
SELECT id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at FROM key_rotations
 WHERE kind = :kind AND coalesce(replaces, '') = coalesce(:replaces, '') AND completed_at IS NULL
"""
# Tokens signed with the replaced key are valid until their sessions expire. So are links in e-mails, until these
# expire: without the key, a link no longer proves that its owner reads the mailbox.
KEEP_UNTIL: Final = """
UPDATE key_rotations
   SET needed_until = (SELECT max(at) FROM (SELECT CAST(:at AS bigint) AS at
                                            UNION ALL SELECT max(token_expires_at) FROM sessions
                                            UNION ALL SELECT expires_at FROM invitations
                                            UNION ALL SELECT expires_at FROM password_resets
                                            UNION ALL SELECT confirmation_expires_at FROM accounts) AS ends)
 WHERE id = :id
RETURNING needed_until
"""
# The first process decides.
REPLACE_BY: Final = """
UPDATE key_rotations SET replaced_by = coalesce(replaced_by, :key_id) WHERE id = :id RETURNING replaced_by
"""
SWITCH: Final = "UPDATE key_rotations SET switched_at = :at WHERE id = :id AND switched_at IS NULL"
REPLACEMENTS: Final = """
SELECT id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at FROM key_rotations
 WHERE replaced_by IS NOT NULL ORDER BY id
"""
COMPLETE: Final = "UPDATE key_rotations SET completed_at = :at WHERE id = :id AND completed_at IS NULL"
# Each process that listens for notifications has a session for that, which ends with the process. The session's lock
# distinguishes installations in other schemas of the database, which have other keys: see `postgres.notifications`.
HOLDERS: Final = Statement(
    sqlite="SELECT '' WHERE false",
    postgres="""
SELECT application_name FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'flowrunner master=%'
   AND pid IN (SELECT pid FROM pg_locks
                WHERE locktype = 'advisory' AND classid = hashtext('flowrunner process')::oid
                  AND objid = hashtext(current_schema())::oid)
""",
)
OPEN: Final = """
SELECT id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at FROM key_rotations
 WHERE completed_at IS NULL ORDER BY id
"""
PAGE: Final = """
SELECT id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at FROM key_rotations
 WHERE id < :before ORDER BY id DESC LIMIT :limit OFFSET :offset
"""
COUNT: Final = "SELECT count(*) FROM key_rotations"


# Full ids would not fit into the name of a session, which has at most 63 bytes.
_ID_DIGITS: Final = 8
_NAME: Final = re.compile(r"flowrunner master=(\w+)(?:\+(\w+))? signing=(\w+)(?:\+(\w+))?")


def name_of(holder: KeyHolder) -> str:
    """Return the name for the session of a process, in which other processes read the keys that it has."""
    return f"flowrunner master={_held(holder.master)} signing={_held(holder.signing)}"


def _held(keys: HeldKeys) -> str:
    return keys.present[:_ID_DIGITS] + ("" if keys.next is None else f"+{keys.next[:_ID_DIGITS]}")


def _holder(name: str) -> KeyHolder | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    master, next_master, signing, next_signing = found.groups()
    return KeyHolder(HeldKeys(master, next_master), HeldKeys(signing, next_signing))


class SqlKeyRotations:
    """Implements `ports.KeyRotationStore`."""

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

    async def replace_by(self, id: int, key_id: str) -> str:
        row = await self._database.write(lambda tx: one_row(tx, REPLACE_BY, {"id": id, "key_id": key_id}))
        return str(row[0])

    async def switch(self, id: int, *, at: datetime) -> None:
        await self._database.write(lambda tx: tx.run(SWITCH, {"id": id, "at": to_ms(at)}))

    async def replacements(self) -> Sequence[KeyRotation]:
        rows = await self._database.read(lambda tx: tx.rows(REPLACEMENTS))
        return [_rotation(row) for row in rows]

    async def holders(self) -> Sequence[KeyHolder]:
        rows = await self._database.read(lambda tx: tx.rows(HOLDERS))
        return [holder for (name,) in rows if (holder := _holder(name)) is not None]

    async def complete(self, id: int, *, at: datetime, audit: AuditEntry) -> None:
        values = {"id": id, "at": to_ms(at)}
        await self._database.write(
            lambda tx: tx.run(COMPLETE, values), audit=lambda changed: audit if changed else None
        )

    async def under_way(self) -> Sequence[KeyRotation]:
        rows = await self._database.read(lambda tx: tx.rows(OPEN))
        return [_rotation(row) for row in rows]

    async def page(self, page: Page) -> tuple[Sequence[KeyRotation], int]:
        values = {"before": page.before}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [_rotation(row) for row in rows], total


def _rotation(row: tuple[Any, ...]) -> KeyRotation:
    id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at = row
    return KeyRotation(
        id=id,
        kind=kind,
        replaces=replaces,
        replaced_by=replaced_by,
        switched_at=from_ms_or_none(switched_at),
        requested_at=from_ms(requested_at),
        needed_until=from_ms_or_none(needed_until),
        completed_at=from_ms_or_none(completed_at),
    )
