"""Secrets at rest: sealed values and wrapped keys, never a plain one."""

import sqlite3
from collections.abc import Callable, Sequence, Set
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.errors import NotFound
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import AccountId
from flowrunner.ports import Audit, Reseal, Seal, SealedSecret, SecretView, WrappedKey
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.rows import from_ms, to_ms

ACCOUNT_IS_THERE: Final = "SELECT 1 FROM accounts WHERE id = :account_id AND deleted_at IS NULL"
SAVE: Final = """
INSERT INTO secrets (account_id, key, key_version, sealed, created_at, updated_at)
VALUES (:account_id, :key, :key_version, :sealed, :at, :at)
    ON CONFLICT (account_id, key) DO UPDATE
   SET key_version = :key_version, sealed = :sealed, updated_at = :at
RETURNING created_at
"""
EXISTS: Final = "SELECT 1 FROM secrets WHERE account_id = :account_id AND key = :key"
COUNT: Final = "SELECT count(*) FROM secrets WHERE account_id = :account_id"
DELETE: Final = "DELETE FROM secrets WHERE account_id = :account_id AND key = :key"
LIST: Final = "SELECT key, created_at, updated_at FROM secrets WHERE account_id = :account_id ORDER BY key"
# One statement, because a rotation may replace the keys between two.
SEALED: Final = """
SELECT s.key, s.key_version, s.sealed, d.version, d.master_key_id, d.wrapped
  FROM secrets s LEFT JOIN data_keys d ON d.account_id = s.account_id AND d.version = s.key_version
 WHERE s.account_id = :account_id ORDER BY s.key
"""
NEWEST_DATA_KEY: Final = """
SELECT version, master_key_id, wrapped FROM data_keys WHERE account_id = :account_id ORDER BY version DESC LIMIT 1
"""
# A key made while a rotation is under way, or after it, need not be replaced by it.
ADD_DATA_KEY: Final = """
INSERT INTO data_keys (account_id, version, master_key_id, wrapped, rotation)
VALUES (:account_id, :version, :master_key_id, :wrapped,
        coalesce((SELECT max(id) FROM key_rotations WHERE kind = 'data'), 0))
"""
MASTER_KEY_IDS: Final = "SELECT DISTINCT master_key_id FROM data_keys"
DATA_KEYS: Final = """
SELECT account_id, version, master_key_id, wrapped FROM data_keys
 WHERE (account_id, version) > (:account_id, :version) ORDER BY account_id, version LIMIT :limit
"""
REWRAP: Final = """
UPDATE data_keys SET master_key_id = :master_key_id, wrapped = :wrapped
 WHERE account_id = :account_id AND version = :version
"""
# Earlier keys of an account may stay, if they still seal something; they do not count.
OUTDATED: Final = """
SELECT account_id, max(version) FROM data_keys
 WHERE account_id = (SELECT d.account_id FROM data_keys d
                      WHERE d.rotation < :rotation
                        AND NOT EXISTS (SELECT 1 FROM data_keys n
                                         WHERE n.account_id = d.account_id AND n.rotation >= :rotation)
                      LIMIT 1)
 GROUP BY account_id
"""
RESEAL: Final = """
UPDATE secrets SET key_version = :key_version, sealed = :sealed WHERE account_id = :account_id AND key = :key
"""
# What cannot be opened now may be, once a backup is back.
FORGET_DATA_KEYS: Final = """
DELETE FROM data_keys
 WHERE account_id = :account_id AND version < :version
   AND NOT EXISTS (SELECT 1 FROM secrets s
                    WHERE s.account_id = data_keys.account_id AND s.key_version = data_keys.version)
"""


