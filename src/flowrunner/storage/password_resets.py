"""Links that set a new password, found by the digests of their tokens."""

from datetime import datetime
from typing import Final

from flowrunner.domain.errors import LinkNotValid, NotFound
from flowrunner.domain.values import AccountId
from flowrunner.ports.accounts import NO_PASSWORD
from flowrunner.ports.audit import Audit
from flowrunner.ports.password_resets import LosingAccount, PasswordReset
from flowrunner.storage.accounts import END_CHALLENGES, END_RESETS, END_SESSIONS, END_TOKENS, account_of
from flowrunner.storage.database import Database
from flowrunner.storage.portions import delete_some
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Statement, Transaction, one_row

ACCOUNT: Final = """
SELECT id, name, email, role, created_at, updated_at, disabled_at, email_confirmed_at,
       password_hash <> :none FROM accounts
 WHERE (id = :id OR email = :email) AND disabled_at IS NULL AND deleted_at IS NULL
"""
SAVE_RESET: Final = """
INSERT INTO password_resets (digest, account_id, created_at, expires_at)
SELECT :digest, id, :at, :expires_at FROM accounts
 WHERE id = :account_id AND disabled_at IS NULL AND deleted_at IS NULL
"""
# The new link stays, although others of the same millisecond may sort before it.
DROP_OLDEST: Final = """
DELETE FROM password_resets
 WHERE account_id = :account_id
   AND digest NOT IN (SELECT digest FROM password_resets WHERE account_id = :account_id
                       ORDER BY digest = :digest DESC, created_at DESC, digest LIMIT :most)
"""
FIND_RESET: Final = """
SELECT a.id, a.name, a.email, a.role, a.created_at, a.updated_at, a.disabled_at, a.email_confirmed_at
  FROM password_resets r JOIN accounts a
    ON a.id = r.account_id AND a.disabled_at IS NULL AND a.deleted_at IS NULL
 WHERE r.digest = :digest AND r.expires_at > :now
"""
USE_RESET: Final = "DELETE FROM password_resets WHERE digest = :digest"
REPLACE_HASH: Final = """
UPDATE accounts SET password_hash = :password_hash, updated_at = :at WHERE id = :id AND deleted_at IS NULL
"""
COUNT_FACTORS: Final = "SELECT count(*) FROM second_factors WHERE account_id = :id AND confirmed_at IS NOT NULL"
PROVIDERS: Final = "SELECT DISTINCT provider FROM identities WHERE account_id = :id ORDER BY provider"
EXPIRED: Final = "SELECT digest FROM password_resets WHERE expires_at <= :now LIMIT :limit"
PURGE: Final = Statement.with_texts("DELETE FROM password_resets WHERE digest IN (:ids)", "ids")


class SqlPasswordResets:
    """Implements `ports.PasswordResetStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def account(self, *, id: AccountId | None = None, email: str | None = None) -> LosingAccount | None:
        values = {"id": id or "", "email": email or "-", "none": NO_PASSWORD}
        row = await self._database.read(lambda tx: tx.row(ACCOUNT, values))
        return None if row is None else LosingAccount(account_of(row), has_password=bool(row[8]))

    async def save(
        self,
        account_id: AccountId,
        digest: str,
        *,
        at: datetime,
        expires_at: datetime,
        most: int,
        audit: Audit = None,
    ) -> None:
        values = {
            "account_id": account_id,
            "digest": digest,
            "at": to_ms(at),
            "expires_at": to_ms(expires_at),
            "most": most,
        }

        async def save(tx: Transaction) -> None:
            if await tx.run(SAVE_RESET, values) == 0:
                raise NotFound("account")
            await tx.run(DROP_OLDEST, values)

        await self._database.write(save, audit=audit)

    async def find(self, digest: str, *, now: datetime) -> PasswordReset | None:
        async def find(tx: Transaction) -> PasswordReset | None:
            row = await tx.row(FIND_RESET, {"digest": digest, "now": to_ms(now)})
            if row is None:
                return None
            account = account_of(row)
            (factors,) = await one_row(tx, COUNT_FACTORS, {"id": account.id})
            providers = [provider for (provider,) in await tx.rows(PROVIDERS, {"id": account.id})]
            return PasswordReset(account, second_factors=factors, providers=providers)

        return await self._database.read(find)

    async def use(self, digest: str, *, password_hash: str, at: datetime, audit: Audit = None) -> None:
        async def use(tx: Transaction) -> None:
            row = await tx.row(FIND_RESET, {"digest": digest, "now": to_ms(at)})
            # Of two requests at the same time, one finds nothing to delete.
            if row is None or await tx.run(USE_RESET, {"digest": digest}) == 0:
                raise LinkNotValid
            values = {"id": row[0], "password_hash": password_hash, "at": to_ms(at)}
            await tx.run(REPLACE_HASH, values)
            for statement in (END_RESETS, END_SESSIONS, END_CHALLENGES, END_TOKENS):
                await tx.run(statement, values)

        await self._database.write(use, audit=audit)

    async def purge(self, *, now: datetime, limit: int) -> bool:
        return await delete_some(self._database, EXPIRED, PURGE, {"now": to_ms(now)}, limit=limit) == limit
