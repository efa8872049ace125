"""A SQLite file with one writer, whose transactions are shared by many tasks.

Every operation goes into the next transaction, and its caller continues once that is durable. While one commit waits
for the disk, the next batch accumulates, so concurrent operations share the cost of a commit. So do all operations of
a few turns of the event loop: on a fast disk a commit costs more than the rows of an operation, and turns are short
while there is little to do. An operation does not wait for these turns while commits have one operation each.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.ports.audit import Audit
from flowrunner.storage.audit_shares import AuditShares
from flowrunner.storage.batch import MAX_BATCH, BatchLimit, CommitFailures, Pending, Writability, by_kind
from flowrunner.storage.database import Bulk, Call, ConnectionUse, OnDuration, WriteOp, unmeasured
from flowrunner.storage.read_turns import ReadTurns
from flowrunner.storage.sqlite.connections import (
    OLDEST_SQLITE,
    configure_to_read,
    connect,
    connect_to_read,
    connect_to_write,
    is_damage,
    is_database_failure,
    primary_code,
)
from flowrunner.storage.sqlite.files import DatabaseFiles
from flowrunner.storage.sqlite.transaction import SqliteTransaction, finish
from flowrunner.storage.transaction import Transaction

T = TypeVar("T")

READERS: Final = 2
# A read on the event loop may take about 10,000 instructions of SQLite's virtual machine, some tenths of a millisecond:
# a page of a list takes hundreds, an index scan of a thousand rows some thousands. They are counted in steps, because
# SQLite does not reset its count between two uses of a statement.
_INSTRUCTIONS_A_STEP: Final = 1000
LONGEST_READ_STEPS: Final = 10
# Pages that deletions freed are returned to the file system, a few at a time. The driver executes one step of this
# statement, and each step returns one page.
FREE_PAGES: Final = "PRAGMA freelist_count"
GIVE_BACK: Final = "PRAGMA incremental_vacuum(1)"
# Other writes wait meanwhile, and a moved page is written twice: into the log, and from there into the file.
_PAGES_A_COMMIT: Final = 500
_SECONDS_A_COMMIT: Final = 0.01
# The turns of the event loop whose operations are handed to the writer together, and the time after which those of
# longer turns are. The writer also competes with the event loop for the interpreter's lock, once for each row.
TURNS_A_COMMIT: Final = 10
_LONGEST_TURNS_SECONDS: Final = 0.01
# Commits of one operation each, after which operations are handed over at once until some share a commit again.
ALONE_COMMITS: Final = 8
# Advice to the operator about failed commits, by SQLite's primary result code.
_HINTS: Final = {
    sqlite3.SQLITE_BUSY: "another program holds the lock of the database: end it; the server then continues by itself",
    sqlite3.SQLITE_FULL: "make room on the disk of the data directory; the server then continues by itself",
    sqlite3.SQLITE_READONLY: "let the server's user write to the data directory, and start the server again",
}
# Codes of a disk on which nothing, or nothing more, can be written.
_REFUSED: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)

logger = structlog.get_logger()


class SqliteDatabase:
    """Connections to one file, and the threads that use them. Implements `storage.database.Database`.

    Args:
        bulk: A function for each class of operations that runs several of them together, for speed.
        on_commit: Called after each commit with the number of operations, on a thread.
        on_duration: Called with the durations of commits, on the same thread, and of long reads.
    """

    def __init__(
        self,
        path: Path,
        *,
        bulk: dict[type[WriteOp], Bulk] | None = None,
        on_commit: Callable[[int], None] = lambda size: None,
        on_duration: OnDuration = unmeasured,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise FlowRunnerError(f"SQLite {sqlite3.sqlite_version} is too old: this needs {needed} or later")
        self._bulk = bulk or {}
        self._on_commit = on_commit
        self._on_duration = on_duration
        self._long_reads = 0
        self._audit_shares = AuditShares()
        # As many again as are read wait for the threads, which then need not wait for the event loop.
        self._read_turns = ReadTurns(most=2 * READERS, most_of_an_account=2 * READERS - 1)
        self._loop = asyncio.get_running_loop()
        self._writes: queue.SimpleQueue[list[Pending] | None] = queue.SimpleQueue()
        # Operations that are not handed over yet.
        self._submitted: list[Pending] = []
        # The writer counts the last commits that had one operation each.
        self._alone_commits = 0
        self._reads: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._done: deque[Pending] = deque()
        self._wakeup_is_due = False
        self._closed = False
        self._writability = Writability()
        self._commit_failures = CommitFailures()
        self._on_loop = connect_to_read(path)
        # Another program may lock the file for a moment. A reader thread can wait for that, the event loop cannot.
        self._on_loop.execute("PRAGMA busy_timeout = 0")
        self._transaction_on_loop = SqliteTransaction(self._on_loop)
        self._steps_on_loop = 0
        self._on_loop.set_progress_handler(self._is_long_read, _INSTRUCTIONS_A_STEP)
        # Connected here: a thread that cannot connect would end, and what is submitted to it would never be answered.
        writer = connect_to_write(path), DatabaseFiles(path)
        self._threads = [
            threading.Thread(target=self._write_loop, args=writer, name="sqlite-writer", daemon=True),
            *(
                threading.Thread(target=self._read_loop, args=(connect(path),), name=f"sqlite-reader-{n}", daemon=True)
                for n in range(READERS)
            ),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: WriteOp) -> asyncio.Future[Any]:
        return self._send(self._add, work)

    def _add(self, pending: Pending) -> None:
        if not self._submitted:
            if self._alone_commits >= ALONE_COMMITS:
                self._writes.put([pending])
                return
            self._loop.call_soon(self._end_turn, TURNS_A_COMMIT, time.monotonic() + _LONGEST_TURNS_SECONDS)
        self._submitted.append(pending)

    def _end_turn(self, turns: int, until: float) -> None:
        """Hand over what was submitted, unless there are turns left."""
        if turns > 1 and time.monotonic() < until:
            self._loop.call_soon(self._end_turn, turns - 1, until)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Pass the submitted operations to the writer."""
        submitted, self._submitted = self._submitted, []
        self._writes.put(submitted)

    async def write(self, function: Callable[[Transaction], Awaitable[T]], *, audit: Audit = None) -> T:
        result: T = await self.submit(Call(function, audit))
        return result

    async def read(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function`` on the event loop, and again on a reader thread if it takes long.

        A read of a few rows takes microseconds, and passing it to another thread twenty times as long.
        """
        if self._closed:
            raise Unavailable("The database is closed")
        self._steps_on_loop = 0
        try:
            return finish(function(self._transaction_on_loop))
        except Exception as error:
            if not is_database_failure(error):
                raise
            if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY):
                raise _as_unavailable(error) from error
        finally:
            if self._on_loop.in_transaction:
                self._end_transaction_on_loop()
        return await self.read_long(function)

    def _end_transaction_on_loop(self) -> None:
        # The handler that interrupted the read would interrupt the rollback too, and the connection would then keep its
        # snapshot indefinitely.
        self._on_loop.set_progress_handler(None, _INSTRUCTIONS_A_STEP)
        self._on_loop.execute("ROLLBACK")
        self._on_loop.set_progress_handler(self._is_long_read, _INSTRUCTIONS_A_STEP)

    def _is_long_read(self) -> bool:
        self._steps_on_loop += 1
        return self._steps_on_loop > LONGEST_READ_STEPS

    async def read_long(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        began = time.perf_counter()
        self._long_reads += 1
        try:
            async with self._read_turns.hold():
                result: T = await self._send(self._reads.put, Call(function))
        finally:
            self._long_reads -= 1
            self._on_duration("read", time.perf_counter() - began)
        return result

    def _send(self, put: Callable[[Pending], None], work: WriteOp) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(Unavailable("The database is closed"))
        else:
            put(Pending(work, future))
        return future

    async def claim(self, function: Callable[[Transaction], Awaitable[int]]) -> int:
        return await self.write(function)

    def notify(self, execution_ids: Iterable[str]) -> None:
        """Do nothing, because there is no other process."""

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        await asyncio.Event().wait()

    async def give_space_back(self) -> bool:
        return await self.write(_give_back)

    def connections(self) -> ConnectionUse:
        used = min(self._long_reads, READERS)
        return ConnectionUse(most=READERS, open=READERS, used=used, waiting=self._long_reads - used)

    async def check_readable(self) -> None:
        await self.read_long(lambda tx: tx.row("SELECT 1"))

    async def check_writable(self) -> None:
        if not self._threads[0].is_alive():
            raise Unavailable("The database's writer has ended")
        await self._writability.check(lambda: self.submit(Call(_write_nothing)))

    async def close(self) -> None:
        self._closed = True
        self._hand_over()
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._deliver()
        self._on_loop.close()

    # On the writer's thread

    def _write_loop(self, connection: sqlite3.Connection, files: DatabaseFiles) -> None:
        waiting: deque[Pending] = deque()
        limit = BatchLimit()
        goes_on = True
        try:
            while goes_on or waiting:
                goes_on = goes_on and self._gather(waiting)
                if waiting:
                    batch = limit.take(waiting)
                    began = time.perf_counter()
                    self._commit(connection, files, batch)
                    self._on_duration("commit", time.perf_counter() - began)
                    self._alone_commits = self._alone_commits + 1 if len(batch) == 1 else 0
                    self._return(batch)
                    # Otherwise the written data would stay in memory until the next operation, which may be long.
                    del batch
        finally:
            connection.close()
            files.close()

    def _gather(self, waiting: deque[Pending]) -> bool:
        """Collect submitted operations, waiting for one if there is none; return False once the database is closed."""
        # Nothing else takes from the queue, so that `get` waits only while there is nothing to do.
        while not waiting or (len(waiting) < MAX_BATCH and not self._writes.empty()):
            submitted = self._writes.get()
            if submitted is None:
                return False
            waiting += submitted
        return True

    def _commit(self, connection: sqlite3.Connection, files: DatabaseFiles, batch: list[Pending]) -> None:
        try:
            if files.gone is not None:
                raise sqlite3.OperationalError(f"{files.gone} was deleted or replaced")
            self._begin(connection)
            if not self._apply_together(connection, batch):
                connection.execute("ROLLBACK")
                self._begin(connection)
                for pending in batch:
                    _apply_alone(SqliteTransaction(connection, self._audit_shares), pending)
            connection.execute("COMMIT")
            self._audit_shares.commit()
            files.check(connection)
        except Exception as error:
            # Continue after any error: without this thread nothing is ever written again.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if len(batch) > 1 and is_damage(error):
                # Only operations that read the damaged page may fail.
                for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                    self._commit(connection, files, part)
                return
            self._fail(batch, error)
        else:
            self._writability.note(has_failed=False)
            self._on_commit(len(batch))

    def _begin(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        self._audit_shares.begin()

    def _fail(self, batch: list[Pending], error: Exception) -> None:
        for pending in batch:
            pending.error = Unavailable("The database cannot be written at the moment")
        # Damage is of a part, and another program holds the lock for a moment.
        code = primary_code(error)
        self._writability.note(has_failed=True, is_refused=code in _REFUSED and not is_damage(error))
        hint = _HINTS.get(code)
        self._commit_failures.report(
            batch,
            str(error),
            at=time.monotonic(),
            is_damage=is_damage(error),
            **({} if hint is None else {"hint": hint}),
        )

    def _apply_together(self, connection: sqlite3.Connection, batch: list[Pending]) -> bool:
        """Run all operations and return whether all succeeded; otherwise an unknown part of them is done."""
        try:
            for kind, works in by_kind(batch, self._bulk).items():
                finish(self._bulk[kind](SqliteTransaction(connection, self._audit_shares), works))
        except Exception as error:
            if is_database_failure(error):
                raise
            return False
        for pending in batch:
            if type(pending.work) not in self._bulk:
                _apply_alone(SqliteTransaction(connection, self._audit_shares), pending)
        return True

    # On the readers' threads

    def _read_loop(self, connection: sqlite3.Connection) -> None:
        is_configured = False
        try:
            while (pending := self._reads.get()) is not None:
                try:
                    # Reads the whole schema, which takes more than a millisecond: many a process never reads here.
                    if not is_configured:
                        configure_to_read(connection)
                        is_configured = True
                    pending.result = finish(pending.work.run(SqliteTransaction(connection)))
                except Exception as error:
                    pending.error = _as_unavailable(error)
                self._return([pending])
                # As in the writer's loop.
                del pending
        finally:
            connection.close()

    def _return(self, batch: Sequence[Pending]) -> None:
        self._done.extend(batch)
        # One wake-up of the event loop delivers everything that is done by then.
        if not self._wakeup_is_due:
            self._wakeup_is_due = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    # On the event loop

    def _deliver(self) -> None:
        self._wakeup_is_due = False
        done = self._done
        while done:
            done.popleft().resolve()


async def _write_nothing(tx: Transaction) -> None:
    """Write a page without changing anything."""
    version = await tx.row("PRAGMA user_version") or (0,)
    await tx.run(f"PRAGMA user_version = {version[0]:d}")


async def _give_back(tx: Transaction) -> bool:
    """Shorten the file a little and return whether there is more to do."""
    free = (await tx.row(FREE_PAGES) or (0,))[0]
    until = time.monotonic() + _SECONDS_A_COMMIT
    for done in range(1, min(free, _PAGES_A_COMMIT) + 1):
        await tx.row(GIVE_BACK)
        if time.monotonic() > until:
            return bool(free > done)
    return bool(free > _PAGES_A_COMMIT)


def _apply_alone(tx: SqliteTransaction, pending: Pending) -> None:
    pending.result, pending.error = None, None
    tx.connection.execute("SAVEPOINT work")
    try:
        pending.result = finish(pending.work.run(tx))
    except Exception as error:
        if is_database_failure(error):
            raise
        pending.error = error
        tx.connection.execute("ROLLBACK TO work")
    tx.connection.execute("RELEASE work")


def _as_unavailable(error: Exception) -> Exception:
    """Return Unavailable if the database is unavailable or damaged, or else the error itself."""
    if not is_database_failure(error):
        return error
    logger.error("storage.read_failed", error=str(error))
    return Unavailable("The database cannot be read at the moment")
