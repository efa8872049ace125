"""Accounts of providers of single sign-on, and the accounts that they are linked to."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Account
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Conflict, LimitReached, NotFound
from flowrunner.domain.values import AccountId, SessionId, WorkspaceId
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.accounts import NO_PASSWORD
from flowrunner.ports.audit import Audit
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.sign_on import Identity
from flowrunner.storage.accounts import END_CHALLENGES, END_SESSIONS, GET, account_of, create_account
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.sessions import FAMILY, open_session
from flowrunner.storage.transaction import Refused, Row, Transaction, existing_row, one_row

FIND: Final = """
SELECT i.id, i.account_id, i.provider, i.issuer, i.subject, i.created_at, i.last_used_at,
       a.id, a.name, a.email, a.role, a.created_at, a.updated_at, a.disabled_at, a.email_confirmed_at
  FROM identities i JOIN accounts a ON a.id = i.account_id AND a.deleted_at IS NULL
 WHERE i.issuer = :issuer AND i.subject = :subject
"""
ADD: Final = """
INSERT INTO identities (id, account_id, provider, issuer, subject, created_at)
VALUES (:id, :account_id, :provider, :issuer, :subject, :created_at)
"""
OF_ACCOUNT: Final = """
SELECT id, account_id, provider, issuer, subject, created_at, last_used_at FROM identities
 WHERE account_id = :account_id ORDER BY id
"""
COUNT: Final = "SELECT count(*) FROM identities WHERE account_id = :account_id"
REMOVE: Final = "DELETE FROM identities WHERE account_id = :account_id AND id = :id"
REMOVE_ALL: Final = "DELETE FROM identities WHERE account_id = :account_id"
LOGS_IN: Final = "SELECT 1 FROM accounts WHERE id = :account_id AND password_hash <> :none"
NOTE_USE: Final = "UPDATE identities SET last_used_at = :at WHERE id = :id AND account_id = :account_id"
# Records a used state until it expires.
USE_STATE: Final = """
INSERT INTO login_challenges (digest, account_id, purpose, expires_at)
VALUES (:digest, :account_id, 'sign_on', :expires_at)
"""
# Finds only workspaces that are not personal.
ROLE_IN: Final = """
SELECT w.id, (SELECT role FROM members m WHERE m.workspace_id = w.id AND m.account_id = :account_id)
  FROM workspaces w
 WHERE (w.id = :workspace OR w.slug = :workspace) AND w.deleted_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = w.id AND a.deleted_at IS NULL)
"""


class _Used(Exception):
    """The state was used before, or the account has changed."""


class SqlIdentities:
    """Implements `ports.IdentityStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, issuer: str, subject: str) -> tuple[Identity, Account] | None:
        values = {"issuer": issuer, "subject": subject}
        row = await self._database.read(lambda tx: tx.row(FIND, values))
        return None if row is None else (_identity(row[:7]), account_of(row[7:]))

    async def create(self, account: Account, identity: Identity, *, audit: Audit = None) -> None:
        async def create(tx: Transaction) -> None:
            await create_account(tx, account, password_hash=NO_PASSWORD)
            await _add(tx, identity)

        await self._database.write(create, audit=audit)

    async def add(
        self,
        identity: Identity,
        *,
        session: SessionId,
        state_digest: str,
        state_expires_at: datetime,
        most: int,
        audit: Audit = None,
    ) -> None:
        async def add(tx: Transaction) -> None:
            # A new password, for example, ends the session: after that, no account may be linked.
            if await tx.row(FAMILY, {"id": session}) is None:
                raise Conflict("The session that began to link the account has ended")
            if (await one_row(tx, COUNT, {"account_id": identity.account_id}))[0] >= most:
                raise LimitReached(
                    f"An account is linked to at most {counted(most, 'other')}", limit="identities", most=most
                )
            try:
                await _use_state(tx, state_digest, identity.account_id, state_expires_at)
            except _Used:
                raise Conflict("This login was used before") from None
            await _add(tx, identity)

        await self._database.write(add, audit=audit)

    async def of_account(self, account_id: AccountId) -> tuple[Sequence[Identity], bool]:
        values = {"account_id": account_id, "none": NO_PASSWORD}

        async def read(tx: Transaction) -> tuple[Sequence[Identity], bool]:
            identities = [_identity(row) for row in await tx.rows(OF_ACCOUNT, values)]
            return identities, await tx.row(LOGS_IN, values) is not None

        return await self._database.read(read)

    async def remove(
        self, account_id: AccountId, id: str, *, issuers: Collection[str], accepts_passwords: bool, audit: Audit = None
    ) -> None:
        values = {"account_id": account_id, "id": id, "none": NO_PASSWORD}

        async def remove(tx: Transaction) -> None:
            if await tx.run(REMOVE, values) != 1:
                raise NotFound("identity")
            if any(_identity(row).issuer in issuers for row in await tx.rows(OF_ACCOUNT, values)):
                return
            if not accepts_passwords:
                lacks = "Logins with passwords are off here"
            elif await tx.row(LOGS_IN, values) is None:
                lacks = "The account has no password"
            else:
                return
            raise Conflict(f"{lacks}, and the account could no longer log in: link another one first")

        await self._database.write(remove, audit=audit)

    async def remove_all(self, account_id: AccountId, *, audit: Audit = None) -> None:
        values = {"id": account_id, "account_id": account_id}

        async def remove(tx: Transaction) -> None:
            await existing_row(tx, GET, values, "account")
            for statement in (REMOVE_ALL, END_SESSIONS, END_CHALLENGES):
                await tx.run(statement, values)

        await self._database.write(remove, audit=audit)

    async def open(
        self,
        identity: Identity,
        session: NewSession,
        *,
        state_digest: str,
        state_expires_at: datetime,
        at: datetime,
        audit: Audit = None,
    ) -> bool:
        values = {"id": identity.id, "account_id": session.account_id, "at": to_ms(at)}

        async def open(tx: Transaction) -> None:
            await _use_state(tx, state_digest, session.account_id, state_expires_at)
            if await tx.run(NOTE_USE, values) != 1 or not await open_session(tx, session, at=at):
                raise _Used

        try:
            await self._database.write(open, audit=audit)
        except _Used:
            return False
        return True

    async def role_in(self, account_id: AccountId, workspace: str) -> tuple[WorkspaceId, WorkspaceRole | None] | None:
        values = {"account_id": account_id, "workspace": workspace}
        row = await self._database.read(lambda tx: tx.row(ROLE_IN, values))
        return None if row is None else (WorkspaceId(row[0]), row[1])


async def _use_state(tx: Transaction, digest: str, account_id: AccountId, expires_at: datetime) -> None:
    values: dict[str, Any] = {"digest": digest, "account_id": account_id, "expires_at": to_ms(expires_at)}
    try:
        await tx.run(USE_STATE, values)
    except Refused:
        raise _Used from None


async def _add(tx: Transaction, identity: Identity) -> None:
    values = {
        "id": identity.id,
        "account_id": identity.account_id,
        "provider": identity.provider,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "created_at": to_ms(identity.created_at),
    }
    try:
        await tx.run(ADD, values)
    except Refused:
        raise Conflict("This account of the provider is linked already") from None


def _identity(row: Row) -> Identity:
    id, account_id, provider, issuer, subject, created_at, last_used_at = row
    return Identity(
        id=id,
        account_id=AccountId(account_id),
        provider=provider,
        issuer=issuer,
        subject=subject,
        created_at=from_ms(created_at),
        last_used_at=from_ms_or_none(last_used_at),
    )
