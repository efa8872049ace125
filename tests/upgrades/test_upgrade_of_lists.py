"""Executions and accounts of an earlier schema, after the upgrade: what is listed of them, and what is confirmed."""

import io
import json
from pathlib import Path
from typing import Final

import pytest
from alembic import command

from flowrunner.storage.migrations import alembic_config
from flowrunner.storage.postgres.migrations import migrate_postgres
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from support.databases import Place, change, rows_of
from support.postgres import PostgresServer, connected

BEFORE: Final = "0007"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Return an empty database of the older schema."""
    config = alembic_config()
    if request.param == "sqlite":
        path = tmp_path / "flowrunner.db"
        config.attributes["sqlite_path"] = path
        command.upgrade(config, BEFORE)
        return path
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    config.output_buffer = io.StringIO()
    command.upgrade(config, f"base:{BEFORE}", sql=True)
    script = config.output_buffer.getvalue()
    connected(url, lambda connection: connection.execute(script))
    return url


async def upgraded(place: Place) -> None:
    if isinstance(place, Path):
        migrate_sqlite(place)
    else:
        await migrate_postgres(place)


def add_execution(
    place: Place, id: str, status: str, *, last: str = "{}", rerun_of: str | None = None, parent_id: str | None = None
) -> None:
    is_final = status in ("completed", "failed", "cancelled")
    change(
        place,
        f"""
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error, epoch,
                        last_seq, rerun_of, parent_id)
VALUES ('{id}', 'mara', 'flow-1', 'rev-1', '{status}', 1, {5 if is_final else "NULL"},
        {"'why'" if status == "failed" else "NULL"}, 1, 1, {"NULL" if rerun_of is None else f"'{rerun_of}'"},
        {"NULL" if parent_id is None else f"'{parent_id}'"})
""",
    )
    type, text = f"execution.{status}", last.replace("'", "''")
    change(place, f"INSERT INTO events (execution_id, seq, at, type, data) VALUES ('{id}', 1, 5, '{type}', '{text}')")


async def test_failed_executions_get_the_type_and_the_node_of_their_error(place: Place) -> None:
    error = {"type": "x" * 300, "message": "why", "node": "fetch\0", "data": None}
    add_execution(place, "e1", "failed", last=json.dumps({"error": error}))
    add_execution(place, "e2", "failed", last=json.dumps({"error": {**error, "type": "internal", "node": None}}))
    add_execution(place, "e3", "completed", last='{"result": {"error": {"type": "none"}}}')
    add_execution(place, "e4", "running")

    await upgraded(place)

    found = rows_of(place, "SELECT id, error_type, failed_node, log_counts FROM executions ORDER BY id")
    # One keeps no NUL, the other nothing after it.
    node = "fetch" if isinstance(place, Path) else "fetch\ufffd"
    assert found == [
        ("e1", "x" * 200, node, None),
        ("e2", "internal", None, None),
        ("e3", None, None, None),
        ("e4", None, None, None),
    ]
    with pytest.raises(Exception, match="the execution has ended"):
        change(place, "UPDATE executions SET error_type = 'other' WHERE id = 'e1'")


async def test_chains_of_reruns_get_their_first_execution(place: Place) -> None:
    add_execution(place, "e1", "failed", last='{"error": {"type": "a", "node": null}}')
    add_execution(place, "e2", "cancelled", rerun_of="e1")
    add_execution(place, "e3", "completed", rerun_of="e2")
    # Retention has deleted what this one repeats.
    add_execution(place, "e4", "completed", rerun_of="e0")

    await upgraded(place)

    found = rows_of(place, "SELECT id, original_id FROM executions ORDER BY id")
    assert found == [("e1", None), ("e2", "e1"), ("e3", "e1"), ("e4", "e0")]


async def test_sub_flows_are_listed_by_their_parent_along_its_index(place: Place) -> None:
    for n, parent in enumerate((None, "e0", "e0", "e1")):
        add_execution(place, f"e{n}", "completed", parent_id=parent)

    await upgraded(place)

    found = rows_of(
        place, "SELECT id FROM executions WHERE parent_id = 'e0' AND workspace_id = 'mara' ORDER BY id DESC"
    )
    assert found == [("e2",), ("e1",)]
    sqlite = "SELECT name FROM pragma_index_info('executions_parent') ORDER BY seqno"
    postgres = "SELECT attname FROM pg_attribute WHERE attrelid = 'executions_parent'::regclass ORDER BY attnum"
    columns = rows_of(place, sqlite if isinstance(place, Path) else postgres)
    assert columns == [("parent_id",), ("workspace_id",), ("id",)]


async def test_executions_get_the_account_that_has_started_them(place: Place) -> None:
    add_execution(place, "e1", "completed", last=json.dumps({"input": {"by": "x\0"}, "by": "account-1"}))
    add_execution(place, "e2", "running", last='{"input": {}, "trigger": {"type": "schedule", "by": "account-2"}}')
    add_execution(place, "e3", "failed", last='{"error": {"type": "a"}, "trigger": {"type": "webhook", "by": null}}')
    add_execution(place, "e4", "cancelled", last='{"parent": {"execution_id": "e1"}}')

    await upgraded(place)

    found = rows_of(place, "SELECT id, started_by FROM executions ORDER BY id")
    assert found == [("e1", "account-1"), ("e2", "account-2"), ("e3", None), ("e4", None)]
    with pytest.raises(Exception, match="the execution has ended"):
        change(place, "UPDATE executions SET started_by = 'account-2' WHERE id = 'e1'")


async def test_executions_are_counted(place: Place) -> None:
    for n, status in enumerate(("completed", "completed", "failed", "running")):
        add_execution(place, f"e{n}", status, last='{"error": {"type": "a", "node": null}}')

    await upgraded(place)
    add_execution(place, "e5", "running")

    parts = dict(rows_of(place, "SELECT status, CAST(sum(number) AS bigint) FROM execution_counts GROUP BY status"))
    assert parts == {"completed": 2, "failed": 1, "running": 2}


async def test_only_addresses_that_a_provider_has_verified_are_confirmed(place: Place) -> None:
    accounts = {"by-provider": ("!", 1), "of-provider-changed": ("!", 2), "by-password": ("hash", 1)}
    for id, (password_hash, updated_at) in accounts.items():
        change(
            place,
            "INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at)"
            f" VALUES ('{id}', 'N', '{id}@example.com', 'admin', '{password_hash}', 1, {updated_at})",
        )

    await upgraded(place)

    found = dict(rows_of(place, "SELECT id, email_confirmed_at FROM accounts"))
    assert found == {"by-provider": 1, "of-provider-changed": None, "by-password": None}
