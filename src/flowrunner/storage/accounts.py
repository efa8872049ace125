"""Accounts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.account import Account, Role, check_needs_no_admin
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, EmailTaken, LinkNotValid, NotFound
from flowrunner.domain.values import AccountId
from flowrunner.domain.workspace import OfDeletedAccount
from flowrunner.ports.accounts import AccountChanges, ConfirmationLink, Credential
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page
from flowrunner.storage.account_deletion import delete_account
from flowrunner.storage.database import Database
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, to_ms
from flowrunner.storage.transaction import Refused, Transaction, existing_row, one_row

CREATE: Final = """
INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at, email_confirmed_at,
                      confirmation_digest, confirmation_expires_at)
VALUES (:id, :name, :email, :role, :password_hash, :created_at, :updated_at, :email_confirmed_at,
        :confirmation_digest, :confirmation_expires_at)
"""
UPDATE: Final = """
UPDATE accounts
   SET name = coalesce(:name, name), email = coalesce(:email, email), role = coalesce(:role, role),
       password_hash = coalesce(:password_hash, password_hash), updated_at = :at,
       disabled_at = CASE WHEN :is_disabled THEN coalesce(disabled_at, :at)
                          WHEN NOT :is_disabled THEN NULL
                          ELSE disabled_at END,
       email_confirmed_at = CASE WHEN :keeps_confirmation THEN email_confirmed_at
                                 ELSE CAST(:email_confirmed_at AS bigint) END,
       confirmation_digest = CASE WHEN :keeps_confirmation THEN confirmation_digest
                                  ELSE CAST(:confirmation_digest AS text) END,
       confirmation_expires_at = CASE WHEN :keeps_confirmation THEN confirmation_expires_at
                                      ELSE CAST(:confirmation_expires_at AS bigint) END
 WHERE id = :id AND deleted_at IS NULL
RETURNING id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at
"""
END_SESSIONS: Final = "DELETE FROM sessions WHERE account_id = :id"
# All challenges except the used states of single sign-on, which must remain known until they expire.
END_CHALLENGES: Final = "DELETE FROM login_challenges WHERE account_id = :id AND purpose <> 'sign_on'"
# A link is for the account as it was: its holder may know only an earlier mailbox, or rely on an earlier role.
END_RESETS: Final = "DELETE FROM password_resets WHERE account_id = :id"
# They must not be valid again once the account may invite again, nor count once it is deleted.
END_INVITATIONS: Final = """
DELETE FROM invitations
 WHERE invited_by = :id AND workspace_id IN (SELECT workspace_id FROM memberships WHERE account_id = :id)
"""
# Somebody who knew the old password may have created them.
END_TOKENS: Final = "DELETE FROM api_tokens WHERE account_id = :id"
SET_LINK: Final = """
UPDATE accounts SET confirmation_digest = :confirmation_digest, confirmation_expires_at = :confirmation_expires_at
 WHERE id = :id AND email = :email AND email_confirmed_at IS NULL AND deleted_at IS NULL
"""
# Of two requests at the same time, one finds no link.
USE_LINK: Final = """
UPDATE accounts SET email_confirmed_at = :at, confirmation_digest = NULL, confirmation_expires_at = NULL
 WHERE id = :id AND confirmation_digest = :digest AND confirmation_expires_at > :at
   AND disabled_at IS NULL AND deleted_at IS NULL
RETURNING id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at
"""
CONFIRM: Final = """
UPDATE accounts
   SET email_confirmed_at = :at, confirmation_digest = NULL, confirmation_expires_at = NULL
 WHERE id = :id AND email = :email AND email_confirmed_at IS NULL AND deleted_at IS NULL
"""
GET: Final = """
SELECT id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at FROM accounts
 WHERE id = :id AND deleted_at IS NULL
"""
CREDENTIAL: Final = """
SELECT id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at, password_hash,
       EXISTS (SELECT 1 FROM second_factors f WHERE f.account_id = accounts.id AND f.confirmed_at IS NOT NULL)
  FROM accounts
 WHERE email = :email AND disabled_at IS NULL AND deleted_at IS NULL
