"""Operations that share a transaction, and failures of single ones."""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from structlog.testing import capture_logs

from flowrunner.domain.errors import Unavailable
from flowrunner.ports.journal import Append
from flowrunner.storage import batch
from flowrunner.storage.batch import MAX_BATCH, MAX_BATCH_BYTES, BatchLimit, CommitFailures, Pending, Writability
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.location import PostgresUrl
from flowrunner.storage.transaction import Transaction, one_row
from support.databases import Place, add_flows, change, creation, following, log_line, open_database, rows_of
from support.invariants import check_database

from .tickets import held, insert

EVENTS: Final = "SELECT execution_id, count(*) FROM events GROUP BY 1 ORDER BY 1"
# Like a slow disk: a statement takes longer the more it writes.
SLOW: Final = (
    """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT sum(length(data)) FROM added) > {most} THEN
            PERFORM pg_sleep(60);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER slow AFTER INSERT ON events REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION slow()
    """,
)


def large(id: str, epoch: int, *, size: int) -> Append:
    return following(id, log_line("x" * size), epoch=epoch, after=2)


async def created(journal: SqlJournal, *ids: str) -> int:
    """Create open executions and return the epoch."""
    epoch = await journal.claim()
    for id in ids:
        await journal.append(creation(id, epoch=epoch))
    return epoch


async def test_a_transaction_is_bounded_in_bytes(path: Place) -> None:
    sizes: list[int] = []
    database = open_database(add_flows(path), on_commit=sizes.append)
    journal = SqlJournal(database)
    ids = [f"e{n:02}" for n in range(20)]
    epoch = await created(journal, *ids)
    async with held(database):
        appends = [asyncio.ensure_future(journal.append(large(id, epoch, size=600_000))) for id in ids]
        sizes.clear()
    await asyncio.gather(*appends)
    await database.close()

    # The first one was held back.
    assert sum(sizes[1:]) == len(ids)
    assert max(sizes[1:]) == MAX_BATCH_BYTES // 600_000
    assert rows_of(path, EVENTS) == [(id, 3) for id in ids]


