"""The file, disk, locks and threads of SQLite."""

import asyncio
import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.storage.migrations import UnusableDatabase
from flowrunner.storage.sqlite import backup
from flowrunner.storage.sqlite.connections import connect_to_write, with_advice
from flowrunner.storage.sqlite.database import ALONE_COMMITS, TURNS_A_COMMIT, SqliteDatabase
from flowrunner.storage.sqlite.transaction import by_position
from flowrunner.storage.transaction import Transaction, one_row
from support.databases import open_database
from support.waiting import PATIENCE_SECONDS

from .tickets import digests, held, insert

pytestmark = pytest.mark.only("sqlite")


async def test_a_long_read_does_not_hold_the_loop_and_gives_its_answer(database: SqliteDatabase) -> None:
    counted, threads = await _read_long(database)

    assert counted == 300_000
    assert threads[0] == threading.get_ident() != threads[-1]
    # The interrupted connection works again.
    assert await database.read(lambda tx: tx.row("SELECT 1")) == (1,)


async def _read_long(database: SqliteDatabase, rows: int = 300_000) -> tuple[int, list[int]]:
    """Return the result of a long read, and the threads on which it was tried."""
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows) SELECT count(*) FROM n"
    threads: list[int] = []

    async def read(tx: Transaction) -> int:
        threads.append(threading.get_ident())
        async with tx.snapshot():
            counted: int = (await one_row(tx, count, {"rows": rows}))[0]
            return counted

    return await database.read(read), threads


async def test_what_is_submitted_in_a_few_turns_of_the_event_loop_shares_a_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.sqlite.database._LONGEST_TURNS_SECONDS", 60.0)
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)
    writes = []
    for n in range(TURNS_A_COMMIT - 1):
        writes.append(insert(database, str(n)))
        await asyncio.sleep(0)
        # Time in which the writer could begin.
        time.sleep(0.01)  # noqa: ASYNC251
    await asyncio.gather(*writes)
    await database.close()

    assert sizes == [TURNS_A_COMMIT - 1]


async def test_an_operation_is_committed_at_once_while_none_share_a_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(path)
    for n in range(ALONE_COMMITS):
        await insert(database, str(n))
    monkeypatch.setattr("flowrunner.storage.sqlite.database._LONGEST_TURNS_SECONDS", 60.0)
    monkeypatch.setattr("flowrunner.storage.sqlite.database.TURNS_A_COMMIT", 1_000_000_000)

    await asyncio.wait_for(insert(database, "next"), 10)
    await database.close()


async def test_operations_wait_for_each_other_again_once_some_have_shared_a_commit(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.sqlite.database._LONGEST_TURNS_SECONDS", 60.0)
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)
    for n in range(ALONE_COMMITS):
        await insert(database, str(n))
    async with held(database):
        shared = [insert(database, name) for name in ("a", "b")]
    await asyncio.gather(*shared)
    writes = []
    for name in ("c", "d"):
        writes.append(insert(database, name))
        await asyncio.sleep(0)
        # Time in which the writer could begin.
        time.sleep(0.01)  # noqa: ASYNC251
    await asyncio.gather(*writes)
    await database.close()

    assert sizes == [*[1] * (ALONE_COMMITS + 1), 2, 2]


def test_a_name_that_a_statement_repeats_is_one_parameter() -> None:
    text, in_order = by_position("UPDATE t SET a = :a, b = :b WHERE id = :id AND a < :a")

    assert text == "UPDATE t SET a = ?1, b = ?2 WHERE id = ?3 AND a < ?1"
    assert in_order is not None
    assert in_order({"id": 1, "b": 2, "a": 3}) == (3, 2, 1)


def test_a_name_with_a_digit_is_another_name() -> None:
    text, in_order = by_position("UPDATE t SET a = :a, b = :a1 WHERE id = :a_2")

    assert text == "UPDATE t SET a = ?1, b = ?2 WHERE id = ?3"
    assert in_order is not None
    assert in_order({"a": 1, "a1": 2, "a_2": 3}) == (1, 2, 3)


async def test_long_turns_do_not_delay_a_commit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowrunner.storage.sqlite.database.TURNS_A_COMMIT", 1_000_000_000)
    database = open_database(path)

    await asyncio.wait_for(insert(database, "a"), 10)
    await database.close()


async def test_a_full_disk_refuses_the_batch_and_nothing_of_it_happens(database: SqliteDatabase, path: Path) -> None:
    (pages,) = await database.write(lambda tx: one_row(tx, "PRAGMA page_count"))
    await database.write(lambda tx: tx.row(f"PRAGMA max_page_count = {pages + 2}"))
    async with held(database):
        writes = [insert(database, f"{n}-" + "x" * 3000) for n in range(20)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(result) for result in results] == [Unavailable] * 20
    assert digests(path) == set()


