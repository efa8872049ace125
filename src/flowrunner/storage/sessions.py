"""Sessions, and single-use tickets for WebSockets."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Caller, Session
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page
from flowrunner.ports.sessions import NewSession, Renewal, SessionUse, SessionView, login_named_by
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.transaction import Row, Statement, Transaction, one_row
from flowrunner.storage.workspaces import memberships

# Only if the account is unchanged since the password was checked: a login that races with a new password, a new role or
# the deletion of the account opens no session.
OPEN: Final = """
INSERT INTO sessions (id, family, account_id, expires_at, token_expires_at, logged_in_at, last_used_at, address, agent,
                      proof)
SELECT :id, :family, :account_id, :expires_at, :expires_at, :logged_in_at, :at, :address, :agent, CAST(:proof AS text)
 WHERE EXISTS (SELECT 1 FROM accounts
                WHERE id = :account_id AND disabled_at IS NULL AND deleted_at IS NULL AND role = :role
                  AND password_hash = coalesce(:password_hash, password_hash))
"""
FIND: Final = """
SELECT s.account_id, a.role, s.expires_at, s.logged_in_at, coalesce(s.proof, 'password'), s.id
  FROM sessions s JOIN accounts a
    ON a.id = s.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE s.id = :id
"""
FAMILY: Final = "SELECT family FROM sessions WHERE id = :id"
FIND_FAMILY: Final = """
SELECT s.account_id, a.role, s.expires_at, s.logged_in_at, coalesce(s.proof, 'password'), s.id
  FROM sessions s JOIN accounts a
    ON a.id = s.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE s.family = :family AND s.expires_at > :now
 ORDER BY s.expires_at DESC LIMIT 1
"""
# A replaced session is not needed for longer than it is valid if its id names its login: without a row, but with a live
# one of the login, it must have been replaced. An earlier version has made ids that do not; their rows stay until their
# tokens expire.
RETIRE: Final = """
UPDATE sessions
   SET expires_at = CASE WHEN expires_at < :ends_at THEN expires_at ELSE :ends_at END, replaced_by = :new,
       token_expires_at = CASE WHEN family = :named AND token_expires_at > :ends_at THEN :ends_at
                               ELSE token_expires_at END
 WHERE id = :id AND replaced_by IS NULL
RETURNING family, logged_in_at, proof
"""
# The later of two concurrent refreshes presents the replaced token, and so does a thief. It counts as a repetition only
# for a short time, and only until the new token was refreshed, too.
IS_REPEAT: Final = """
SELECT 1 FROM sessions old JOIN sessions new ON new.id = old.replaced_by
 WHERE old.id = :id AND old.expires_at > :now AND new.replaced_by IS NULL
"""
END: Final = """
DELETE FROM sessions WHERE family = coalesce((SELECT family FROM sessions WHERE id = :id), CAST(:named AS text))
"""
END_IF_REPLACED: Final = """
DELETE FROM sessions
 WHERE family = coalesce((SELECT family FROM sessions WHERE id = :id), CAST(:named AS text))
   AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = :id AND s.replaced_by IS NULL)
RETURNING account_id
"""
# An account may refresh ten times a second, and the end of its sessions is one commit: a refresh adds one row and
# deletes a few.
FORGET: Final = """
DELETE FROM sessions
 WHERE id IN (SELECT id FROM sessions WHERE account_id = :account_id AND token_expires_at < :now
               ORDER BY token_expires_at LIMIT 10)
"""
# Those that would expire first, which are those that have not been refreshed for longest. The new one stays even if it
# expires before them, because tokens live for a shorter time than they did.
END_SURPLUS: Final = """
DELETE FROM sessions
 WHERE family IN (SELECT family FROM sessions
                   WHERE account_id = :account_id AND replaced_by IS NULL AND id <> :id
                   ORDER BY token_expires_at DESC, logged_in_at DESC LIMIT 10 OFFSET :most_others)
"""
# A replaced session remains for seconds, and is not a login of its own. Each login has its own millisecond, which is
# the position of a page.
LOGINS: Final = """
SELECT family, logged_in_at, expires_at, last_used_at, coalesce(address, ''), coalesce(agent, '') FROM sessions
 WHERE account_id = :account_id AND replaced_by IS NULL AND expires_at > :now AND logged_in_at < :before
 ORDER BY logged_in_at DESC, id LIMIT :limit OFFSET :offset
