"""Sessions, and the one-use tickets made from them."""

import sqlite3
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Caller
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.rows import from_ms, to_ms

# Only for an account that is still what it was when the caller proved to be its owner: a login that
# races with a new password, a new role or the account's end opens nothing.
OPEN: Final = """
INSERT INTO sessions (id, family, account_id, expires_at)
SELECT :id, :family, :account_id, :expires_at
 WHERE EXISTS (SELECT 1 FROM accounts
                WHERE id = :account_id AND deleted_at IS NULL AND role = :role
                  AND password_hash = coalesce(:password_hash, password_hash))
"""
FIND: Final = """
SELECT s.account_id, a.role, s.expires_at
  FROM sessions s JOIN accounts a ON a.id = s.account_id AND a.deleted_at IS NULL
 WHERE s.id = :id
"""
FAMILY: Final = "SELECT family FROM sessions WHERE id = :id"
IS_FAMILY_ALIVE: Final = "SELECT 1 FROM sessions WHERE family = :family AND expires_at > :now LIMIT 1"
RETIRE: Final = """
UPDATE sessions SET expires_at = min(expires_at, :ends_at), replaced_by = :new
 WHERE id = :old AND replaced_by IS NULL
RETURNING family
"""
END: Final = "DELETE FROM sessions WHERE family = (SELECT family FROM sessions WHERE id = :id)"
SAVE_TICKET: Final = """
INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, :session_id, :expires_at)
"""
TAKE_TICKET: Final = "DELETE FROM tickets WHERE digest = :digest RETURNING session_id, expires_at"
PURGE: Final = (
    "DELETE FROM sessions WHERE expires_at < :now",
    "DELETE FROM tickets WHERE expires_at < :now",
)


class SqliteSessions:
    """Fills `ports.SessionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, caller: Caller, *, password_hash: str) -> bool:
        values = _values(caller, family=caller.session_id) | {"password_hash": password_hash}
        return await self._database.write(lambda connection: connection.execute(OPEN, values).rowcount == 1)

    async def find(self, id: SessionId) -> Caller | None:
        row = await self._database.read(lambda connection: connection.execute(FIND, {"id": id}).fetchone())
        if row is None:
            return None
        return Caller(account_id=AccountId(row[0]), role=row[1], session_id=id, expires_at=from_ms(row[2]))

    async def family(self, id: SessionId) -> str | None:
        row = await self._database.read(lambda connection: connection.execute(FAMILY, {"id": id}).fetchone())
        return None if row is None else str(row[0])

    async def is_family_alive(self, family: str, *, now: datetime) -> bool:
        values = {"family": family, "now": to_ms(now)}
        row = await self._database.read(lambda connection: connection.execute(IS_FAMILY_ALIVE, values).fetchone())
        return row is not None

    async def replace(self, old: SessionId, new: Caller, *, old_ends_at: datetime) -> bool:
        def replace(connection: sqlite3.Connection) -> bool:
            values = {"old": old, "new": new.session_id, "ends_at": to_ms(old_ends_at)}
            row = connection.execute(RETIRE, values).fetchone()
            return row is not None and connection.execute(OPEN, _values(new, family=row[0])).rowcount == 1

        return await self._database.write(replace)

    async def end(self, id: SessionId) -> None:
        await self._database.write(lambda connection: connection.execute(END, {"id": id}).rowcount)

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


def _values(caller: Caller, *, family: str) -> dict[str, Any]:
    return {
        "id": caller.session_id,
        "family": family,
        "account_id": caller.account_id,
        "role": caller.role,
        "password_hash": None,
        "expires_at": to_ms(caller.expires_at),
    }
