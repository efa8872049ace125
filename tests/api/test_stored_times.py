"""Stored times that no calendar has: their rows hide and stop no others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from flowrunner.storage import rows as stored_rows
from security.two_accounts import TwoAccounts, two_accounts_at
from support.databases import Place, change, rows_of
from support.postgres import PostgresServer

FLOW: Final = """
triggers:
  hourly: {type: schedule, every: 1h}
  hook: {type: webhook, verify: none, when: "${1 == 2}"}
nodes:
  a: {type: log, params: {message: Hello}}
"""
# In the year 300,000.
BEYOND: Final = 9_400_000_000_000_000
SQLITE_COLUMNS: Final = """
SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c
 WHERE t.type = 'table' AND (c.name = 'at' OR c.name LIKE '%\\_at' ESCAPE '\\') AND c.type = 'INTEGER'
"""
POSTGRES_COLUMNS: Final = """
SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c
  JOIN information_schema.tables t USING (table_schema, table_name)
 WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.data_type = 'bigint'
   AND (c.column_name = 'at' OR c.column_name LIKE '%\\_at')
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "flowrunner.db"
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return postgres.new_database()


async def test_rows_with_a_time_beyond_the_calendar_hide_no_others(tmp_path: Path, place: Place) -> None:
    settings = {"database_url": place} if isinstance(place, str) else {}
    async with two_accounts_at(tmp_path, **settings) as accounts:
        lists = await lists_of(accounts)
        before = [await listed(accounts, path) for path in lists]

        assert move_all_times(place) > 40
        accounts.program.services.known_callers.drop_all()
        stored_rows.from_ms.cache_clear()
        with capture_logs() as logged:
            after = [await listed(accounts, path) for path in lists]

        assert all(before)
        assert [len(found) for found in after] == [len(found) for found in before]
        (execution,) = await listed(accounts, "/api/v1/executions")
        assert execution["started_at"].startswith("9000-")
        assert {"event": "row.time_out_of_range", "milliseconds": BEYOND, "log_level": "error"} in logged
        for run in (accounts.program.services.schedules.next_due, accounts.program.services.retention.purge):
            await run()


async def lists_of(accounts: TwoAccounts) -> Sequence[str]:
    """Create one of each; return the paths of their lists."""
    mara = accounts.mara

    async def made(path: str, body: Any) -> Any:
        reply = await mara.request("POST", f"/api/v1/{path}", body)
        assert reply.status in (200, 201, 202), reply
        return reply.json

    flow = await mara.flow(FLOW)
    run = (await mara.run(flow)).json["execution_id"]
    await mara.ended(run)
    await made("executions:batch", {"action": "cancel", "filter": {"flow_id": "none"}})
    await made("accounts/me/secrets", {"key": "KEY", "value": "a long value"})
    await made("tokens", {"name": "N", "scopes": ["read"]})
    team = (await made("workspaces", {"name": "T", "slug": "team"}))["id"]
    await made(f"workspaces/{team}/invitations", {"email": "kim@example.com", "role": "viewer"})
    callback = (await made("callbacks", {"url": "http://127.0.0.1:9/", "events": ["execution.failed"]}))["id"]
    await made(f"callbacks/{callback}/test", None)
    triggers = (await mara.request("GET", "/api/v1/triggers")).json["triggers"]
    hook = next(each for each in triggers if each["type"] == "webhook")
    assert (await mara.request("POST", hook["url"], {})).status == 200
    return [
        "/api/v1/accounts",
        "/api/v1/accounts/me/secrets",
        "/api/v1/audit?limit=1000",
        "/api/v1/callbacks",
        f"/api/v1/callbacks/{callback}/deliveries",
        "/api/v1/executions",
        f"/api/v1/executions/{run}/events",
        f"/api/v1/executions/{run}/logs",
        f"/api/v1/executions/{run}/steps",
        "/api/v1/flows",
        f"/api/v1/flows/{flow}/revisions",
        "/api/v1/jobs",
        "/api/v1/sessions",
        "/api/v1/tokens",
        "/api/v1/triggers",
        f"/api/v1/triggers/{hook['id']}/deliveries",
        "/api/v1/workspaces",
        f"/api/v1/workspaces/{team}/invitations",
        f"/api/v1/workspaces/{team}/members",
    ]


async def listed(accounts: TwoAccounts, path: str) -> Sequence[Any]:
    reply = await accounts.mara.request("GET", path)
    assert reply.status == 200, (path, reply)
    (found,) = [value for value in reply.json.values() if isinstance(value, list)]
    return found


def move_all_times(place: Place) -> int:
    """Set each stored time of each row, and return the number of columns."""
    if isinstance(place, Path):
        for (name,) in rows_of(place, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            change(place, f"DROP TRIGGER {name}")
        columns = rows_of(place, SQLITE_COLUMNS)
    else:
        columns = rows_of(place, POSTGRES_COLUMNS)
        for table in {table for table, _ in columns}:
            change(place, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    for table, column in columns:
        change(place, f"UPDATE {table} SET {column} = ? WHERE {column} IS NOT NULL", BEYOND)
    return len(columns)