"""
COUNT_LOGINS: Final = """
SELECT count(*) FROM sessions WHERE account_id = :account_id AND replaced_by IS NULL AND expires_at > :now
"""
END_LOGINS: Final = """
DELETE FROM sessions
 WHERE account_id = :account_id AND family = coalesce(:only, family) AND family <> coalesce(:but, '')
"""
NOTE_USE: Final = Statement.on_rows(
    "UPDATE sessions SET last_used_at = new.at, address = new.address FROM {new} WHERE sessions.id = new.id",
    bigint="at",
)
SAVE_TICKET: Final = """
INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, :session_id, :expires_at)
"""
# Just before the login that it follows, at a time that no other login of the account has: see `LOGINS`.
JUST_BEFORE: Final = """
SELECT min(logged_in_at) - 1 FROM sessions
 WHERE account_id = :account_id AND logged_in_at <= :at AND logged_in_at > :at - 1000
"""
# For two logins in one millisecond, by passkeys for example, and for clocks of two servers that differ a little.
FIRST_FREE: Final = """
SELECT coalesce(max(logged_in_at) + 1, :at) FROM sessions
 WHERE account_id = :account_id AND logged_in_at >= :at AND logged_in_at < :at + 1000
"""
TAKE_TICKET: Final = "DELETE FROM tickets WHERE digest = :digest RETURNING session_id, expires_at"
# In portions: each refresh leaves a row, and other writes wait for a deletion.
PURGE: Final = (
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE token_expires_at < :now LIMIT :limit)",
    "DELETE FROM tickets WHERE digest IN (SELECT digest FROM tickets WHERE expires_at < :now LIMIT :limit)",
    """
DELETE FROM login_challenges
 WHERE digest IN (SELECT digest FROM login_challenges WHERE expires_at < :now LIMIT :limit)
