"""Flows change the store of their workspace while it is backed up, and while the active server hangs."""

import os
import signal
from pathlib import Path
from typing import Final

import pytest

from cli import command
from support.databases import rows_of
from support.fleet import Fleet, is_standby
from support.invariants import check_database, fields_of
from support.postgres import PostgresServer
from support.server import Server
from support.waiting import wait_for

ELEMENTS: Final = 200
FLOW: Final = f"""
nodes:
  each:
    type: foreach
    params: {{items: "${{Array.from({{length: {ELEMENTS}}}, (_, n) => n)}}", concurrency: 5}}
    nodes: {{add: {{type: store, params: {{operation: increment, key: n}}}}}}
"""
COUNTED: Final = "SELECT value FROM store_entries WHERE key = 'n'"
OPEN: Final = "SELECT 1 FROM executions WHERE completed_at IS NULL"


def counted(place: Path | str) -> int:
    return int((rows_of(place, COUNTED) or [("0",)])[0][0])


def results_of(place: Path | str) -> list[int]:
    completed = rows_of(place, "SELECT data FROM readable_events WHERE type = 'node.completed'")
    steps = [fields_of(data) for (data,) in completed]
    return sorted(step["result"] for step in steps if step["node"] == "add")


@pytest.mark.timeout(240)
def test_each_step_counts_once_when_the_active_server_hangs_and_goes_on(
    lasting_postgres: PostgresServer, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path, lasting_postgres.new_database())
    try:
        first, second = fleet.add().start(), fleet.add().spawn()
        wait_for(lambda: is_standby(second))
        admin = first.admin()
        flow = admin.new_flow(FLOW)
        for _ in range(10):
            admin.run(flow)
        wait_for(lambda: counted(fleet.database) > 100)
        os.kill(first.pid, signal.SIGSTOP)
        hung_at = counted(fleet.database)
        assert hung_at < 10 * ELEMENTS
        try:
            wait_for(lambda: counted(fleet.database) > hung_at, 60)
        finally:
            os.kill(first.pid, signal.SIGCONT)
        wait_for(lambda: not rows_of(fleet.database, OPEN), 120)
    finally:
        fleet.end()

    assert counted(fleet.database) == 10 * ELEMENTS
    assert results_of(fleet.database) == list(range(1, 10 * ELEMENTS + 1))
    assert check_database(fleet.database) == []


def test_a_backup_among_changes_of_the_store_goes_on_elsewhere_and_each_step_counts_once(tmp_path: Path) -> None:
    server, file = Server(tmp_path).start(), tmp_path / "all.backup"
    try:
        admin = server.admin()
        admin.put("/api/v1/store/entry?key=k%C3%A9y&namespace=kept", {"value": {"a": [1]}, "ttl": "7d"})
        flow = admin.new_flow(FLOW)
        for _ in range(10):
            admin.run(flow)
        wait_for(lambda: counted(server.place) > 20)
        made = command.flowrunner(
            "backup", file, "--with-keys", "--passphrase-file", "-", "--data-dir", server.data_dir,
            at=Path.cwd(), stdin="nine brown hares",
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    finally:
        server.stop()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    new = Server(elsewhere)
    done = command.flowrunner(
        "restore", file, "--passphrase-file", "-", "--data-dir", new.data_dir, at=Path.cwd(), stdin="nine brown hares"
    )
    assert done.returncode == 0, done.stderr
    assert counted(new.database) < 10 * ELEMENTS, "the backup was made among the changes"
    try:
        client = new.start().admin()
        kept = client.get("/api/v1/store/entry?key=k%C3%A9y&namespace=kept").json
        wait_for(lambda: not rows_of(new.database, OPEN), 60)
    finally:
        new.stop()

    assert kept["value"] == {"a": [1]}
    assert kept["expires_at"] is not None
    assert counted(new.database) == 10 * ELEMENTS
    assert results_of(new.database) == list(range(1, 10 * ELEMENTS + 1))
    assert check_database(new.database) == []