async def test_writing_goes_on_when_there_is_space_again(database: SqliteDatabase, path: Path) -> None:
    (pages,) = await database.write(lambda tx: one_row(tx, "PRAGMA page_count"))
    await database.write(lambda tx: tx.row(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(Unavailable):
        await asyncio.gather(*(insert(database, f"{n}-" + "x" * 3000) for n in range(20)))
    await database.write(lambda tx: tx.row("PRAGMA max_page_count = 1000000"))

    await insert(database, "again")

    assert "again" in digests(path)


async def test_running_out_of_memory_rejects_the_batch_and_the_writer_survives(
    database: SqliteDatabase, path: Path
) -> None:
    async def gluttonous(tx: Transaction) -> None:
        raise MemoryError

    with pytest.raises(Unavailable):
        await asyncio.wait_for(database.write(gluttonous), PATIENCE_SECONDS)

    assert await asyncio.wait_for(insert(database, "after"), PATIENCE_SECONDS) == 1


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


async def test_a_read_that_is_interrupted_does_not_leave_its_transaction_open(path: Path) -> None:
    database = open_database(path)
    try:
        # SQLite asks whether to interrupt at every thousandth instruction, also of all rollbacks together.
        for _ in range(1100):
            counted, threads = await _read_long(database, rows=3000)
            assert counted == 3000
            assert len(threads) == 2

        # A transaction that were still open would not see this.
        await database.write(lambda tx: tx.run("UPDATE engine SET epoch = 77"))

        assert await database.read(lambda tx: one_row(tx, "SELECT epoch FROM engine")) == (77,)
    finally:
        await database.close()


# Files that are deleted, moved or replaced under a running server


def as_after_a_crash(path: Path, directory: Path) -> Path:
    """Copy the database as the next start would find it if the process were killed now."""
    directory.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if not file.name.endswith("-shm"):
            shutil.copy(file, directory)
    return directory / path.name


def delete(path: Path) -> None:
    path.unlink()


def replace_by_an_empty_one(path: Path) -> None:
    path.unlink()
    path.touch()


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


@pytest.mark.parametrize("lose", [delete, replace_by_an_empty_one, move_away])
async def test_a_log_that_is_lost_is_noticed_before_a_write_is_answered_and_nothing_is_lost(
    database: SqliteDatabase, path: Path, tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    for n in range(3):
        await insert(database, f"before-{n}")
    lose(path.with_name(f"{path.name}-wal"))

    await insert(database, "meanwhile")

    kept = digests(as_after_a_crash(path, tmp_path / "crashed"))
    assert kept == {"before-0", "before-1", "before-2", "meanwhile"}
    with pytest.raises(Unavailable):
        await insert(database, "after")
    with pytest.raises(Unavailable):
        await database.check_writable()


@pytest.mark.parametrize("lose", [delete, move_away])
async def test_no_write_is_answered_once_the_database_itself_is_lost(
    database: SqliteDatabase, path: Path, lose: Callable[[Path], None]
) -> None:
    await insert(database, "before")
    lose(path)

    for late in ("meanwhile", "after"):
        with pytest.raises(Unavailable):
            await insert(database, late)


async def test_work_is_answered_although_the_file_was_lost_before_the_threads_began(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[threading.Thread] = []

    def start_later(thread: threading.Thread) -> None:
        late.append(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_later)
        database = open_database(path)
    replace_by_a_directory(path)
    for thread in late:
        thread.start()

    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(Unavailable):
                await database.read_long(lambda tx: tx.row("SELECT count(*) FROM accounts"))
            with pytest.raises(Unavailable):
                await insert(database, "late")
    finally:
        await database.close()


async def test_a_log_that_sqlite_itself_shortens_is_not_taken_for_lost(database: SqliteDatabase, path: Path) -> None:
    await insert(database, "before")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    await insert(database, "after")

    assert digests(path) == {"before", "after"}


async def test_what_undoes_a_statement_is_kept_in_memory(database: SqliteDatabase) -> None:
    def temporary_files() -> list[str]:
        files = [str(link.resolve()) for link in Path("/proc/self/fd").iterdir()]
        return [file for file in files if "etilqs_" in file]

    async def change_many_pages(tx: Transaction) -> list[str]:
        await tx.run("CREATE TABLE large (number INTEGER PRIMARY KEY, text TEXT)")
        count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
        await tx.run(f"INSERT INTO large {count} SELECT i, hex(randomblob(500)) FROM n")
        async with tx.attempt():
            await tx.run("UPDATE large SET text = upper(text) || 'x'")
            return temporary_files()

    assert await database.write(change_many_pages) == []


@pytest.mark.parametrize("loss", ["DELETE FROM alembic_version", "DROP TABLE alembic_version"])
def test_a_copy_that_does_not_say_its_schema_is_damaged(path: Path, loss: str) -> None:
    """A start would try to make tables that are there."""
    with closing(sqlite3.connect(path)) as copy, copy:
        copy.execute(loss)

    with pytest.raises(UnusableDatabase, match=r"damaged \(it has no schema version\): use an earlier backup"):
        backup.check_copy(path)


def test_a_copy_is_one_state_of_a_file_that_is_written_meanwhile(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If each commit began the copy again, that of a busy server would not end."""
    left: list[int] = []
    before = "SELECT epoch FROM engine"

    class Writes:
        def __call__(self, status: int, remaining: int, total: int) -> None:
            if len(left) < 4:
                server.execute("UPDATE engine SET epoch = epoch + 1")
            left.append(remaining)

    monkeypatch.setattr(backup, "_PAGES_A_STEP", 20)
    monkeypatch.setattr(backup, "_Pauses", Writes)
    with closing(sqlite3.connect(path, isolation_level=None)) as server:
        (epoch,) = server.execute(before).fetchone()
        backup.copy_online(path, tmp_path / "copy.db")
        (later,) = server.execute(before).fetchone()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        (copied,) = copy.execute(before).fetchone()

    assert (copied, later) == (epoch, epoch + 4)
    assert len(left) > 4
    assert left == sorted(left, reverse=True)


def test_an_error_has_the_advice_for_the_kind_that_it_belongs_to(tmp_path: Path) -> None:
    path = tmp_path / "moved.db"
    with closing(connect_to_write(path)) as connection:
        connection.execute("CREATE TABLE a (b)")
        path.unlink()
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO a VALUES (1)")

    assert raised.value.sqlite_errorname == "SQLITE_READONLY_DBMOVED"
    assert with_advice(raised.value).endswith("has to be able to write the file and the directory it is in")
