"""Second factors, recovery codes, and the second step of a login."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from flowrunner.domain.errors import Conflict, LimitReached, NotFound, TooManyRequests, Unauthorized
from flowrunner.domain.second_factor import FREE_WRONG_CODES, wait_after
from flowrunner.domain.values import AccountId, FactorId, SessionId, personal_workspace
from flowrunner.ports.audit import Audit
from flowrunner.ports.second_factors import ChallengePurpose, FactorUse, FactorView, StoredFactor
from flowrunner.ports.secrets import Seal, SealedSecret
from flowrunner.ports.sessions import NewSession
from flowrunner.storage.accounts import END_CHALLENGES
from flowrunner.storage.database import Database
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms, to_ms_or_none
from flowrunner.storage.secrets import sealed_now, wrapped_key
from flowrunner.storage.sessions import FAMILY, open_session
from flowrunner.storage.transaction import Refused, Row, Transaction, existing_row, one_row

IS_ACCOUNT: Final = "SELECT 1 FROM accounts WHERE id = :account_id AND deleted_at IS NULL"
COUNT: Final = "SELECT count(*) FROM second_factors WHERE account_id = :account_id"
COUNT_CONFIRMED: Final = f"{COUNT} AND confirmed_at IS NOT NULL"
ADD: Final = """
INSERT INTO second_factors (id, account_id, type, name, created_at, confirmed_at, counter, credential_id, key_version,
                            sealed)
VALUES (:id, :account_id, :type, :name, :created_at, :confirmed_at, :counter, :credential_id, :key_version, :sealed)
"""
FORGET_UNCONFIRMED: Final = "DELETE FROM second_factors WHERE account_id = :account_id AND confirmed_at IS NULL"
CONFIRM: Final = """
UPDATE second_factors SET confirmed_at = :at, last_used_at = :at, counter = :counter
 WHERE id = :id AND account_id = :account_id AND confirmed_at IS NULL
"""
RAISE_PROOF: Final = "UPDATE sessions SET proof = 'second_factor' WHERE family = :family AND proof IS NULL"
END_OTHER_LOGINS: Final = "DELETE FROM sessions WHERE account_id = :account_id AND family <> :family"
END_LOGINS: Final = "DELETE FROM sessions WHERE account_id = :account_id"
# One statement, because a rotation may replace the keys between two statements.
OF_ACCOUNT: Final = """
SELECT f.id, f.type, f.name, f.created_at, f.confirmed_at, f.last_used_at, f.counter, f.credential_id, f.key_version,
       f.sealed, d.version, d.master_key_id, d.wrapped
  FROM second_factors f LEFT JOIN data_keys d ON d.workspace_id = f.account_id AND d.version = f.key_version
 WHERE f.account_id = :account_id ORDER BY f.id
"""
REMOVE: Final = "DELETE FROM second_factors WHERE account_id = :account_id AND id = :id"
REMOVE_ALL: Final = "DELETE FROM second_factors WHERE account_id = :account_id"
COUNT_RECOVERY: Final = "SELECT count(*) FROM recovery_codes WHERE account_id = :account_id"
ADD_RECOVERY: Final = "INSERT INTO recovery_codes (account_id, digest, created_at) VALUES (:account_id, :digest, :at)"
TAKE_RECOVERY: Final = "DELETE FROM recovery_codes WHERE account_id = :account_id AND digest = :digest"
REMOVE_RECOVERY: Final = "DELETE FROM recovery_codes WHERE account_id = :account_id"
OPEN_CHALLENGE: Final = """
INSERT INTO login_challenges (digest, account_id, purpose, expires_at)
SELECT :digest, :account_id, :purpose, :expires_at
 WHERE EXISTS (SELECT 1 FROM accounts
                WHERE id = :account_id AND disabled_at IS NULL AND deleted_at IS NULL
                  AND password_hash = coalesce(:password_hash, password_hash))
"""
# An account has few rows: only a correct password opens a challenge, which replaces the expired ones.
FORGET_EXPIRED: Final = "DELETE FROM login_challenges WHERE account_id = :account_id AND expires_at < :now"
COUNT_ATTEMPT: Final = """
UPDATE login_challenges SET attempts = attempts + 1
 WHERE digest = :digest AND purpose = 'login' AND expires_at > :now AND attempts < :most
RETURNING account_id
"""
TAKE_CHALLENGE: Final = """
DELETE FROM login_challenges
 WHERE digest = :digest AND account_id = :account_id AND purpose = :purpose AND expires_at > :now
"""
# Returns no row while codes are not checked. Concurrent attempts wait for each other at the row.
COUNT_WRONG: Final = """
INSERT INTO wrong_codes (account_id, number, not_before) VALUES (:account_id, 1, 0)
    ON CONFLICT (account_id) DO UPDATE SET number = wrong_codes.number + 1 WHERE wrong_codes.not_before <= :now
