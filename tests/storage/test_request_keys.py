"""Deletion of idempotency keys: of old ones, and of those of deleted workspaces and accounts."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest

from flowrunner.domain.request_keys import KeptAnswer, RequestKey
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.domain.workspace import Workspace
from flowrunner.services import request_keys, short_commits
from flowrunner.services.request_keys import RequestKeys
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.database import Database
from flowrunner.storage.request_keys import OF_DELETED_ACCOUNTS, OF_DELETED_WORKSPACES, SqlRequestKeys
from flowrunner.storage.rows import to_ms
from flowrunner.storage.workspaces import SqlWorkspaces
from support.database_work import WritesCounted, gather_statistics
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, OMAR_ACCOUNT, Place, change, rows_of
from support.dependencies import SteppingClock

TEAM: Final = WorkspaceId("team")
MANY: Final = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO request_keys (account_id, key, workspace_id, request_id, digest, created_at)
SELECT 'account-mara', 'many-' || i, 'account-mara', 'r', 'd', {noon} FROM n
"""
MANY_DELIVERIES: Final = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, noted_at, state, last_at)
SELECT 'many-' || i, 'account-mara', 'callback-1', 'callback.test', 0, 'failed', 0 FROM n
"""
MANY_TOKENS: Final = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at)
SELECT 'many-' || i, 'account-mara', 'T', 'many-' || i, '["read"]', 0 FROM n
"""


@pytest.fixture
async def workspaces(accounts: SqlAccounts, database: Database, path: Place) -> SqlWorkspaces:
    found = SqlWorkspaces(database)
    made = Workspace(id=TEAM, name="Team", slug="team", role="admin", created_at=NOON)
    await found.create(made, admin=OMAR_ACCOUNT, most=9)
    return found


async def keep(database: Database, account: AccountId, workspace: WorkspaceId, *keys: str) -> None:
    for key in keys:
        answer = KeptAnswer(201, {}, "{}")
        await SqlRequestKeys(database).keep(account, workspace, RequestKey(key, key, "d"), answer, at=NOON)


def keys_of(database: Database, **after: float) -> RequestKeys:
    return RequestKeys(SqlRequestKeys(database), SteppingClock(NOON + timedelta(**after)))


def left(path: Place) -> list[str]:
    return [key for (key,) in rows_of(path, "SELECT key FROM request_keys ORDER BY key")]


async def test_keys_of_deleted_workspaces_and_accounts_are_forgotten(
    workspaces: SqlWorkspaces,
    accounts: SqlAccounts,
    database: Database,
    path: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_keys, "_FOUND_AT_ONCE", 3)
    monkeypatch.setattr(short_commits, "_LEAST_DELETED", 1)
    await keep(database, MARA_ACCOUNT, MARA, "kept")
    await keep(database, MARA_ACCOUNT, TEAM, *(f"team-{n}" for n in range(5)))
    await keep(database, OMAR_ACCOUNT, OMAR, "omar-1", "omar-2")

    await keys_of(database).purge()
    assert len(left(path)) == 8
    await workspaces.delete(TEAM, at=NOON, only_if_empty=False)
    await keys_of(database).purge()
    assert left(path) == ["kept", "omar-1", "omar-2"]
    await accounts.delete(OMAR_ACCOUNT, at=NOON)
    await keys_of(database).purge()
    assert left(path) == ["kept"]
    await keys_of(database, hours=24, seconds=1).purge()
    assert left(path) == []


async def test_a_key_that_another_request_has_claimed_meanwhile_is_not_forgotten(
    accounts: SqlAccounts, database: Database, path: Place
) -> None:
    keys = SqlRequestKeys(database)
    await keep(database, MARA_ACCOUNT, MARA, "k")
    found = await keys.old(claimed_before=NOON + timedelta(seconds=1), limit=9)
    change(path, "UPDATE request_keys SET request_id = 'another'")

    await keys.forget(found)

    assert left(path) == ["k"]


@pytest.mark.only("sqlite")
async def test_keys_without_an_owner_are_looked_for_by_those_who_are_gone(
    workspaces: SqlWorkspaces, database: Database, path: Path
) -> None:
    change(path, MANY.replace("{noon}", str(to_ms(NOON))))
    counted: Any = WritesCounted(database)

    # As writes, whose work is counted.
    for statement in (OF_DELETED_WORKSPACES, OF_DELETED_ACCOUNTS):
        await counted.write(lambda tx, statement=statement: tx.rows(statement, {"limit": 9}))

    # Instructions of SQLite: there are 10,000 keys, and nobody is gone.
    assert sum(counted.work) < 1_000, counted.work


async def test_the_deletion_of_a_workspace_looks_at_nothing_of_others(
    workspaces: SqlWorkspaces, database: Database, path: Place
) -> None:
    bytes_type = "bytea" if isinstance(path, str) else "blob"
    change(
        path,
        "INSERT INTO callbacks (id, workspace_id, name, events, format, address, key_version, sealed, created_at,"
        " updated_at) VALUES ('callback-1', 'account-mara', 'N', '[]', 'slack', 'https://example.com', 1,"
        f" CAST('s' AS {bytes_type}), 0, 0)",
    )
    for statement in (MANY.replace("{noon}", str(to_ms(NOON))), MANY_DELIVERIES, MANY_TOKENS):
        change(path, statement)
    gather_statistics(path)
    counted = WritesCounted(database)

    await SqlWorkspaces(cast("Any", counted)).delete(TEAM, at=NOON, only_if_empty=False)

    assert rows_of(path, "SELECT count(*) FROM request_keys") == [(10_000,)]
    # The rows of others take SQLite at least three instructions each.
    assert 0 < sum(counted.work) <= (5_000 if isinstance(path, Path) else 100), counted.work