""",
)

# Logins of an account: a new one ends those beyond them.
MOST_LOGINS: Final = 1_000


class SqlSessions:
    """Implements `ports.SessionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, session: NewSession, *, at: datetime, password_hash: str | None, audit: Audit = None) -> bool:
        async def open(tx: Transaction) -> bool:
            return await open_session(tx, session, at=at, password_hash=password_hash)

        return await self._database.write(open, audit=audit)

    async def find(self, id: SessionId) -> Caller | None:
        return await self._database.read(lambda tx: _caller(tx, FIND, {"id": id}))

    async def family(self, id: SessionId) -> str | None:
        row = await self._database.read(lambda tx: tx.row(FAMILY, {"id": id}))
        return None if row is None else str(row[0])

    async def find_family(self, family: str, *, now: datetime) -> Caller | None:
        values = {"family": family, "now": to_ms(now)}
        return await self._database.read(lambda tx: _caller(tx, FIND_FAMILY, values))

    async def replace(
        self, old: SessionId, new: NewSession, *, now: datetime, old_ends_at: datetime, audit: Audit = None
    ) -> Renewal:
        async def replace(tx: Transaction) -> Renewal:
            values = _ids(old) | {"new": new.id, "now": to_ms(now), "ends_at": to_ms(old_ends_at)}
            await tx.run(FORGET, values | {"account_id": new.account_id})
            row = await tx.row(RETIRE, values)
            if row is not None:
                family, logged_in_at, proof = row
                opened = _values(new, family=family, logged_in_at=logged_in_at, at=to_ms(now)) | {"proof": proof}
                is_open = await tx.run(OPEN, opened) == 1
                return Renewal.REPLACED if is_open else Renewal.ENDED
            if await tx.row(IS_REPEAT, values) is not None:
                return Renewal.REPEATED
            return Renewal.REUSED if await tx.run(END, values) else Renewal.ENDED

        return await self._database.write(replace, audit=audit)

    async def end_if_replaced(self, id: SessionId, *, audit: Audit = None) -> AccountId | None:
        async def end(tx: Transaction) -> AccountId | None:
            rows = await tx.rows(END_IF_REPLACED, _ids(id))
            return AccountId(rows[0][0]) if rows else None

        return await self._database.write(end, audit=audit)

    async def end(self, id: SessionId, *, audit: Audit = None) -> None:
        await self._database.write(lambda tx: tx.run(END, _ids(id)), audit=audit)

    async def logins(self, account_id: AccountId, *, now: datetime, page: Page) -> tuple[Sequence[SessionView], int]:
        values = {"account_id": account_id, "now": to_ms(now), "before": page.before}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, LOGINS, COUNT_LOGINS, values))
        return [_login(row) for row in rows], total

    async def end_logins(
        self, account_id: AccountId, *, only: str | None, but: str | None, audit: Callable[[int], AuditEntry | None]
    ) -> int:
        values = {"account_id": account_id, "only": only, "but": but}
        return await self._database.write(lambda tx: tx.run(END_LOGINS, values), audit=audit)

    async def note_uses(self, uses: Mapping[SessionId, SessionUse]) -> None:
        values = [{"id": id, "at": to_ms(use.at), "address": use.address} for id, use in uses.items()]
        await self._database.write(lambda tx: tx.run_many(NOTE_USE, values))

    async def save_ticket(self, digest: str, session_id: SessionId, *, expires_at: datetime) -> None:
        values = {"digest": digest, "session_id": session_id, "expires_at": to_ms(expires_at)}
        await self._database.write(lambda tx: tx.run(SAVE_TICKET, values))

    async def take_ticket(self, digest: str, *, now: datetime) -> SessionId | None:
        row = await self._database.write(lambda tx: tx.row(TAKE_TICKET, {"digest": digest}))
        return SessionId(row[0]) if row is not None and row[1] >= to_ms(now) else None

    async def open_by_ticket(
        self, digest: str, new: Callable[[Caller], NewSession], *, now: datetime, audit: Audit = None
    ) -> NewSession | None:
        async def open(tx: Transaction) -> NewSession | None:
            ticket = await tx.row(TAKE_TICKET, {"digest": digest})
            parent = None if ticket is None else await _caller(tx, FIND, {"id": ticket[0]})
            if ticket is None or ticket[1] < to_ms(now) or parent is None or parent.expires_at <= now:
                return None
            assert isinstance(parent.credential, Session), "found by a session"
            session, login = new(parent), to_ms(parent.credential.logged_in_at)
            (before,) = await one_row(tx, JUST_BEFORE, {"account_id": parent.account_id, "at": login})
            opened = _values(session, family=session.id, logged_in_at=before, at=to_ms(now))
            return session if await _open(tx, opened) else None

        return await self._database.write(open, audit=audit)

    async def purge(self, *, now: datetime, limit: int) -> bool:
        values = {"now": to_ms(now), "limit": limit}

        async def purge(tx: Transaction) -> bool:
            return limit in [await tx.run(statement, values) for statement in PURGE]

        return await self._database.write(purge)


async def open_session(tx: Transaction, session: NewSession, *, at: datetime, password_hash: str | None = None) -> bool:
    """Open the first session of a login; return False if the account has changed.

    Args: Those of `SessionStore.open`.
    """
    (free,) = await one_row(tx, FIRST_FREE, {"account_id": session.account_id, "at": to_ms(at)})
    values = _values(session, family=session.id, logged_in_at=free, at=to_ms(at))
    return await _open(tx, values | {"password_hash": password_hash})


async def _open(tx: Transaction, values: dict[str, Any]) -> bool:
    """Open the first session of a login, and end the oldest logins beyond the limit."""
    values |= {"now": values["at"], "most_others": MOST_LOGINS - 1}
    await tx.run(FORGET, values)
    if await tx.run(OPEN, values) == 0:
        return False
    await tx.run(END_SURPLUS, values)
    return True


def _ids(id: SessionId) -> dict[str, Any]:
    return {"id": id, "named": login_named_by(id)}


async def _caller(tx: Transaction, statement: str, values: Mapping[str, Any]) -> Caller | None:
    row = await tx.row(statement, values)
    if row is None:
        return None
    account_id = AccountId(row[0])
    return Caller(
        account_id=account_id,
        role=row[1],
        credential=Session(SessionId(row[5]), logged_in_at=from_ms(row[3]), proof=row[4]),
        expires_at=from_ms(row[2]),
        memberships=await memberships(tx, account_id),
    )


def _login(row: Row) -> SessionView:
    family, logged_in_at, expires_at, last_used_at, address, agent = row
    return SessionView(
        family=family,
        logged_in_at=from_ms(logged_in_at),
        expires_at=from_ms(expires_at),
        last_used_at=from_ms_or_none(last_used_at),
        address=address,
        agent=agent,
    )


def _values(session: NewSession, *, family: str, logged_in_at: int, at: int) -> dict[str, Any]:
    return {
        "id": session.id,
        "family": family,
        "account_id": session.account_id,
        "role": session.role,
        "password_hash": None,
        "expires_at": to_ms(session.expires_at),
        "logged_in_at": logged_in_at,
        "at": at,
        "address": session.address,
        "agent": session.agent,
        "proof": None if session.proof == "password" else session.proof,
    }