@dataclass(frozen=True)
class Sized:
    """An operation of a size, which is never run."""

    size: int
    execution_id: None = None
    allows_concurrent_writers: bool = True

    async def run(self, tx: Transaction) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "failed", [[0], [1], [7], [0] * 100, [1] * MAX_BATCH, [MAX_BATCH_BYTES], [MAX_BATCH_BYTES * 9]]
)
async def test_commits_that_succeed_lift_the_limit_that_a_failure_has_set(failed: list[int]) -> None:
    loop = asyncio.get_running_loop()

    def pending(sizes: list[int]) -> deque[Pending]:
        return deque(Pending(Sized(size), loop.create_future()) for size in sizes)

    limit = BatchLimit()
    limit.lower(pending(failed))
    for _ in range(64):
        limit.raise_again()

    assert len(limit.take(pending([1] * (MAX_BATCH + 1)))) == MAX_BATCH
    assert len(limit.take(pending([MAX_BATCH_BYTES // 4] * 5))) == 4


@pytest.mark.parametrize(
    ("failed", "waiting", "taken"),
    [
        ([0], [0] * 9, 1), ([0] * 15, [0] * 9, 1), ([0] * 16, [0] * 9, 2), ([0] * 100, [0] * 50, 12),
        # As much as an eighth of their bytes, but always one.
        ([250] * 80, [1250] * 9, 2), ([250] * 80, [1251] * 9, 1), ([1] * 80, [900] * 9, 1),
    ],
)  # fmt: skip
async def test_the_batch_after_a_failure_is_at_most_an_eighth_of_it(
    failed: list[int], waiting: list[int], taken: int
) -> None:
    loop = asyncio.get_running_loop()
    limit = BatchLimit()
    limit.lower([Pending(Sized(size), loop.create_future()) for size in failed])

    assert len(limit.take(deque(Pending(Sized(size), loop.create_future()) for size in waiting))) == taken


@pytest.fixture
async def impatient(path: str) -> AsyncIterator[tuple[PostgresDatabase, list[int]]]:
    """Open a database with a short `database_timeout`; yield it with the sizes of its commits."""
    sizes: list[int] = []
    database = PostgresUrl(url=str(add_flows(path)), statement_seconds=0.5).open(on_commit=sizes.append)
    assert isinstance(database, PostgresDatabase)
    yield database, sizes
    await database.close()


@pytest.mark.only("postgres")
async def test_what_takes_too_long_together_is_done_in_parts(
    path: str, impatient: tuple[PostgresDatabase, list[int]]
) -> None:
    database, sizes = impatient
    journal = SqlJournal(database)
    ids = [f"e{n:02}" for n in range(40)]
    epoch = await created(journal, *ids)
    for statement in SLOW:
        change(path, statement.format(most=250_000))
    async with held(database):
        appends = [asyncio.ensure_future(journal.append(large(id, epoch, size=50_000))) for id in ids]
        sizes.clear()
    await asyncio.gather(*appends)

    assert rows_of(path, EVENTS) == [(id, 3) for id in ids]
    assert check_database(path, all_ended=False) == []


@pytest.mark.only("postgres")
async def test_what_is_done_in_parts_is_done_in_the_order_in_which_it_was_submitted(
    impatient: tuple[PostgresDatabase, list[int]],
) -> None:
    database, _ = impatient
    attempts: list[int] = []

    async def write(number: int, tx: Transaction) -> int:
        attempts.append(number)
        if attempts.count(number) == 1 and number == 9:
            await tx.row("SELECT pg_sleep(60)")
        return number

    async with held(database):
        writes = [asyncio.ensure_future(database.write(partial(write, number))) for number in range(20)]
    await asyncio.gather(*writes)

    assert attempts == [*range(10), *range(20)]


@pytest.mark.only("postgres")
async def test_what_can_never_be_written_fails_alone(path: str, impatient: tuple[PostgresDatabase, list[int]]) -> None:
    database, _ = impatient
    journal = SqlJournal(database)
    small = [f"e{n:02}" for n in range(40)]
    epoch = await created(journal, "big", *small)
    for statement in SLOW:
        change(path, statement.format(most=1_000_000))
    async with held(database):
        appends = [
            asyncio.ensure_future(journal.append(append))
            for append in (
                *(large(id, epoch, size=10) for id in small[:20]),
                large("big", epoch, size=1_000_001),
                *(large(id, epoch, size=10) for id in small[20:]),
            )
        ]
        writes = [insert(database, f"t{n}") for n in range(3)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    await asyncio.gather(*writes)

    assert [type(result) for result in results] == [type(None)] * 20 + [Unavailable] + [type(None)] * 20
    assert rows_of(path, EVENTS) == [("big", 2), *((id, 3) for id in small)]


@pytest.mark.only("postgres")
async def test_a_lock_that_is_not_available_is_not_requested_repeatedly(
    path: str, impatient: tuple[PostgresDatabase, list[int]]
) -> None:
    database, _ = impatient
    other = open_database(path)
    async with held(other):
        async with asyncio.timeout(10):
            results = await asyncio.gather(*(insert(database, f"t{n}") for n in range(100)), return_exceptions=True)
    await other.close()

    assert {type(result) for result in results} == {Unavailable}


@pytest.mark.only("sqlite")
async def test_an_unreadable_page_makes_only_its_own_execution_fail(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database = open_database(add_flows(path))
    ids = [f"e{n:02}" for n in range(30)]
    epoch = await created(SqlJournal(database), *ids)
    for id in ids:
        # Each fills pages of its own.
        lines = [log_line("x" * 400) for _ in range(100)]
        await SqlJournal(database).append(following(id, *lines, log_line(f"last of {id}"), epoch=epoch, after=2))
    await database.close()
    damage(path, "e07")
    database = open_database(path)
    journal = SqlJournal(database)
    async with held(database):
        appends = [
            asyncio.ensure_future(journal.append(following(id, log_line("after"), epoch=epoch, after=103)))
            for id in ids
        ]
        writes = [insert(database, f"t{n}") for n in range(3)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    await asyncio.gather(*writes)
    await database.close()

    assert {id: type(r) for id, r in zip(ids, results, strict=True) if r is not None} == {"e07": Unavailable}
    assert "storage.commit_failed" in (said := capfd.readouterr().out)
    assert [id for id in ids if id in said] == ["e07"]


@pytest.mark.only("sqlite")
async def test_a_full_disk_is_logged_once_although_many_commits_fail(path: Path) -> None:
    database = open_database(path)
    (pages,) = await database.write(lambda tx: one_row(tx, "PRAGMA page_count"))
    await database.write(lambda tx: tx.row(f"PRAGMA max_page_count = {pages}"))

    with capture_logs() as lines:
        for _ in range(10):
            with pytest.raises(Unavailable):
                await insert(database, "x" * 10_000)
    await database.close()

    assert [line["error"] for line in lines if line["event"] == "storage.commit_failed"] == ["database or disk is full"]


def test_a_failed_commit_is_logged_again_after_ten_seconds_with_its_repeats() -> None:
    failures = CommitFailures()

    with capture_logs() as lines:
        for at in (0.0, 1.0, 9.9, 10.0, 11.0, 30.0, 50.0):
            failures.report([], "full", at=at, is_damage=False, hint="make room")
        failures.report([], "locked", at=50.0, is_damage=False)

    assert [(line["error"], line.get("repeats"), line.get("hint")) for line in lines] == [
        ("full", None, "make room"), ("full", 2, "make room"), ("full", 1, "make room"), ("full", None, "make room"),
        ("locked", None, None),
    ]  # fmt: skip


def test_each_commit_that_meets_damage_is_logged() -> None:
    failures = CommitFailures()

    with capture_logs() as lines:
        for _ in range(3):
            failures.report([], "malformed", at=1.0, is_damage=True)

    assert len(lines) == 3


@pytest.mark.only("sqlite")
async def test_a_commit_that_failed_is_not_counted(path: Path) -> None:
    database = open_database(add_flows(path))
    epoch = await created(SqlJournal(database), "e")
    lines = [log_line("x" * 400) for _ in range(100)]
    await SqlJournal(database).append(following("e", *lines, log_line("last of e"), epoch=epoch, after=2))
    await database.close()
    damage(path, "e")
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)

    with pytest.raises(Unavailable):
        await SqlJournal(database).append(following("e", log_line("after"), epoch=epoch, after=103))
    assert sizes == []
    await insert(database, "t")
    await database.close()

    assert sizes == [1]


def damage(path: Path, id: str) -> None:
    """Overwrite the page of the table of events that the last event of an execution is on."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    contents = bytearray(path.read_bytes())
    page = contents.index(f"last of {id}".encode()) // size
    contents[page * size : (page + 1) * size] = b"\xff" * size
    path.write_bytes(contents)


async def test_a_commit_that_fails_says_what_to_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "locked.db"
    with closing(sqlite3.connect(path)) as new:
        new.executescript("PRAGMA journal_mode=WAL; CREATE TABLE things (name TEXT)")
    database = open_database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable):
        await insert(database, "t1")

    other.close()
    await database.close()
    assert "another program holds the lock of the database" in capfd.readouterr().out


# Whether commits work


async def test_each_look_whether_commits_work_tries_one_and_looks_at_once_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch, "_SUCCESS_SECONDS", 0.0)
    monkeypatch.setattr(batch, "_FAILURE_SECONDS", 0.0)
    writability, works, tried = Writability(), True, 0

    async def commit() -> None:
        nonlocal tried
        tried += 1
        await asyncio.sleep(0)
        if not works:
            raise Unavailable("the disk is full")

    async def look() -> bool:
        try:
            await writability.check(commit)
        except Unavailable:
            return False
        return True

    found = []
    for works in (True, False, True, False):  # noqa: B007 # `commit` reads it
        gone, *stay = [asyncio.create_task(look()) for _ in range(3)]
        await asyncio.sleep(0)
        gone.cancel()
        found += await asyncio.gather(*stay)

    assert found == [True, True, False, False, True, True, False, False]
    assert tried == 4


async def test_a_commit_that_succeeds_beside_refused_ones_does_not_show_that_the_disk_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    writability, tried = Writability(), 0

    async def try_one() -> None:
        nonlocal tried
        tried += 1

    writability.note(has_failed=True, is_refused=True)
    writability.note(has_failed=False)

    with pytest.raises(Unavailable):
        await writability.check(try_one)
    now += 1.1
    await writability.check(try_one)
    assert tried == 0
