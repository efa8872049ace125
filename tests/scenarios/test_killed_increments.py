"""Servers that are killed while flows count in the store of their workspace: each step counts once."""

import random
from pathlib import Path
from typing import Final

import pytest

from support.databases import rows_of
from support.invariants import fields_of
from support.postgres import PostgresServer
from support.server import Server
from support.waiting import pause, wait_for

KILLS: Final = 3
STARTS: Final = 3
ELEMENTS: Final = 100
FLOW: Final = f"""
nodes:
  each:
    type: foreach
    params: {{items: "${{Array.from({{length: {ELEMENTS}}}, (_, n) => n)}}", concurrency: 5}}
    nodes: {{add: {{type: store, params: {{operation: increment, key: n}}}}}}
"""


@pytest.mark.parametrize("kind", ["one process", "two processes", "postgres"])
def test_each_step_counts_once_whenever_the_server_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    settings: dict[str, str | None] = {"PROCESSES": "2"} if kind == "two processes" else {}
    if kind == "postgres":
        postgres: PostgresServer = request.getfixturevalue("lasting_postgres")
        settings["DATABASE_URL"] = postgres.new_database()
    server = Server(tmp_path, settings)
    try:
        flow = server.start().admin().new_flow(FLOW)
        for _ in range(KILLS):
            admin = server.admin()
            for _ in range(STARTS):
                assert admin.post(f"/api/v1/flows/{flow}/run", {"input": {}}).status == 201
            pause(random.uniform(0.05, 0.4))
            server.kill()
            server.start()
        wait_for(lambda: not rows_of(server.place, "SELECT 1 FROM executions WHERE completed_at IS NULL"))

        completed = rows_of(server.place, "SELECT data FROM readable_events WHERE type = 'node.completed'")
    finally:
        server.stop()

    total = KILLS * STARTS * ELEMENTS
    assert rows_of(server.place, "SELECT value FROM store_entries") == [(str(total),)]
    steps = [fields_of(data) for (data,) in completed]
    assert sorted(step["result"] for step in steps if step["node"] == "add") == list(range(1, total + 1))