RETURNING number
"""
SET_WAIT: Final = "UPDATE wrong_codes SET not_before = :not_before WHERE account_id = :account_id"
NOT_BEFORE: Final = "SELECT not_before FROM wrong_codes WHERE account_id = :account_id"
FORGET_WRONG: Final = "DELETE FROM wrong_codes WHERE account_id = :account_id"
# A code is valid once: its time step must be later than the last one. A count of signatures that stays behind is that
# of a copy of the passkey. Some passkeys do not count, and always report 0.
USE: Final = """
UPDATE second_factors SET counter = :counter, last_used_at = :at
 WHERE id = :id AND account_id = :account_id AND confirmed_at IS NOT NULL
   AND (counter < :counter OR (type = 'passkey' AND counter = 0 AND :counter = 0))
"""

_USED: Final = "The code was used before, or the passkey is a copy: wait for the next code, or use another factor"
_NOT_VALID: Final = "The login has expired, or was answered too often: log in again"


class SqlSecondFactors:
    """Implements `ports.SecondFactorStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, account_id: AccountId, factor: FactorView, seal: Seal, *, most: int, audit: Audit = None
    ) -> None:
        async def add(tx: Transaction) -> None:
            await tx.run(FORGET_UNCONFIRMED, {"account_id": account_id})
            await _add(tx, account_id, factor, seal, most=most)

        await self._database.write(add, audit=audit)

    async def confirm(
        self,
        account_id: AccountId,
        id: FactorId,
        *,
        counter: int,
        session: SessionId,
        recovery: Sequence[str],
        at: datetime,
        audit: Audit = None,
    ) -> bool:
        async def confirm(tx: Transaction) -> bool:
            values = {"id": id, "account_id": account_id, "counter": counter, "at": to_ms(at)}
            if await tx.run(CONFIRM, values) != 1:
                raise NotFound("second factor")
            return await _confirmed(tx, account_id, session=session, recovery=recovery, at=at)

        return await self._database.write(confirm, audit=audit)

    async def add_confirmed(
        self,
        account_id: AccountId,
        factor: FactorView,
        seal: Seal,
        *,
        challenge: str,
        session: SessionId,
        recovery: Sequence[str],
        most: int,
        audit: Audit = None,
    ) -> bool:
        at = factor.created_at

        async def add(tx: Transaction) -> bool:
            await _take_challenge(tx, challenge, account_id, purpose="passkey", at=at)
            await _add(tx, account_id, factor, seal, most=most)
            return await _confirmed(tx, account_id, session=session, recovery=recovery, at=at)

        return await self._database.write(add, audit=audit)

    async def of_account(self, account_id: AccountId) -> Sequence[StoredFactor]:
        rows = await self._database.read(lambda tx: tx.rows(OF_ACCOUNT, {"account_id": account_id}))
        return [_factor(row) for row in rows]

    async def count_recovery_codes(self, account_id: AccountId) -> int:
        (count,) = await self._database.read(lambda tx: one_row(tx, COUNT_RECOVERY, {"account_id": account_id}))
        return int(count)

    async def replace_recovery_codes(
        self, account_id: AccountId, digests: Sequence[str], *, at: datetime, audit: Audit = None
    ) -> None:
        async def replace(tx: Transaction) -> None:
            if (await one_row(tx, COUNT_CONFIRMED, {"account_id": account_id}))[0] == 0:
                raise Conflict("The account has no second factor, which recovery codes would stand for")
            await _set_recovery_codes(tx, account_id, digests, at=at)

        await self._database.write(replace, audit=audit)

    async def remove(self, account_id: AccountId, id: FactorId, *, audit: Audit = None) -> None:
        values = {"account_id": account_id, "id": id}

        async def remove(tx: Transaction) -> None:
            if await tx.run(REMOVE, values) != 1:
                raise NotFound("second factor")
            if (await one_row(tx, COUNT_CONFIRMED, values))[0] == 0:
                await tx.run(REMOVE_RECOVERY, values)
                await tx.run(FORGET_WRONG, values)

        await self._database.write(remove, audit=audit)

    async def reset(self, account_id: AccountId, *, audit: Audit = None) -> int:
        values = {"account_id": account_id, "id": account_id}

        async def reset(tx: Transaction) -> int:
            await existing_row(tx, IS_ACCOUNT, values, "account")
            for statement in (REMOVE_RECOVERY, FORGET_WRONG, END_CHALLENGES, END_LOGINS):
                await tx.run(statement, values)
            return await tx.run(REMOVE_ALL, values)

        return await self._database.write(reset, audit=audit)

    async def open_challenge(
        self,
        digest: str,
        account_id: AccountId,
        *,
        purpose: ChallengePurpose,
        expires_at: datetime,
        password_hash: str | None = None,
    ) -> None:
        values = {
            "digest": digest,
            "account_id": account_id,
            "purpose": purpose,
            "expires_at": to_ms(expires_at),
            "password_hash": password_hash,
        }

        async def open(tx: Transaction) -> None:
            if await tx.run(OPEN_CHALLENGE, values) != 1:
                raise Unauthorized("The account was changed in the meantime: log in again")

        await self._database.write(open)

    async def count_attempt(self, digest: str, *, is_code: bool, most: int, at: datetime) -> AccountId:
        values: dict[str, Any] = {"digest": digest, "most": most, "now": to_ms(at)}

        async def count(tx: Transaction) -> AccountId:
            row = await tx.row(COUNT_ATTEMPT, values)
            if row is None:
                raise Unauthorized(_NOT_VALID)
            account_id = AccountId(row[0])
            if is_code:
                await _count_wrong(tx, account_id, at)
            return account_id

        return await self._database.write(count)

    async def accept(
        self, digest: str, account_id: AccountId, use: FactorUse, session: NewSession, *, at: datetime, audit: Audit
    ) -> None:
        values = {"account_id": account_id, "digest": use.recovery_digest, "at": to_ms(at)}
        values |= {"id": use.id, "counter": use.counter}

        async def accept(tx: Transaction) -> None:
            if await tx.run(USE if use.recovery_digest is None else TAKE_RECOVERY, values) != 1:
                raise Unauthorized(_USED)
            await _take_challenge(tx, digest, account_id, purpose="login", at=at)
            await tx.run(FORGET_WRONG, values)
            if not await open_session(tx, session, at=at):
                raise Unauthorized("The account was changed in the meantime: log in again")

        await self._database.write(accept, audit=audit)


async def _add(tx: Transaction, account_id: AccountId, factor: FactorView, seal: Seal, *, most: int) -> None:
    if (await one_row(tx, COUNT, {"account_id": account_id}))[0] >= most:
        raise LimitReached(f"An account has at most {most} second factors", limit="second_factors", most=most)
    secret = await sealed_now(tx, personal_workspace(account_id), seal)
    values = {
        "id": factor.id,
        "account_id": account_id,
        "type": factor.type,
        "name": factor.name,
        "created_at": to_ms(factor.created_at),
        "confirmed_at": to_ms_or_none(factor.confirmed_at),
        "counter": factor.counter,
        "credential_id": factor.credential_id,
        "key_version": secret.key_version,
        "sealed": secret.sealed,
    }
    try:
        await tx.run(ADD, values)
    except Refused:
        raise Conflict("This passkey is registered already") from None


async def _confirmed(
    tx: Transaction, account_id: AccountId, *, session: SessionId, recovery: Sequence[str], at: datetime
) -> bool:
    """Do what follows the confirmation of a factor; return whether it is the account's first."""
    row = await tx.row(FAMILY, {"id": session})
    if row is None:
        raise Unauthorized("The session has ended: log in again")
    values = {"account_id": account_id, "family": row[0]}
    await tx.run(RAISE_PROOF, values)
    if (await one_row(tx, COUNT_CONFIRMED, values))[0] > 1:
        return False
    await _set_recovery_codes(tx, account_id, recovery, at=at)
    await tx.run(END_OTHER_LOGINS, values)
    return True


async def _set_recovery_codes(tx: Transaction, account_id: AccountId, digests: Sequence[str], *, at: datetime) -> None:
    await tx.run(REMOVE_RECOVERY, {"account_id": account_id})
    for digest in digests:
        await tx.run(ADD_RECOVERY, {"account_id": account_id, "digest": digest, "at": to_ms(at)})


async def _take_challenge(
    tx: Transaction, digest: str, account_id: AccountId, *, purpose: ChallengePurpose, at: datetime
) -> None:
    values = {"digest": digest, "account_id": account_id, "purpose": purpose, "now": to_ms(at)}
    if await tx.run(TAKE_CHALLENGE, values) != 1:
        raise Unauthorized(_NOT_VALID)
    await tx.run(FORGET_EXPIRED, values)


async def _count_wrong(tx: Transaction, account_id: AccountId, at: datetime) -> None:
    """Raises: TooManyRequests while no code of the account is checked."""
    values: dict[str, Any] = {"account_id": account_id, "now": to_ms(at)}
    row = await tx.row(COUNT_WRONG, values)
    if row is None:
        (not_before,) = await one_row(tx, NOT_BEFORE, values)
        raise TooManyRequests(
            "Too many wrong codes: wait, or log in with a recovery code or a passkey",
            retry_after=timedelta(milliseconds=not_before - to_ms(at)),
            limit="wrong_codes",
            most=FREE_WRONG_CODES,
        )
    await tx.run(SET_WAIT, values | {"not_before": to_ms(at + wait_after(row[0]))})


def _factor(row: Row) -> StoredFactor:
    id, type, name, created_at, confirmed_at, last_used_at, counter, credential_id, version, sealed, *data_key = row
    return StoredFactor(
        view=FactorView(
            id=FactorId(id),
            type=type,
            name=name,
            created_at=from_ms(created_at),
            confirmed_at=from_ms_or_none(confirmed_at),
            last_used_at=from_ms_or_none(last_used_at),
            counter=counter,
            credential_id=credential_id,
        ),
        sealed=SealedSecret(key=id, key_version=version, sealed=sealed),
        data_key=None if data_key[0] is None else wrapped_key(data_key),
    )
