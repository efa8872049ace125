"""What holds of a query when the process is killed in the middle of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from support.postgres import PostgresServer, query, sharing_a_connection
from support.server import Server
from support.sql import url_for
from support.waiting import wait_for

FLOW: Final = """
nodes:
  pay:
    type: sql
    params:
      url: "%s"
      operation: execute
      query: "%s"
      args: ["${execution.id}"]
"""
# The test holds this lock until the process is dead, so that no kill comes too late.
LOCK: Final = "pg_advisory_xact_lock(1)"
# A commit that waits for the lock, by a trigger.
SLOW_COMMIT: Final = (
    f"CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM {LOCK}; RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON payments DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION slow()",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    try:
        yield found.start()
    finally:
        found.stop()


def activity(url: str) -> list[str]:
    """Return the statements that run in the database for flows."""
    found = query(
        url,
        "SELECT query FROM pg_stat_activity WHERE application_name = 'flowrunner' AND state = 'active' "
        "AND datname = current_database()",
    )
    return [str(row[0]) for row in found]


def kill_in(server: Server, url: str, statement: str, running: str) -> None:
    """Start an execution, kill the server while a statement waits for the lock, and let the next one end it."""
    admin = server.admin()
    # The lock is held by that connection.
    with sharing_a_connection(url):
        query(url, "SELECT pg_advisory_lock(1)")
        execution = admin.run(admin.new_flow(FLOW % (url_for(url), statement)))
        wait_for(lambda: running in activity(url))
        server.kill()
        assert running in activity(url)
        query(url, "SELECT pg_advisory_unlock(1)")
    admin = server.start().client(admin.token)
    assert admin.ended(execution)["status"] == "completed"
    # That of the process that was killed, too.
    wait_for(lambda: not activity(url))


def test_a_statement_that_a_kill_interrupted_is_not_committed_and_runs_again(
    server: Server, postgres: PostgresServer
) -> None:
    url = postgres.new_database()
    query(url, "CREATE TABLE payments (execution text)")
    statement = f"INSERT INTO payments SELECT $1 FROM {LOCK}"

    kill_in(server, url, statement, statement)

    assert query(url, "SELECT count(*) FROM payments") == [(1,)]


@pytest.mark.parametrize(("more", "rows"), [("", 2), (" ON CONFLICT (execution) DO NOTHING", 1)])
def test_a_commit_that_a_kill_interrupted_is_repeated_unless_the_statement_prevents_it(
    server: Server, postgres: PostgresServer, more: str, rows: int
) -> None:
    url = postgres.new_database()
    query(url, f"CREATE TABLE payments (execution text {'UNIQUE' if more else ''})")
    for statement in SLOW_COMMIT:
        query(url, statement)

    kill_in(server, url, f"INSERT INTO payments VALUES ($1){more}", "COMMIT")

    assert query(url, "SELECT count(*) FROM payments") == [(rows,)]
