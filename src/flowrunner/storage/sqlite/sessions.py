"""Sessions, and the one-use tickets made from them."""

import sqlite3
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.ports import Audit, NewSession, Renewal
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.rows import from_ms, to_ms

# Only for an account that is still what it was when the caller proved to be its owner: a login that
# races with a new password, a new role or the account's end opens nothing.
OPEN: Final = """
INSERT INTO sessions (id, family, account_id, expires_at, token_expires_at)
SELECT :id, :family, :account_id, :expires_at, :expires_at
 WHERE EXISTS (SELECT 1 FROM accounts
                WHERE id = :account_id AND disabled_at IS NULL AND deleted_at IS NULL AND role = :role
                  AND password_hash = coalesce(:password_hash, password_hash))
"""
FIND: Final = """
SELECT s.account_id, a.role, s.expires_at
  FROM sessions s JOIN accounts a
    ON a.id = s.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE s.id = :id
"""
FAMILY: Final = "SELECT family FROM sessions WHERE id = :id"
IS_FAMILY_ALIVE: Final = "SELECT 1 FROM sessions WHERE family = :family AND expires_at > :now LIMIT 1"
RETIRE: Final = """
UPDATE sessions SET expires_at = min(expires_at, :ends_at), replaced_by = :new
 WHERE id = :old AND replaced_by IS NULL
RETURNING family
"""
# The second request of two at once shows the token of before, and so does a thief. It can be told apart
# only while the newer token has not been refreshed itself, and for a moment.
IS_REPEAT: Final = """
SELECT old.expires_at > :now AND new.id IS NOT NULL AND new.replaced_by IS NULL
  FROM sessions old LEFT JOIN sessions new ON new.id = old.replaced_by
 WHERE old.id = :old AND old.replaced_by IS NOT NULL
"""
END: Final = "DELETE FROM sessions WHERE family = (SELECT family FROM sessions WHERE id = :id)"
END_IF_REPLACED: Final = """
DELETE FROM sessions
 WHERE family = (SELECT family FROM sessions WHERE id = :id AND replaced_by IS NOT NULL)
RETURNING account_id
"""
SAVE_TICKET: Final = """
INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, :session_id, :expires_at)
"""
TAKE_TICKET: Final = "DELETE FROM tickets WHERE digest = :digest RETURNING session_id, expires_at"
PURGE: Final = (
    "DELETE FROM sessions WHERE token_expires_at < :now",
    "DELETE FROM tickets WHERE expires_at < :now",
)


class SqliteSessions:
    """Fills `ports.SessionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, session: NewSession, *, password_hash: str, audit: Audit = None) -> bool:
        values = _values(session, family=session.id) | {"password_hash": password_hash}
        return await self._database.write(
            lambda connection: connection.execute(OPEN, values).rowcount == 1, audit=audit
        )

    async def find(self, id: SessionId) -> Caller | None:
        row = await self._database.read(lambda connection: connection.execute(FIND, {"id": id}).fetchone())
        if row is None:
            return None
        return Caller(account_id=AccountId(row[0]), role=row[1], credential=Session(id), expires_at=from_ms(row[2]))

    async def family(self, id: SessionId) -> str | None:
        row = await self._database.read(lambda connection: connection.execute(FAMILY, {"id": id}).fetchone())
        return None if row is None else str(row[0])

    async def is_family_alive(self, family: str, *, now: datetime) -> bool:
        values = {"family": family, "now": to_ms(now)}
        row = await self._database.read(lambda connection: connection.execute(IS_FAMILY_ALIVE, values).fetchone())
        return row is not None

    async def replace(
        self, old: SessionId, new: NewSession, *, now: datetime, old_ends_at: datetime, audit: Audit = None
    ) -> Renewal:
        def replace(connection: sqlite3.Connection) -> Renewal:
            values = {"old": old, "new": new.id, "now": to_ms(now), "ends_at": to_ms(old_ends_at)}
            row = connection.execute(RETIRE, values).fetchone()
            if row is not None:
                is_open = connection.execute(OPEN, _values(new, family=row[0])).rowcount == 1
                return Renewal.REPLACED if is_open else Renewal.ENDED
            row = connection.execute(IS_REPEAT, values).fetchone()
            if row is None:
                return Renewal.ENDED
            if row[0]:
                return Renewal.REPEATED
            connection.execute(END, {"id": old})
            return Renewal.REUSED

        return await self._database.write(replace, audit=audit)

    async def end_if_replaced(self, id: SessionId, *, audit: Audit = None) -> AccountId | None:
        def end(connection: sqlite3.Connection) -> AccountId | None:
            rows = connection.execute(END_IF_REPLACED, {"id": id}).fetchall()
            return AccountId(rows[0][0]) if rows else None

        return await self._database.write(end, audit=audit)

    async def end(self, id: SessionId, *, audit: Audit = None) -> None:
        await self._database.write(lambda connection: connection.execute(END, {"id": id}).rowcount, audit=audit)

    async def save_ticket(self, digest: str, session_id: SessionId, *, expires_at: datetime) -> None:
        values = {"digest": digest, "session_id": session_id, "expires_at": to_ms(expires_at)}
        await self._database.write(lambda connection: connection.execute(SAVE_TICKET, values).rowcount)

    async def take_ticket(self, digest: str, *, now: datetime) -> SessionId | None:
        row = await self._database.write(
            lambda connection: connection.execute(TAKE_TICKET, {"digest": digest}).fetchone()
        )
        return SessionId(row[0]) if row is not None and row[1] >= to_ms(now) else None

    async def purge(self, *, now: datetime) -> None:
        def purge(connection: sqlite3.Connection) -> None:
            for statement in PURGE:
                connection.execute(statement, {"now": to_ms(now)})

        await self._database.write(purge)


def _values(session: NewSession, *, family: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "family": family,
        "account_id": session.account_id,
        "role": session.role,
        "password_hash": None,
        "expires_at": to_ms(session.expires_at),
    }
