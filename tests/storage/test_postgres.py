"""Statements, connections and plans of PostgreSQL, used by one process."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import AccountId, ExecutionId
from flowrunner.ports.journal import load_whole
from flowrunner.ports.read_turns import READS_FOR
from flowrunner.storage.database import Call
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres import notifications
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.transaction import Transaction
from support.databases import add_flows, change, completion, creation, open_database, rows_of
from support.waiting import PATIENCE_SECONDS

from .tickets import digests, insert

pytestmark = pytest.mark.only("postgres")


async def test_a_statement_that_takes_too_long_is_cancelled(path: str) -> None:
    database = PostgresDatabase(path, statement_seconds=0.2)
    try:
        for how in (database.read, database.write):
            with pytest.raises(Unavailable):
                await how(lambda tx: tx.row("SELECT pg_sleep(30)"))
        assert await insert(database, "after") == 1
    finally:
        await database.close()


async def test_more_readers_than_connections_wait_for_one(path: str) -> None:
    database = PostgresDatabase(path, readers=2)
    try:
        rows = await asyncio.gather(*(database.read(lambda tx: tx.row("SELECT 1")) for _ in range(50)))
        counts = rows_of(path, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowrunner'")
    finally:
        await database.close()

    assert rows == [(1,)] * 50
    assert counts[0][0] <= 4, "two that read, and what other tests have left"


async def test_reads_that_wait_for_the_turn_of_their_account_are_counted_as_waiting(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notification that is being sent has a connection, too, and is no read."""
    wait = "SELECT pg_advisory_xact_lock_shared(4711)"
    monkeypatch.setattr(notifications, "NOTIFY", f"{wait}, $1::text, $2::text[]")
    holder = await asyncpg.connect(path)
    await holder.execute("SELECT pg_advisory_lock(4711)")
    database = PostgresDatabase(path, readers=10)
    database.notify(["e"])
    READS_FOR.set(AccountId("mara"))
    reads = [asyncio.create_task(database.read(lambda tx: tx.row(wait))) for _ in range(20)]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The other two connections are for other accounts.
            while (use := database.connections()).used < 8:  # noqa: ASYNC110 # nothing tells
                await asyncio.sleep(0.01)
    finally:
        await holder.close()
        await asyncio.gather(*reads)
        await database.close()

    assert (use.used, use.waiting) == (8, 13)


async def test_operations_that_fail_together_are_run_one_by_one(path: str) -> None:
    async def fail(tx: Transaction, works: Sequence[Call[int]]) -> Sequence[Call[int]]:
        raise ValueError("there is something wrong with one of them")

    database = PostgresDatabase(path, concurrent={Call: fail})
    try:
        done = await asyncio.gather(insert(database, "a"), insert(database, "b"))
    finally:
        await database.close()

    assert list(done) == [1, 1]
    assert digests(path) >= {"a", "b"}


async def test_no_append_reads_a_whole_table_however_small(path: str) -> None:
    """The plan of a small table is kept while the table grows."""
    add_flows(path)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for number in range(20):
        if number == 10:
            # Plans are made again after this.
            change(path, "ANALYZE")
        id = ExecutionId(f"e{number}")
        await journal.append(creation(id, epoch=epoch))
        mark = await journal.acquire(id, epoch)
        await load_whole(journal, id)
        await journal.append(completion(id, epoch=mark))
    await database.close()

    statement = "SELECT relname, n_tup_ins, seq_scan FROM pg_stat_user_tables WHERE relname IN ('executions', 'events')"
    found: dict[str, tuple[int, int]] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while [added for added, _ in found.values()] != [80, 20]:
            # The server updates its statistics asynchronously.
            await asyncio.sleep(0.05)
            found = {name: (added, scans) for name, added, scans in sorted(rows_of(path, statement))}
    assert [scans for _, scans in found.values()] == [0, 0]