class SqliteSecrets:
    """Fills `ports.SecretStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self, account_id: AccountId, seal: Seal, *, at: datetime, most: int | None = None, audit: Audit = None
    ) -> tuple[SecretView, bool]:
        def save(connection: sqlite3.Connection) -> tuple[SecretView, bool]:
            values: dict[str, Any] = {"account_id": account_id, "at": to_ms(at)}
            if connection.execute(ACCOUNT_IS_THERE, values).fetchone() is None:
                raise NotFound("account")
            row = connection.execute(NEWEST_DATA_KEY, values).fetchone()
            before = None if row is None else _wrapped_key(row)
            secret, data_key = seal(before)
            if data_key != before:
                connection.execute(ADD_DATA_KEY, _key_values(account_id, data_key))
            values |= {"key": secret.key, "key_version": secret.key_version, "sealed": secret.sealed}
            is_new = connection.execute(EXISTS, values).fetchone() is None
            if is_new and most is not None:
                check_count("secrets", connection.execute(COUNT, values).fetchone()[0], most, limit="secrets")
            (created_at,) = connection.execute(SAVE, values).fetchone()
            return SecretView(key=secret.key, created_at=from_ms(created_at), updated_at=at), is_new

        return await self._database.write(save, audit=audit)

    async def delete(self, account_id: AccountId, key: str, *, audit: Audit = None) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            if connection.execute(DELETE, {"account_id": account_id, "key": key}).rowcount == 0:
                raise NotFound("secret")

        await self._database.write(delete, audit=audit)

    async def list(self, account_id: AccountId) -> Sequence[SecretView]:
        rows = await self._database.read(
            lambda connection: connection.execute(LIST, {"account_id": account_id}).fetchall()
        )
        return [SecretView(key=k, created_at=from_ms(c), updated_at=from_ms(u)) for k, c, u in rows]

    async def sealed(self, account_id: AccountId) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
        return await self._database.read(lambda connection: _sealed(connection, account_id))

    async def master_key_ids(self) -> Set[str]:
        rows = await self._database.read_long(lambda connection: connection.execute(MASTER_KEY_IDS).fetchall())
        return {id for (id,) in rows}

    async def rewrap(
        self, after: tuple[AccountId, int] | None, rewrap: Callable[[AccountId, WrappedKey], WrappedKey], *, limit: int
    ) -> tuple[AccountId, int] | None:
        account_id, version = after or ("", 0)

        def some(connection: sqlite3.Connection) -> tuple[AccountId, int] | None:
            last = None
            values = {"account_id": account_id, "version": version, "limit": limit}
            for id, *columns in connection.execute(DATA_KEYS, values).fetchall():
                before = _wrapped_key(columns)
                key = rewrap(AccountId(id), before)
                if key != before:
                    connection.execute(REWRAP, _key_values(AccountId(id), key))
                last = AccountId(id), key.version
            return last

        return await self._database.write(some)

    async def reseal_next(self, rotation: int, reseal: Callable[[AccountId, int], Reseal]) -> AccountId | None:
        def one(connection: sqlite3.Connection) -> AccountId | None:
            row = connection.execute(OUTDATED, {"rotation": rotation}).fetchone()
            if row is None:
                return None
            account_id, version = AccountId(row[0]), row[1] + 1
            data_key, secrets = reseal(account_id, version)(_sealed(connection, account_id))
            connection.execute(ADD_DATA_KEY, _key_values(account_id, data_key))
            for secret in secrets:
                values = {"key": secret.key, "key_version": secret.key_version, "sealed": secret.sealed}
                connection.execute(RESEAL, {"account_id": account_id, **values})
            connection.execute(FORGET_DATA_KEYS, {"account_id": account_id, "version": version})
            return account_id

        return await self._database.write(one)


def _sealed(connection: sqlite3.Connection, account_id: AccountId) -> list[tuple[SealedSecret, WrappedKey | None]]:
    return [
        (
            SealedSecret(key=key, key_version=key_version, sealed=sealed),
            None if data_key[0] is None else _wrapped_key(data_key),
        )
        for key, key_version, sealed, *data_key in connection.execute(SEALED, {"account_id": account_id})
    ]


def _wrapped_key(row: Sequence[Any]) -> WrappedKey:
    version, master_key_id, wrapped = row
    return WrappedKey(version=version, master_key_id=master_key_id, wrapped=wrapped)


def _key_values(account_id: AccountId, key: WrappedKey) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "version": key.version,
        "master_key_id": key.master_key_id,
        "wrapped": key.wrapped,
    }
