"""Secrets at rest: sealed values and wrapped keys, never a plain one."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import AccountId
from flowrunner.ports import SealedSecret, SecretView, WrappedKey
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.rows import from_ms, to_ms

SAVE: Final = """
INSERT INTO secrets (account_id, key, key_version, sealed, created_at, updated_at)
SELECT :account_id, :key, :key_version, :sealed, :at, :at
 WHERE EXISTS (SELECT 1 FROM accounts WHERE id = :account_id AND deleted_at IS NULL)
    ON CONFLICT (account_id, key) DO UPDATE
   SET key_version = :key_version, sealed = :sealed, updated_at = :at
RETURNING created_at
"""
EXISTS: Final = "SELECT 1 FROM secrets WHERE account_id = :account_id AND key = :key"
DELETE: Final = "DELETE FROM secrets WHERE account_id = :account_id AND key = :key"
LIST: Final = "SELECT key, created_at, updated_at FROM secrets WHERE account_id = :account_id ORDER BY key"
SEALED: Final = "SELECT key, key_version, sealed FROM secrets WHERE account_id = :account_id ORDER BY key"
DATA_KEYS: Final = """
SELECT version, master_key_id, wrapped FROM data_keys WHERE account_id = :account_id ORDER BY version
"""
ADD_DATA_KEY: Final = """
INSERT INTO data_keys (account_id, version, master_key_id, wrapped)
SELECT :account_id, :version, :master_key_id, :wrapped
 WHERE EXISTS (SELECT 1 FROM accounts WHERE id = :account_id AND deleted_at IS NULL)
    ON CONFLICT DO NOTHING
"""
DATA_KEY: Final = """
SELECT version, master_key_id, wrapped FROM data_keys
 WHERE account_id = :account_id AND version = :version
"""
ANY_DATA_KEY: Final = "SELECT account_id, version, master_key_id, wrapped FROM data_keys LIMIT 1"


class SqliteSecrets:
    """Fills `ports.SecretStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, account_id: AccountId, secret: SealedSecret, *, at: datetime) -> tuple[SecretView, bool]:
        values = {
            "account_id": account_id,
            "key": secret.key,
            "key_version": secret.key_version,
            "sealed": secret.sealed,
            "at": to_ms(at),
        }

        def save(connection: sqlite3.Connection) -> tuple[int, bool]:
            is_new = connection.execute(EXISTS, values).fetchone() is None
            row = connection.execute(SAVE, values).fetchone()
            if row is None:
                raise NotFound("account")
            return row[0], is_new

        created_at, is_new = await self._database.write(save)
        return SecretView(key=secret.key, created_at=from_ms(created_at), updated_at=at), is_new

    async def delete(self, account_id: AccountId, key: str) -> None:
        def delete(connection: sqlite3.Connection) -> None:
            if connection.execute(DELETE, {"account_id": account_id, "key": key}).rowcount == 0:
                raise NotFound("secret")

        await self._database.write(delete)

    async def list(self, account_id: AccountId) -> Sequence[SecretView]:
        rows = await self._database.read(
            lambda connection: connection.execute(LIST, {"account_id": account_id}).fetchall()
        )
        return [SecretView(key=k, created_at=from_ms(c), updated_at=from_ms(u)) for k, c, u in rows]

    async def sealed(self, account_id: AccountId) -> Sequence[SealedSecret]:
        rows = await self._database.read(
            lambda connection: connection.execute(SEALED, {"account_id": account_id}).fetchall()
        )
        return [SealedSecret(key=k, key_version=v, sealed=s) for k, v, s in rows]

    async def data_keys(self, account_id: AccountId) -> Sequence[WrappedKey]:
        rows = await self._database.read(
            lambda connection: connection.execute(DATA_KEYS, {"account_id": account_id}).fetchall()
        )
        return [WrappedKey(version=v, master_key_id=m, wrapped=w) for v, m, w in rows]

    async def add_data_key(self, account_id: AccountId, key: WrappedKey) -> WrappedKey:
        values = {
            "account_id": account_id,
            "version": key.version,
            "master_key_id": key.master_key_id,
            "wrapped": key.wrapped,
        }

        def add(connection: sqlite3.Connection) -> tuple[int, str, bytes]:
            connection.execute(ADD_DATA_KEY, values)
            row: tuple[int, str, bytes] | None = connection.execute(DATA_KEY, values).fetchone()
            if row is None:
                raise NotFound("account")
            return row

        version, master_key_id, wrapped = await self._database.write(add)
        return WrappedKey(version=version, master_key_id=master_key_id, wrapped=wrapped)

    async def any_data_key(self) -> tuple[AccountId, WrappedKey] | None:
        """Some key of some account, to tell whether the master key is the right one."""
        row = await self._database.read(lambda connection: connection.execute(ANY_DATA_KEY).fetchone())
        if row is None:
            return None
        return AccountId(row[0]), WrappedKey(version=row[1], master_key_id=row[2], wrapped=row[3])
