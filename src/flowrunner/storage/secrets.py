"""Secrets at rest: sealed values and wrapped keys, never in plain text."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Final

from flowrunner.domain.errors import NotFound, SecretExists
from flowrunner.domain.limits import check_count
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.audit import Audit
from flowrunner.ports.flows import FlowName
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import Reseal, Seal, SealedSecret, SecretView, WrappedKey
from flowrunner.storage.database import Database
from flowrunner.storage.deleted_workspaces import check_not_deleted
from flowrunner.storage.paging import page_and_total
from flowrunner.storage.rows import from_ms, from_ms_or_none, to_ms
from flowrunner.storage.tables import SEALED_SECRETS, TABLES
from flowrunner.storage.transaction import Sql, Statement, Transaction, existing_row, listed, one_row

WORKSPACE_EXISTS: Final = "SELECT 1 FROM workspaces WHERE id = :workspace_id AND deleted_at IS NULL"
SAVE: Final = """
INSERT INTO secrets (workspace_id, key, key_version, sealed, created_at, updated_at)
VALUES (:workspace_id, :key, :key_version, :sealed, :at, :at)
    ON CONFLICT (workspace_id, key) DO UPDATE
   SET key_version = :key_version, sealed = :sealed, updated_at = :at
RETURNING created_at
"""
EXISTS: Final = "SELECT 1 FROM secrets WHERE workspace_id = :workspace_id AND key = :key"
COUNT: Final = "SELECT count(*) FROM secrets WHERE workspace_id = :workspace_id"
DELETE: Final = "DELETE FROM secrets WHERE workspace_id = :workspace_id AND key = :key"
LIST: Final = """
SELECT key, created_at, updated_at, last_used_at FROM secrets WHERE workspace_id = :workspace_id ORDER BY key
"""
PAGE: Final = """
SELECT key, created_at, updated_at, last_used_at FROM secrets
 WHERE workspace_id = :workspace_id AND key > :after ORDER BY key LIMIT :limit OFFSET :offset
"""
# Uses an index of the flows that name secrets, and reads no definition.
USERS: Final = """
SELECT secret_names, id, name FROM flows
 WHERE workspace_id = :workspace_id AND deleted_at IS NULL AND secret_names <> '' ORDER BY id
"""
NOTE_USE: Final = Statement.on_rows(
    """
UPDATE secrets SET last_used_at = CASE WHEN last_used_at > new.at THEN last_used_at ELSE new.at END
  FROM {new}
 WHERE secrets.workspace_id = new.workspace_id AND secrets.key = new.key
""",
    bigint="at",
)
NEWEST_DATA_KEY: Final = """
SELECT version, master_key_id, wrapped FROM data_keys WHERE workspace_id = :workspace_id ORDER BY version DESC LIMIT 1
"""
# A key that is made during a rotation, or after it, need not be replaced.
ADD_DATA_KEY: Final = """
INSERT INTO data_keys (workspace_id, version, master_key_id, wrapped, rotation)
VALUES (:workspace_id, :version, :master_key_id, :wrapped,
        coalesce((SELECT max(id) FROM key_rotations WHERE kind = 'data'), 0))
"""
OPEN_SINCE: Final = Statement.with_indexes("""
SELECT min(started_at) FROM executions INDEXED BY executions_status
 WHERE workspace_id = :workspace_id AND status IN ('running', 'waiting')
""")
MASTER_KEY_IDS: Final = "SELECT DISTINCT master_key_id FROM data_keys"
DATA_KEYS: Final = """
SELECT workspace_id, version, master_key_id, wrapped FROM data_keys
 WHERE (workspace_id, version) > (:workspace_id, :version) ORDER BY workspace_id, version LIMIT :limit
"""
REWRAP: Final = """
UPDATE data_keys SET master_key_id = :master_key_id, wrapped = :wrapped
 WHERE workspace_id = :workspace_id AND version = :version
"""
# Older keys of a workspace that still seal a secret stay, and do not count here.
OUTDATED: Final = """
SELECT workspace_id, max(version) FROM data_keys
 WHERE workspace_id = (SELECT d.workspace_id FROM data_keys d
                      WHERE d.rotation < :rotation
                        AND NOT EXISTS (SELECT 1 FROM data_keys n
                                         WHERE n.workspace_id = d.workspace_id AND n.rotation >= :rotation)
                      LIMIT 1)
 GROUP BY workspace_id
