"""Writes that share commits, writes that fail alone, and reads."""

import asyncio
import sqlite3
import weakref
from functools import partial
from pathlib import Path

import pytest

from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.values import AccountId
from flowrunner.ports.read_turns import READS_FOR
from flowrunner.storage.database import Database
from flowrunner.storage.postgres.location import PostgresUrl
from flowrunner.storage.sqlite.location import SqliteFile
from flowrunner.storage.transaction import Refused, Transaction
from support.databases import Place, open_database
from support.waiting import PATIENCE_SECONDS

from .tickets import INSERT, digests, held, insert


async def fail_after_writing(tx: Transaction) -> None:
    await tx.run(INSERT, {"digest": "undone"})
    raise Conflict("no")


async def test_a_write_is_durable_when_it_returns(database: Database, path: Place) -> None:
    await insert(database, "a")

    assert digests(path) == {"a"}


async def test_whoever_opens_a_database_at_its_place_is_told_of_its_work(path: Place) -> None:
    told: list[object] = []
    place = SqliteFile(path) if isinstance(path, Path) else PostgresUrl(url=path)
    database = place.open(on_commit=told.append, on_duration=lambda kind, seconds: told.append(kind))
    try:
        await insert(database, "a")
        await database.read_long(lambda tx: tx.row("SELECT 1"))
    finally:
        await database.close()

    assert sorted(map(str, told)) == ["1", "commit", "read"]


async def test_a_read_sees_what_was_written_before(database: Database) -> None:
    await insert(database, "a")

    assert await database.read(lambda tx: tx.row("SELECT count(*) FROM tickets")) == (1,)
    assert await database.read_long(lambda tx: tx.row("SELECT count(*) FROM tickets")) == (1,)


async def test_a_reader_cannot_write(database: Database, path: Place) -> None:
    for read in (database.read, database.read_long):
        with pytest.raises((Unavailable, sqlite3.Error)):
            await read(lambda tx: tx.run(INSERT, {"digest": "a"}))

    assert digests(path) == set()


async def test_the_durations_of_commits_and_long_reads_are_reported(path: Place) -> None:
    durations: list[tuple[str, float]] = []
    database = open_database(path, on_duration=lambda kind, seconds: durations.append((kind, seconds)))
    await insert(database, "a")
    reads = [asyncio.ensure_future(database.read_long(lambda tx: tx.row("SELECT 1"))) for _ in range(3)]
    await asyncio.sleep(0)
    use = database.connections()
    await asyncio.gather(*reads)
    await database.close()

    assert sorted(kind for kind, _ in durations) == ["commit", "read", "read", "read"]
    assert all(seconds > 0 for _, seconds in durations)
    assert use.open <= use.most
    assert use.used <= use.open


async def test_the_many_reads_of_one_account_do_not_wait_in_front_of_those_of_others(database: Database) -> None:
    ended: list[str | None] = []

    async def read(account: AccountId | None) -> None:
        READS_FOR.set(account)
        await database.read_long(lambda tx: tx.row("SELECT 1"))
        ended.append(account)

    mara, omar = AccountId("mara"), AccountId("omar")
    # Opening connections takes longer than reading.
    await asyncio.gather(*(read(None) for _ in range(50)))
    ended.clear()
    many = [asyncio.create_task(read(mara)) for _ in range(200)]
    await asyncio.sleep(0)
    await asyncio.gather(*many, *(asyncio.create_task(read(other)) for other in (omar, None)))

    assert ended.index(omar) < 50
    assert ended.index(None) < 50
    assert len(ended) == 202


async def test_what_gathers_while_the_writer_is_busy_shares_a_commit(path: Place) -> None:
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)
    async with held(database):
        writes = [insert(database, str(n)) for n in range(50)]
    await asyncio.gather(*writes)
    await database.close()

    assert sizes == [1, 50]
    assert digests(path) == {str(n) for n in range(50)}


async def test_a_failing_write_leaves_its_neighbours_alone(database: Database, path: Place) -> None:
    async def break_a_rule(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "before"})

    async with held(database):
        writes = [
            insert(database, "before"),
            asyncio.ensure_future(database.write(fail_after_writing)),
            asyncio.ensure_future(database.write(break_a_rule)),
            insert(database, "after"),
        ]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(result) for result in results] == [int, Conflict, Refused, int]
    assert digests(path) == {"before", "after"}


async def test_a_write_that_fails_by_itself_is_undone_and_the_next_one_is_done(database: Database, path: Place) -> None:
    with pytest.raises(Conflict):
        await database.write(fail_after_writing)
    await insert(database, "kept")
    with pytest.raises(Refused):
        await insert(database, "kept")
    await insert(database, "kept, too")

    assert digests(path) == {"kept", "kept, too"}


async def test_a_writer_that_gave_up_waiting_does_not_disturb_the_others(database: Database) -> None:
    async with held(database):
        impatient, patient = insert(database, "impatient"), insert(database, "patient")
        await asyncio.sleep(0)
        impatient.cancel()

    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await impatient


class Held:
    """An object that an operation refers to."""


async def test_what_was_written_or_read_does_not_stay_in_memory_until_the_next_time(database: Database) -> None:
    async def count(_: Held, tx: Transaction) -> object:
        return await tx.row("SELECT count(*) FROM tickets")

    gone = []
    for submit in (database.write, database.read, database.read_long):
        held_by_work = Held()
        gone.append(weakref.ref(held_by_work))
        await submit(partial(count, held_by_work))
        del held_by_work

    async with asyncio.timeout(PATIENCE_SECONDS):
        # The threads drop the reference right after they have reported the outcome.
        while any(ref() is not None for ref in gone):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_what_was_submitted_before_the_end_is_still_committed(path: Place) -> None:
    database = open_database(path)
    writes = [insert(database, str(n)) for n in range(2500)]
    await asyncio.sleep(0)

    await database.close()

    assert len(digests(path)) == 2500
    assert await asyncio.gather(*writes) == [1] * 2500


async def test_a_closed_database_is_unavailable(path: Place) -> None:
    database = open_database(path)
    await database.close()

    with pytest.raises(Unavailable):
        await insert(database, "a")
    with pytest.raises(Unavailable):
        await database.read(lambda tx: tx.row("SELECT count(*) FROM tickets"))
