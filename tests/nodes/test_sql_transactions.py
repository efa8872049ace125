"""The transactions of the node type `sql`, by a real PostgreSQL server."""

import asyncio
from contextlib import suppress
from threading import Event
from typing import Final

import pytest

from flowrunner.nodes.sql_url import database_of
from flowrunner.plugin import NodeFailure, SqlSession
from support.postgres import PostgresServer, query
from support.sql import Querier, url_for
from support.waiting import PATIENCE_SECONDS, wait_for

# Its end is not looked for, so the query is sent.
NESTED: Final = "/* a /* b */ */ "


@pytest.fixture
def db(postgres: PostgresServer) -> Querier:
    database = postgres.new_database()
    query(database, "CREATE TABLE orders (id int PRIMARY KEY, note text)")
    return Querier(url_for(database))


async def test_a_statement_that_fails_changes_nothing_even_if_it_ended_the_transaction(db: Querier) -> None:
    await db.fail(NESTED + "COMMIT", operation="execute")
    failed = await db.fail("INSERT INTO orders (id) VALUES (1), (1)", operation="execute")

    assert isinstance(failed.data, dict)
    assert (failed.type, failed.data["constraint"]) == ("sql.23505", "orders_pkey")
    assert await db.value("SELECT count(*) FROM orders") == 0


@pytest.mark.parametrize("comment", ["", "-- a\n /* b */ ", NESTED])
@pytest.mark.parametrize(
    "statement", ["COMMIT", " end", "ROLLBACK", "abort", "Rollback Work", "PREPARE TRANSACTION 'a'", "COMMIT AND CHAIN"]
)
async def test_a_query_that_ends_the_transaction_fails_and_nothing_runs_after_it(
    db: Querier, comment: str, statement: str
) -> None:
    ran: list[str] = []

    def work(session: SqlSession) -> None:
        session.execute("INSERT INTO orders (id) VALUES (1)")
        try:
            session.execute(comment + statement)
        finally:
            ran.append(statement)
        session.execute("INSERT INTO orders (id) VALUES (2)")

    with pytest.raises(NodeFailure) as raised:
        await db.context.sql.run(database_of(db.url), work, seconds=PATIENCE_SECONDS)

    expected = "sql.55000" if comment == NESTED and "PREPARE" in statement else "sql.transaction_ended"
    assert (raised.value.type, ran) == (expected, [statement])
    assert await db.value("SELECT count(*) FROM orders WHERE id = 2") == 0
    if comment != NESTED:
        assert await db.value("SELECT count(*) FROM orders") == 0


@pytest.mark.parametrize("goes_on", [True, False])
async def test_work_that_ignores_the_end_of_its_transaction_fails(db: Querier, goes_on: bool) -> None:
    def work(session: SqlSession) -> None:
        session.execute("INSERT INTO orders (id) VALUES (1)")
        with suppress(NodeFailure):
            session.execute(NESTED + "COMMIT AND CHAIN")
        if goes_on:
            session.execute("INSERT INTO orders (id) VALUES (2)")

    with pytest.raises(NodeFailure, match="has ended its transaction"):
        await db.context.sql.run(database_of(db.url), work, seconds=PATIENCE_SECONDS)

    assert await db.rows("SELECT id FROM orders") == [{"id": 1}]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_terminate_backend(0)",
        "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null'",
    ],
)
async def test_a_read_only_transaction_does_not_reject_all_that_acts_outside_of_it(db: Querier, statement: str) -> None:
    assert (await db.run(statement))["row_count"] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE a ()", "CREATE TEMP TABLE a ()", "INSERT INTO orders (id) VALUES (1)", "DROP TABLE orders",
        "WITH a AS (DELETE FROM orders RETURNING 1) SELECT * FROM a", "SELECT * FROM orders FOR UPDATE",
        "DO $$ BEGIN INSERT INTO orders (id) VALUES (1); END $$", "TRUNCATE orders",
        "GRANT SELECT ON orders TO PUBLIC",
    ],
)  # fmt: skip
async def test_a_read_only_transaction_rejects_changes_of_data(db: Querier, statement: str) -> None:
    failed = await db.fail(statement)

    assert failed.type == "sql.25006"


async def test_a_rollback_that_begins_another_transaction_is_refused_behind_comments(db: Querier) -> None:
    failed = await db.fail("/* a */ -- b\n ROLLBACK AND CHAIN", operation="execute")
    # As far as the text says: it is a comment to its end.
    unended = await db.fail("/*" * 10_000 + " COMMIT", operation="execute")

    assert (failed.type, unended.type) == ("sql.transaction_ended", "sql.42601")


async def test_a_savepoint_ends_nothing(db: Querier) -> None:
    def work(session: SqlSession) -> None:
        session.execute("SAVEPOINT a")
        session.execute("INSERT INTO orders (id) VALUES (1)")
        session.execute("ROLLBACK TO SAVEPOINT a")
        session.execute("INSERT INTO orders (id) VALUES (2)")
        session.execute("rollback work to a")
        session.execute("RELEASE a")
        session.execute("INSERT INTO orders (id) VALUES (3)")

    await db.context.sql.run(database_of(db.url), work, seconds=PATIENCE_SECONDS)

    assert await db.rows("SELECT id FROM orders") == [{"id": 3}]


async def test_a_constraint_that_is_checked_at_the_end_fails_the_node(db: Querier) -> None:
    change = "ALTER TABLE orders ADD CONSTRAINT late UNIQUE (note) DEFERRABLE INITIALLY DEFERRED"
    await db.run(change, operation="execute")

    failed = await db.fail("INSERT INTO orders (id, note) VALUES (1, 'a'), (2, 'a')", operation="execute")

    assert failed.type == "sql.23505"
    assert await db.value("SELECT count(*) FROM orders") == 0


async def test_a_cancelled_step_ends_its_statement_on_the_server(db: Querier, postgres: PostgresServer) -> None:
    def running() -> int:
        found = query(postgres.url(), "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")
        return int(found[0][0])

    step = asyncio.create_task(db.run("SELECT pg_sleep(600)"))
    await asyncio.to_thread(wait_for, lambda: running() == 1)
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step

    await asyncio.to_thread(wait_for, lambda: running() == 0)


async def test_a_step_that_ends_while_its_answer_is_read_commits_nothing(db: Querier) -> None:
    begun, go_on, done = asyncio.Event(), Event(), Event()
    loop = asyncio.get_running_loop()

    def work(session: SqlSession) -> None:
        session.execute("INSERT INTO orders (id) VALUES (1)")
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(PATIENCE_SECONDS)
        done.set()

    step = asyncio.create_task(db.context.sql.run(database_of(db.url), work, seconds=PATIENCE_SECONDS))
    await begun.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    go_on.set()

    # The table is locked by the transaction as long as it is open.
    await asyncio.to_thread(done.wait, PATIENCE_SECONDS)
    await db.run("LOCK TABLE orders", operation="execute")
    assert await db.value("SELECT count(*) FROM orders") == 0
