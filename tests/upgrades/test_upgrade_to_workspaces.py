"""A database of the schema before shared workspaces, with rows in every table, is upgraded without a loss."""

import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command

from flowrunner.storage.migrations import HEAD, alembic_config
from flowrunner.storage.postgres.migrations import migrate_postgres
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from support.databases import Place, change, rows_of
from support.postgres import PostgresServer, connected
from upgrades.test_stored_installation import FIXTURE

BEFORE: Final = "0003"
GONE, OFF = "account-gone", "account-off"
# What the recorded installation does not have.
FURTHER_ROWS: Final = (
    f"""
INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at, disabled_at, deleted_at)
VALUES ('{GONE}', '', '', 'user', '', 1, 5, NULL, 5), ('{OFF}', 'Off', 'off@example.com', 'viewer', 'h', 1, 3, 3, NULL)
""",
    "INSERT INTO tickets (digest, session_id, expires_at) VALUES ('d', 's', 9)",
    f"""
INSERT INTO api_tokens (id, account_id, name, digest, scopes, created_at, expires_at, last_used_at)
VALUES ('token-1', '{OFF}', 'é', 'digest', '["read","write"]', 1, NULL, 2)
""",
    "INSERT INTO key_rotations (id, kind, requested_at, completed_at) VALUES (1, 'data', 1, 2)",
    f"""
INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, created_at, updated_at, deleted_at)
VALUES ('flow-gone', '{GONE}', 'n', '', '1', '[]', 'rev-gone', 1, 5, 5)
""",
    f"""
INSERT INTO revisions (id, workspace_id, flow_id, number, version, size, created_at, deleted_at, definition)
VALUES ('rev-gone', '{GONE}', 'flow-gone', 1, '1', 5, 1, NULL, 'nodes')
""",
    f"""
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, epoch, last_seq, size)
VALUES ('exec-gone', '{GONE}', 'flow-gone', 'rev-gone', 'cancelled', 2, 5, 1, 1, 2)
""",
    "INSERT INTO events (execution_id, seq, at, type, data) VALUES ('exec-gone', 1, 5, 'cancelled', '{}')",
    f"""
INSERT INTO execution_inbox (execution_id, workspace_id, sent_at, kind, content)
VALUES ('exec-gone', '{GONE}', 3, 'signal', '{{}}')
""",
    "INSERT INTO background_jobs (name, fencing_token, last_error) VALUES ('retention.audit', 3, 'é')",
)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return a database of the older schema."""
    config = alembic_config()
    if request.param == "sqlite":
        path = tmp_path / "flowrunner.db"
        shutil.copy(FIXTURE / "flowrunner.db", path)
        config.attributes["sqlite_path"] = path
        command.upgrade(config, BEFORE)
        for statement in FURTHER_ROWS:
            change(path, statement)
        return path
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"0002:{BEFORE}", sql=True)
    dump = (FIXTURE / "postgres.sql").read_text()
    # The dump ends with an empty search path.
    further = ["SET search_path = public", config.output_buffer.getvalue(), *FURTHER_ROWS]
    connected(url, lambda connection: connection.execute(";\n".join([dump, *further])))
    return url


def columns_of(place: Place) -> Mapping[str, Sequence[str]]:
    """Return the stored columns of every table, by name."""
    if isinstance(place, Path):
        tables = [name for (name,) in rows_of(place, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {table: [row[1] for row in rows_of(place, f"PRAGMA table_info({table})")] for table in tables}
    found: dict[str, list[str]] = {}
    query = """
SELECT c.table_name, c.column_name FROM information_schema.columns c JOIN information_schema.tables t
    ON t.table_name = c.table_name AND t.table_schema = c.table_schema AND t.table_type = 'BASE TABLE'
 WHERE c.table_schema = 'public' AND c.is_generated = 'NEVER' ORDER BY c.ordinal_position
"""
    for table, column in rows_of(place, query):
        found.setdefault(table, []).append(column)
    return found


def digests_of(place: Place, columns: dict[str, Sequence[str]]) -> dict[str, tuple[int, str]]:
    """Return the number and the digest of the rows of each table, in these columns."""
    digests = {}
    for table, names in columns.items():
        # Some columns are called like keywords of SQL.
        quoted = ", ".join(f'"{name}"' for name in names)
        rows: list[Any] = sorted(repr(tuple(row)) for row in rows_of(place, f"SELECT {quoted} FROM {table}"))
        digests[table] = len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return digests


_STORED = "SELECT workspace_id, sum(stored) FROM usage GROUP BY workspace_id"
_RESTS = """
SELECT workspace_id, sum((size + 4095) / 4096 * 4096 - size) FROM executions WHERE completed_at IS NULL
 GROUP BY workspace_id
"""


def migrate(place: Place) -> None:
    if isinstance(place, Path):
        migrate_sqlite(place)
    else:
        connected(place, lambda _: migrate_postgres(place))


def test_an_upgrade_keeps_every_row_and_deletes_the_workspaces_of_deleted_accounts_alone(place: Place) -> None:
    columns = {table: names for table, names in columns_of(place).items() if table not in ("alembic_version", "usage")}
    before = digests_of(place, columns)
    stored = {row[0]: row[1] for row in rows_of(place, _STORED)}
    assert [table for table, (count, _) in before.items() if not count and table != "sqlite_sequence"] == []

    migrate(place)

    assert rows_of(place, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert digests_of(place, columns) == before
    # An open execution counts in whole blocks since.
    rests = {row[0]: row[1] for row in rows_of(place, _RESTS)}
    assert rests
    assert {row[0]: row[1] for row in rows_of(place, _STORED)} == {id: n + rests.get(id, 0) for id, n in stored.items()}
    found = {row[0]: tuple(row[1:]) for row in rows_of(place, "SELECT id, name, slug, deleted_at FROM workspaces")}
    accounts = {row[0]: row[1] for row in rows_of(place, "SELECT id, deleted_at FROM accounts")}
    assert accounts[GONE] == 5
    assert found == {id: (None, None, deleted_at) for id, deleted_at in accounts.items()}
    owners = rows_of(place, "SELECT workspace_id, account_id, role, is_owner FROM memberships ORDER BY workspace_id")
    assert [tuple(row) for row in owners] == [(id, id, "admin", True) for id in sorted(accounts) if id != GONE]
    assert [tuple(row) for row in rows_of(place, "SELECT workspace_id FROM api_tokens")] == [(None,)]
    assert set(rows_of(place, "SELECT created_by FROM revisions")) == {(None,)}