"""
OLDER_DATA_KEYS: Final = "SELECT version FROM data_keys WHERE workspace_id = :workspace_id AND version < :version"
DELETE_DATA_KEY: Final = "DELETE FROM data_keys WHERE workspace_id = :workspace_id AND version = :version"

# A workspace may have many secrets, so only the wanted ones are read.
NAMED: Final = Statement.with_texts(
    """
SELECT s.key, s.key_version, s.sealed, d.version, d.master_key_id, d.wrapped
  FROM secrets s LEFT JOIN data_keys d ON d.workspace_id = s.workspace_id AND d.version = s.key_version
 WHERE s.workspace_id = :workspace_id AND s.key IN (:names)
""",
    "names",
)
SEALED: Final = tuple(table.sealed for table in TABLES if table.sealed is not None)


class SqlSecrets:
    """Implements `ports.SecretStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self,
        workspace_id: WorkspaceId,
        seal: Seal,
        *,
        at: datetime,
        most: int | None = None,
        must_be_new: bool = False,
        audit: Audit = None,
    ) -> tuple[SecretView, bool]:
        async def save(tx: Transaction) -> tuple[SecretView, bool]:
            values: dict[str, Any] = {"workspace_id": workspace_id, "at": to_ms(at)}
            await existing_row(tx, WORKSPACE_EXISTS, values, "workspace")
            secret = await sealed_now(tx, workspace_id, seal)
            values |= {"key": secret.key, "key_version": secret.key_version, "sealed": secret.sealed}
            is_new = await tx.row(EXISTS, values) is None
            if must_be_new and not is_new:
                raise SecretExists
            if is_new and most is not None:
                check_count("secrets", (await one_row(tx, COUNT, values))[0], most, limit="secrets")
            (created_at,) = await one_row(tx, SAVE, values)
            return SecretView(key=secret.key, created_at=from_ms(created_at), updated_at=at), is_new

        return await self._database.write(save, audit=audit)

    async def delete(self, workspace_id: WorkspaceId, key: str, *, audit: Audit = None) -> None:
        async def delete(tx: Transaction) -> None:
            if await tx.run(DELETE, {"workspace_id": workspace_id, "key": key}) == 0:
                raise NotFound("secret")

        await self._database.write(delete, audit=audit)

    async def list(self, workspace_id: WorkspaceId) -> Sequence[SecretView]:
        rows = await self._database.read(lambda tx: tx.rows(LIST, {"workspace_id": workspace_id}))
        return [_view(row) for row in rows]

    async def page(self, workspace_id: WorkspaceId, *, page: Page) -> tuple[Sequence[SecretView], int]:
        values = {"workspace_id": workspace_id, "after": page.after}

        async def read(tx: Transaction) -> tuple[Sequence[SecretView], int]:
            rows, total = await page_and_total(tx, page, PAGE, COUNT, values)
            users = await users_of(tx, USERS, workspace_id, [row[0] for row in rows])
            return [_view(row, users[row[0]]) for row in rows], total

        return await self._database.read_long(read)

    async def note_uses(self, uses: Mapping[tuple[WorkspaceId, str], datetime]) -> None:
        values = [{"workspace_id": id, "key": key, "at": to_ms(at)} for (id, key), at in uses.items()]
        await self._database.write(lambda tx: tx.run_many(NOTE_USE, values))

    async def sealed(
        self, workspace_id: WorkspaceId, names: Collection[str] | None = None
    ) -> Sequence[tuple[SealedSecret, WrappedKey | None]]:
        if names is None:
            return await self._database.read(lambda tx: _sealed(tx, SEALED_SECRETS, {"workspace_id": workspace_id}))
        values = {"workspace_id": workspace_id, "names": listed(names)}

        async def read(tx: Transaction) -> list[tuple[SealedSecret, WrappedKey | None]]:
            found = await _sealed(tx, NAMED, values)
            if len(found) < len(names):
                await check_not_deleted(tx, workspace_id)
            return found

        return await self._database.read(read)

    async def open_since(self, workspace_id: WorkspaceId) -> datetime | None:
        (at,) = await self._database.read_long(lambda tx: one_row(tx, OPEN_SINCE, {"workspace_id": workspace_id}))
        return from_ms_or_none(at)

    async def master_key_ids(self) -> Set[str]:
        rows = await self._database.read_long(lambda tx: tx.rows(MASTER_KEY_IDS))
        return {id for (id,) in rows}

    async def rewrap(
        self,
        after: tuple[WorkspaceId, int] | None,
        rewrap: Callable[[WorkspaceId, WrappedKey], WrappedKey],
        *,
        limit: int,
    ) -> tuple[WorkspaceId, int] | None:
        workspace_id, version = after or ("", 0)

        async def some(tx: Transaction) -> tuple[WorkspaceId, int] | None:
            last = None
            values = {"workspace_id": workspace_id, "version": version, "limit": limit}
            for id, *columns in await tx.rows(DATA_KEYS, values):
                before = wrapped_key(columns)
                key = rewrap(WorkspaceId(id), before)
                if key != before:
                    await tx.run(REWRAP, _key_values(WorkspaceId(id), key))
                last = WorkspaceId(id), key.version
            return last

        return await self._database.write(some)

    async def reseal_next(self, rotation: int, reseal: Callable[[WorkspaceId, int], Reseal]) -> WorkspaceId | None:
        async def one(tx: Transaction) -> WorkspaceId | None:
            row = await tx.row(OUTDATED, {"rotation": rotation})
            if row is None:
                return None
            workspace_id, version = WorkspaceId(row[0]), row[1] + 1
            found = [
                (of_table.replace, *value)
                for of_table in SEALED
                for value in await _sealed(tx, of_table.read, {"workspace_id": workspace_id})
            ]
            data_key, resealed = reseal(workspace_id, version)([(secret, key) for _, secret, key in found])
            await tx.run(ADD_DATA_KEY, _key_values(workspace_id, data_key))
            # A value that cannot be opened now keeps its key: restoring a backup may make it readable.
            needed = set()
            for (replace, before, _), after in zip(found, resealed, strict=True):
                if after is None:
                    needed.add(before.key_version)
                    continue
                values = {"key": after.key, "key_version": after.key_version, "sealed": after.sealed}
                await tx.run(replace, {"workspace_id": workspace_id, **values})
            for (older,) in await tx.rows(OLDER_DATA_KEYS, {"workspace_id": workspace_id, "version": version}):
                if older not in needed:
                    await tx.run(DELETE_DATA_KEY, {"workspace_id": workspace_id, "version": older})
            return workspace_id

        return await self._database.write(one)


async def sealed_now(tx: Transaction, workspace_id: WorkspaceId, seal: Seal) -> SealedSecret:
    """Seal a value under the newest data key of a workspace, within the transaction that stores it."""
    row = await tx.row(NEWEST_DATA_KEY, {"workspace_id": workspace_id})
    before = None if row is None else wrapped_key(row)
    secret, data_key = seal(before)
    if data_key != before:
        await tx.run(ADD_DATA_KEY, _key_values(workspace_id, data_key))
    return secret


async def users_of(
    tx: Transaction, statement: str, workspace_id: WorkspaceId, names: Sequence[str]
) -> Mapping[str, Sequence[FlowName]]:
    """Return the flows that use each name.

    Args:
        statement: Returns the names that a flow uses, separated by blanks, and the id and the name of the flow.
    """
    users: dict[str, list[FlowName]] = {name: [] for name in names}
    for used, id, flow in await tx.rows(statement, {"workspace_id": workspace_id}):
        for name in users.keys() & used.split():
            users[name].append(FlowName(FlowId(id), flow))
    return users


def _view(row: Sequence[Any], used_by: Sequence[FlowName] = ()) -> SecretView:
    key, created_at, updated_at, last_used_at = row
    return SecretView(
        key=key,
        created_at=from_ms(created_at),
        updated_at=from_ms(updated_at),
        last_used_at=from_ms_or_none(last_used_at),
        used_by=used_by,
    )


async def _sealed(
    tx: Transaction, read: Sql, values: Mapping[str, Any]
) -> list[tuple[SealedSecret, WrappedKey | None]]:
    return [
        (
            SealedSecret(key=key, key_version=key_version, sealed=sealed),
            None if data_key[0] is None else wrapped_key(data_key),
        )
        for key, key_version, sealed, *data_key in await tx.rows(read, values)
    ]


def wrapped_key(row: Sequence[Any]) -> WrappedKey:
    version, master_key_id, wrapped = row
    return WrappedKey(version=version, master_key_id=master_key_id, wrapped=wrapped)


def _key_values(workspace_id: WorkspaceId, key: WrappedKey) -> dict[str, Any]:
    return {
        "workspace_id": workspace_id,
        "version": key.version,
        "master_key_id": key.master_key_id,
        "wrapped": key.wrapped,
    }