"""
# Only if the hash is the one that was verified: the password may have changed since.
REHASH: Final = """
UPDATE accounts SET password_hash = :new
 WHERE id = :id AND password_hash = :old AND deleted_at IS NULL
"""
IS_UNCHANGED: Final = "SELECT 1 FROM accounts WHERE id = :id AND password_hash = :old_password_hash"
ROLE_STATE_EMAIL: Final = "SELECT role, disabled_at, email FROM accounts WHERE id = :id AND deleted_at IS NULL"
PAGE: Final = """
SELECT id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at FROM accounts
 WHERE deleted_at IS NULL AND id > :after AND (CAST(:role AS text) IS NULL OR role = :role)
 ORDER BY id LIMIT :limit OFFSET :offset
"""
COUNT: Final = (
    "SELECT count(*) FROM accounts WHERE deleted_at IS NULL AND (CAST(:role AS text) IS NULL OR role = :role)"
)
ANY: Final = "SELECT EXISTS (SELECT 1 FROM accounts)"


class SqlAccounts:
    """Implements `ports.AccountStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        account: Account,
        *,
        password_hash: str,
        only_if_first: bool = False,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> None:
        async def create(tx: Transaction) -> None:
            if only_if_first and (await one_row(tx, ANY))[0]:
                raise Conflict("The server has been set up already: log in instead")
            await create_account(tx, account, password_hash=password_hash, link=link)

        await self._database.write(create, audit=audit)

    async def update(
        self,
        id: AccountId,
        changes: AccountChanges,
        *,
        by: AccountId,
        at: datetime,
        old_password_hash: str | None = None,
        known_email: str | None = None,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> tuple[Account, bool]:
        values = {
            "id": id,
            "at": to_ms(at),
            "name": changes.name,
            "email": changes.email,
            "role": changes.role,
            "password_hash": changes.password_hash,
            "old_password_hash": old_password_hash,
            "is_disabled": changes.is_disabled,
            "keeps_confirmation": changes.email is None and changes.is_email_confirmed is None,
            "email_confirmed_at": to_ms(at) if changes.is_email_confirmed else None,
            **_link_values(link),
        }

        async def update(tx: Transaction) -> tuple[Account, bool]:
            before = await tx.row(ROLE_STATE_EMAIL, values)
            by_admin = await _is_active_admin(tx, by)
            if before is None or not (by == id or by_admin):
                raise NotFound("account")
            role, disabled_at, email = before
            has_new_role = changes.role not in (None, role)
            has_new_state = changes.is_disabled not in (None, disabled_at is not None)
            if not by_admin:
                confirms = changes.is_email_confirmed is not None
                check_needs_no_admin(has_new_role=has_new_role, has_new_state=has_new_state, confirms_email=confirms)
            if old_password_hash is not None and await tx.row(IS_UNCHANGED, values) is None:
                raise Conflict("The password was changed meanwhile: log in again")
            if known_email not in (None, email):
                raise Conflict("The e-mail address was changed meanwhile: look at it again")
            with _rules():
                row = await one_row(tx, UPDATE, values)
            ends_sessions = has_new_role or has_new_state or changes.password_hash is not None
            if ends_sessions:
                await tx.run(END_SESSIONS, values)
                await tx.run(END_CHALLENGES, values)
            if ends_sessions or changes.email is not None:
                await tx.run(END_RESETS, values)
            if changes.is_disabled or changes.role == "viewer":
                await tx.run(END_INVITATIONS, values)
            if changes.password_hash is not None:
                await tx.run(END_TOKENS, values)
            return account_of(row), ends_sessions

        return await self._database.write(update, audit=audit)

    async def delete(
        self,
        id: AccountId,
        *,
        at: datetime,
        workspace: OfDeletedAccount | None = "delete",
        to: AccountId | None = None,
        audit: Audit = None,
    ) -> tuple[AccountId, ...]:
        async def delete(tx: Transaction) -> tuple[AccountId, ...]:
            # While it has its roles, by which they are found.
            await tx.run(END_INVITATIONS, {"id": id})
            with _rules():
                return await delete_account(tx, id, at=to_ms(at), workspace=workspace, to=to)

        return await self._database.write(delete, audit=audit)

    async def get(self, id: AccountId) -> Account:
        row = await self._database.read(lambda tx: existing_row(tx, GET, {"id": id}, "account"))
        return account_of(row)

    async def credential(self, email: str) -> Credential | None:
        row = await self._database.read(lambda tx: tx.row(CREDENTIAL, {"email": email}))
        if row is None:
            return None
        return Credential(account=account_of(row), password_hash=row[8], has_second_factor=bool(row[9]))

    async def set_confirmation_link(
        self, id: AccountId, email: str, link: ConfirmationLink, *, audit: Audit = None
    ) -> None:
        async def set_link(tx: Transaction) -> None:
            if await tx.run(SET_LINK, {"id": id, "email": email, **_link_values(link)}) == 0:
                raise Conflict("The e-mail address is confirmed already, or was changed meanwhile")

        await self._database.write(set_link, audit=audit)

    async def use_confirmation_link(self, id: AccountId, digest: str, *, at: datetime, audit: Audit = None) -> Account:
        async def use(tx: Transaction) -> Account:
            row = await tx.row(USE_LINK, {"id": id, "digest": digest, "at": to_ms(at)})
            if row is None:
                raise LinkNotValid
            return account_of(row)

        return await self._database.write(use, audit=audit)

    async def confirm_email(self, id: AccountId, email: str, *, at: datetime, audit: AuditEntry | None = None) -> None:
        async def confirm(tx: Transaction) -> bool:
            if await tx.run(CONFIRM, {"id": id, "email": email, "at": to_ms(at)}):
                return True
            if account_of(await existing_row(tx, GET, {"id": id}, "account")).email != email:
                raise NotFound("account")
            return False

        await self._database.write(confirm, audit=lambda is_new: audit if is_new else None)

    async def rehash(self, id: AccountId, *, old: str, new: str) -> bool:
        values = {"id": id, "old": old, "new": new}
        return await self._database.write(lambda tx: tx.run(REHASH, values)) == 1

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]:
        values = {"role": role, "after": page.after_id("account")}
        rows, total = await self._database.read(lambda tx: page_and_total(tx, page, PAGE, COUNT, values))
        return [account_of(row) for row in rows], total

    async def any(self) -> bool:
        row = await self._database.read(lambda tx: one_row(tx, ANY))
        return bool(row[0])


async def create_account(
    tx: Transaction, account: Account, *, password_hash: str, link: ConfirmationLink | None = None
) -> None:
    """Raises: EmailTaken."""
    with _rules():
        await tx.run(CREATE, _values(account) | _link_values(link) | {"password_hash": password_hash})


@contextmanager
def _rules() -> Iterator[None]:
    """Turn a rejection by the schema into the error for the caller."""
    try:
        yield
    except Refused as error:
        if "last admin" in str(error):
            message = "The last admin cannot be deleted, disabled or demoted: make another account admin first"
            raise Conflict(message) from error
        if "accounts" in str(error) and "email" in str(error):
            raise EmailTaken from error
        raise


async def _is_active_admin(tx: Transaction, id: AccountId) -> bool:
    row: tuple[Any, ...] | None = await tx.row(ROLE_STATE_EMAIL, {"id": id})
    return row is not None and row[:2] == ("admin", None)


def account_of(row: tuple[Any, ...]) -> Account:
    return Account(
        id=AccountId(row[0]),
        name=row[1],
        email=row[2],
        role=row[3],
        created_at=from_ms(row[4]),
        updated_at=from_ms(row[5]),
        is_disabled=row[6] is not None,
        is_email_confirmed=row[7] is not None,
    )


def _values(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "name": account.name,
        "email": account.email,
        "role": account.role,
        "created_at": to_ms(account.created_at),
        "updated_at": to_ms(account.updated_at),
        "email_confirmed_at": to_ms(account.created_at) if account.is_email_confirmed else None,
    }


def _link_values(link: ConfirmationLink | None) -> dict[str, Any]:
    return {
        "confirmation_digest": None if link is None else link.digest,
        "confirmation_expires_at": None if link is None else to_ms(link.expires_at),
    }
