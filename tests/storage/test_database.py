import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.execution import Status
from flowrunner.ports import Page
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.transaction import Transaction, one_row
from support.databases import MARA, open_database, rows_of

pytestmark = pytest.mark.only("sqlite")
INSERT = "INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, 's', 0)"


async def hold(database: SqliteDatabase) -> threading.Event:
    """Keep the writer busy until the event is set, so that what follows shares one commit."""
    entered, released = threading.Event(), threading.Event()

    async def wait(tx: Transaction) -> None:
        entered.set()
        released.wait(10)

    asyncio.ensure_future(database.write(wait))  # noqa: RUF006 # ends when the event is set
    await asyncio.to_thread(entered.wait, 10)
    return released


def insert(database: SqliteDatabase, digest: str) -> "asyncio.Task[int]":
    return asyncio.ensure_future(database.write(lambda tx: tx.run(INSERT, {"digest": digest})))


def digests(path: Path) -> set[str]:
    return {row[0] for row in rows_of(path, "SELECT digest FROM tickets")}


async def test_what_gathers_while_the_writer_is_busy_shares_a_commit(path: Path) -> None:
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)
    held = await hold(database)
    writes = [insert(database, str(n)) for n in range(50)]
    await asyncio.sleep(0)
    held.set()
    await asyncio.gather(*writes)
    await database.close()

    assert sizes == [1, 50]
    assert digests(path) == {str(n) for n in range(50)}


async def test_a_failing_write_leaves_its_neighbours_alone(database: SqliteDatabase, path: Path) -> None:
    async def fail_after_writing(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "undone"})
        raise Conflict("no")

    held = await hold(database)
    before, failing, after = (
        insert(database, "before"),
        asyncio.ensure_future(database.write(fail_after_writing)),
        insert(database, "after"),
    )
    await asyncio.sleep(0)
    held.set()

    assert await before == 1
    assert await after == 1
    with pytest.raises(Conflict):
        await failing
    assert digests(path) == {"before", "after"}


async def test_a_write_is_durable_when_it_returns(database: SqliteDatabase, path: Path) -> None:
    await insert(database, "a")

    assert digests(path) == {"a"}


async def test_a_read_sees_what_was_written_before(database: SqliteDatabase) -> None:
    await insert(database, "a")

    assert await database.read(lambda tx: tx.row("SELECT count(*) FROM tickets")) == (1,)
    assert await database.read_long(lambda tx: tx.row("SELECT count(*) FROM tickets")) == (1,)


async def test_a_reader_cannot_write(database: SqliteDatabase, path: Path) -> None:
    for read in (database.read, database.read_long):
        with pytest.raises((Unavailable, sqlite3.Error)):
            await read(lambda tx: tx.run(INSERT, {"digest": "a"}))

    assert digests(path) == set()


async def test_a_long_read_does_not_hold_the_loop_and_gives_its_answer(database: SqliteDatabase) -> None:
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n"
    threads: list[int] = []

    async def read(tx: Transaction) -> int:
        threads.append(threading.get_ident())
        async with tx.moment():
            counted: int = (await one_row(tx, count))[0]
            return counted

    assert await database.read(read) == 300_000
    assert threads[0] == threading.get_ident() != threads[-1]
    # The connection that was interrupted is as good as new.
    assert await database.read(lambda tx: tx.row("SELECT 1")) == (1,)


async def test_a_full_disk_refuses_the_batch_and_nothing_of_it_happens(database: SqliteDatabase, path: Path) -> None:
    (pages,) = await database.write(lambda tx: one_row(tx, "PRAGMA page_count"))
    await database.write(lambda tx: tx.row(f"PRAGMA max_page_count = {pages + 2}"))
    held = await hold(database)
    writes = [insert(database, f"{n}-" + "x" * 3000) for n in range(20)]
    await asyncio.sleep(0)
    held.set()

    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 20
    assert digests(path) == set()


async def test_writing_goes_on_when_there_is_room_again(database: SqliteDatabase, path: Path) -> None:
    (pages,) = await database.write(lambda tx: one_row(tx, "PRAGMA page_count"))
    await database.write(lambda tx: tx.row(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(Unavailable):
        await asyncio.gather(*(insert(database, f"{n}-" + "x" * 3000) for n in range(20)))
    await database.write(lambda tx: tx.row("PRAGMA max_page_count = 1000000"))

    await insert(database, "again")

    assert "again" in digests(path)


async def test_running_out_of_memory_refuses_the_batch_and_the_writer_lives(
    database: SqliteDatabase, path: Path
) -> None:
    async def gluttonous(tx: Transaction) -> None:
        raise MemoryError

    with pytest.raises(Unavailable):
        await asyncio.wait_for(database.write(gluttonous), 5)

    assert await asyncio.wait_for(insert(database, "after"), 5) == 1


async def test_a_locked_database_is_unavailable_and_then_works_again(path: Path) -> None:
    database = open_database(path)
    await database.write(lambda tx: tx.row("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable):
        await insert(database, "a")
    other.execute("COMMIT")
    other.close()

    assert await insert(database, "b") == 1
    await database.close()
    assert digests(path) == {"b"}


async def test_what_was_submitted_before_the_end_is_still_committed(path: Path) -> None:
    database = open_database(path)
    writes = [insert(database, str(n)) for n in range(2500)]
    await asyncio.sleep(0)

    await database.close()

    assert len(digests(path)) == 2500
    assert await asyncio.gather(*writes) == [1] * 2500


async def test_a_closed_database_is_unavailable(path: Path) -> None:
    database = open_database(path)
    await database.close()

    with pytest.raises(Unavailable):
        await insert(database, "a")


async def test_a_writer_that_gave_up_waiting_does_not_disturb_the_others(database: SqliteDatabase, path: Path) -> None:
    held = await hold(database)
    impatient, patient = insert(database, "impatient"), insert(database, "patient")
    await asyncio.sleep(0)
    impatient.cancel()
    held.set()

    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_a_list_that_is_interrupted_does_not_leave_its_transaction_open(path: Path) -> None:
    database = open_database(path)
    try:
        executions = SqlExecutions(database)
        await database.write(_many)
        for limit in range(1, 400):
            page = Page(limit=limit, offset=0)
            rows, total = await executions.page(MARA, flow_id=None, statuses=(Status.CANCELLED,), page=page)
            assert (len(rows), total) == (limit, 3000)

        await database.write(lambda tx: tx.run("DELETE FROM executions"))

        assert await executions.page(MARA, flow_id=None, statuses=(), page=Page(limit=1, offset=0)) == ([], 0)
    finally:
        await database.close()


async def _many(tx: Transaction) -> None:
    await tx.run_many(
        "INSERT INTO executions"
        " (id, account_id, flow_id, revision_id, status, started_at, completed_at, epoch, last_seq)"
        " VALUES (?, ?, 'flow-1', 'rev-1', 'cancelled', 1, 2, 0, 1)",
        [(f"exec-{n:05}", MARA) for n in range(3000)],
    )
