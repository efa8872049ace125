"""One SQLite file with one writer, whose transactions many tasks share.

Everything that is to be written goes into the next transaction; its awaiter is released when that
is durable. While one commit waits for the disk the next batch gathers, so the cost of a commit is
shared by whatever is in flight.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.ports import Audit
from flowrunner.storage.batch import MAX_BATCH, BatchLimit, Pending, Writability, by_kind, executions_of
from flowrunner.storage.database import Bulk, Call, WriteOp
from flowrunner.storage.sqlite.files import DatabaseFiles
from flowrunner.storage.transaction import NO_VALUES, Refused, Row, Sql, Statement, Transaction, Values

T = TypeVar("T")

READERS: Final = 2
# A read on the event loop may take about ten thousand instructions of SQLite's machine, some tenths
# of a millisecond: a page of a list takes hundreds, an index scan of a thousand rows some thousands.
# They are counted in turns, because SQLite goes on counting from one use of a statement to the next.
_INSTRUCTIONS_A_TURN: Final = 1000
LONGEST_READ_TURNS: Final = 10
# Pages that deletions freed go back to the file system, a few at a time. The driver takes one step of
# this statement, and each step gives back one page.
FREE_PAGES: Final = "PRAGMA freelist_count"
GIVE_BACK: Final = "PRAGMA incremental_vacuum(1)"
_PAGES_A_COMMIT: Final = 2000
OLDEST_SQLITE: Final = (3, 38, 0)
_UNREADABLE: Final = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
)

logger = structlog.get_logger()


class SqliteTransaction:
    """Fills `storage.transaction.Transaction`; none of its coroutines ever waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        with _refusals():
            return self.connection.execute(_text(statement), values).rowcount

    async def run_many(self, statement: Statement, values: Sequence[Values]) -> int:
        with _refusals():
            return self.connection.executemany(_text(statement), values).rowcount

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        with _refusals():
            row: Row | None = self.connection.execute(_text(statement), values).fetchone()
        return row

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        with _refusals():
            return self.connection.execute(_text(statement), values).fetchall()

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        self.connection.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO attempt")
            raise
        finally:
            self.connection.execute("RELEASE attempt")

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")

    def announce(self, execution_id: str) -> None:
        """There is no other process."""


def _text(statement: Sql) -> str:
    return statement.sqlite if isinstance(statement, Statement) else statement


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise Refused(str(error)) from error


def finish(awaitable: Awaitable[T]) -> T:
    """The result of what awaits nothing but a `SqliteTransaction`, here and now."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("something other than the database was awaited in its transaction")


class SqliteDatabase:
    """Fills `storage.database.Database`: connections to one file, and the threads they live on.

    Args:
        bulk: How work of a class is done together with its like, for speed.
        on_commit: Told, after each transaction, how many pieces of work it held.
    """

    def __init__(
        self,
        path: Path,
        *,
        bulk: dict[type[WriteOp], Bulk] | None = None,
        on_commit: Callable[[int], None] = lambda size: None,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise FlowRunnerError(f"SQLite {sqlite3.sqlite_version} is too old: this needs {needed} or later")
        self._path = path
        self._bulk = bulk or {}
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._writes: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Pending | None] = queue.SimpleQueue()
        self._done: deque[Pending] = deque()
        self._wakeup_is_due = False
        self._closed = False
        self._writability = Writability()
        self._at_hand = _connect_to_read(path)
        # Another program may hold the file for a moment; a thread can wait for that, this one not.
        self._at_hand.execute("PRAGMA busy_timeout = 0")
        self._transaction_at_hand = SqliteTransaction(self._at_hand)
        self._turns_at_hand = 0
        self._at_hand.set_progress_handler(self._is_long_read, _INSTRUCTIONS_A_TURN)
        self._threads = [
            threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True),
            *(threading.Thread(target=self._read_loop, name=f"sqlite-reader-{n}", daemon=True) for n in range(READERS)),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: WriteOp) -> asyncio.Future[Any]:
        """Do ``work`` in the next transaction; done when that is durable.

        Raises:
            Unavailable: The transaction could not be committed; nothing of it happened.
        """
        return self._send(self._writes, work)

    async def write(self, function: Callable[[Transaction], Awaitable[T]], *, audit: Audit = None) -> T:
        """Call ``function`` in the next transaction. What it raises, it alone is undone by.

        Args:
            audit: What goes into the audit log in the same transaction, unless it raises.
        """
        result: T = await self.submit(Call(function, audit))
        return result

    async def read(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function`` on a read-only connection, wherever that is quicker.

        A read of a few rows takes microseconds, and handing it to another thread twenty times
        that. So it is begun right here; one that turns out to be long is interrupted, and begun
        again on a reader's thread. ``function`` must not mind being called twice.
        """
        self._turns_at_hand = 0
        try:
            return finish(function(self._transaction_at_hand))
        except Exception as error:
            if not _is_trouble(error):
                raise
            if getattr(error, "sqlite_errorcode", None) not in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY):
                raise _as_unavailable(error) from error
        finally:
            if self._at_hand.in_transaction:
                self._end_transaction_at_hand()
        return await self.read_long(function)

    def _end_transaction_at_hand(self) -> None:
        # What interrupted the read would interrupt its end too, and the connection would then see
        # the database as it is now for ever.
        self._at_hand.set_progress_handler(None, _INSTRUCTIONS_A_TURN)
        self._at_hand.execute("ROLLBACK")
        self._at_hand.set_progress_handler(self._is_long_read, _INSTRUCTIONS_A_TURN)

    def _is_long_read(self) -> bool:
        self._turns_at_hand += 1
        return self._turns_at_hand > LONGEST_READ_TURNS

    async def read_long(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``function`` on a read-only connection that lives on another thread."""
        result: T = await self._send(self._reads, Call(function))
        return result

    def _send(self, to: queue.SimpleQueue[Pending | None], work: WriteOp) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(Unavailable("The database is closed"))
        else:
            to.put(Pending(work, future))
        return future

    async def claim(self, function: Callable[[Transaction], Awaitable[int]]) -> int:
        return await self.write(function)

    def notify(self, execution_ids: Iterable[str]) -> None:
        """There is no other process."""

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        await asyncio.Event().wait()

    async def give_space_back(self) -> bool:
        return await self.write(_give_back)

    async def check_readable(self) -> None:
        await self.read_long(_read_nothing)

    async def check_writable(self) -> None:
        """Find out whether writing works: by the last commit, or by one more if that says too little.

        Raises:
            Unavailable: It does not.
        """
        if not self._threads[0].is_alive():
            raise Unavailable("The database's writer has ended")
        await self._writability.check(lambda: self.submit(Call(_write_nothing)))

    async def close(self) -> None:
        """Commit what was submitted, then end the threads."""
        self._closed = True
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._deliver()
        self._at_hand.close()

    # On the writer's thread

    def _write_loop(self) -> None:
        connection = _connect(self._path, cache_mib=8)
        files = DatabaseFiles(self._path)
        waiting: deque[Pending] = deque()
        limit = BatchLimit()
        goes_on = True
        try:
            while goes_on or waiting:
                goes_on = goes_on and self._gather(waiting)
                if waiting:
                    batch = limit.take(waiting)
                    self._commit(connection, files, batch)
                    self._post(batch)
                    # Until more comes, which may be long: it would stay in memory with all that was written.
                    del batch
        finally:
            connection.close()

    def _gather(self, waiting: deque[Pending]) -> bool:
        """Take over what was submitted, and wait for some if nothing is waiting; False if nothing comes any more."""
        with contextlib.suppress(queue.Empty):
            while len(waiting) < MAX_BATCH:
                pending = self._writes.get(block=not waiting)
                if pending is None:
                    return False
                waiting.append(pending)
        return True

    def _commit(self, connection: sqlite3.Connection, files: DatabaseFiles, batch: list[Pending]) -> None:
        try:
            if files.gone is not None:
                raise sqlite3.OperationalError(f"{files.gone} was deleted or replaced")
            connection.execute("BEGIN IMMEDIATE")
            if not self._apply_together(connection, batch):
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                for pending in batch:
                    _apply_alone(connection, pending)
            connection.execute("COMMIT")
            files.check(connection)
        except Exception as error:
            # Whatever it is, this thread must live on: without it nothing is ever written again.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if len(batch) > 1 and _is_damage(error):
                # Only what reads the damaged page must fail.
                for part in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                    self._commit(connection, files, part)
                return
            self._fail(batch, error)
        else:
            self._writability.note(has_failed=False)
        self._on_commit(len(batch))

    def _fail(self, batch: list[Pending], error: Exception) -> None:
        for pending in batch:
            pending.error = Unavailable("The database cannot be written at the moment")
        self._writability.note(has_failed=True)
        logger.error("storage.commit_failed", error=str(error), size=len(batch), executions=executions_of(batch))

    def _apply_together(self, connection: sqlite3.Connection, batch: list[Pending]) -> bool:
        """Whether all went well; if not, the transaction holds an unknown part of it."""
        try:
            for kind, works in by_kind(batch, self._bulk).items():
                finish(self._bulk[kind](SqliteTransaction(connection), works))
        except Exception as error:
            if _is_trouble(error):
                raise
            return False
        for pending in batch:
            if type(pending.work) not in self._bulk:
                _apply_alone(connection, pending)
        return True

    # On the readers' threads

    def _read_loop(self) -> None:
        connection = _connect_to_read(self._path)
        try:
            while (pending := self._reads.get()) is not None:
                try:
                    pending.result = finish(pending.work.run(SqliteTransaction(connection)))
                except Exception as error:
                    pending.error = _as_unavailable(error)
                self._post([pending])
                # As in the writer's loop.
                del pending
        finally:
            connection.close()

    def _post(self, batch: Sequence[Pending]) -> None:
        self._done.extend(batch)
        # One wake-up carries all that is done by the time the loop gets to it.
        if not self._wakeup_is_due:
            self._wakeup_is_due = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    # On the event loop

    def _deliver(self) -> None:
        self._wakeup_is_due = False
        done = self._done
        while done:
            done.popleft().settle()


def _is_trouble(error: BaseException) -> bool:
    """Whether the database is in trouble, rather than the work wrong."""
    return _is_damage(error) or isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError)


def _is_damage(error: BaseException) -> bool:
    """Tell whether a part of the file cannot be read; others can."""
    # The driver has no class of its own for a file that is damaged.
    return type(error) is sqlite3.DatabaseError or getattr(error, "sqlite_errorcode", None) in _UNREADABLE


async def _read_nothing(tx: Transaction) -> None:
    await tx.row("SELECT 1")


async def _write_nothing(tx: Transaction) -> None:
    """Change nothing, but have a page written all the same."""
    version = await tx.row("PRAGMA user_version") or (0,)
    await tx.run(f"PRAGMA user_version = {version[0]:d}")


async def _give_back(tx: Transaction) -> bool:
    """Shorten the file a little; whether there is more to do."""
    free = (await tx.row(FREE_PAGES) or (0,))[0]
    for _ in range(min(free, _PAGES_A_COMMIT)):
        await tx.row(GIVE_BACK)
    return bool(free > _PAGES_A_COMMIT)


def _apply_alone(connection: sqlite3.Connection, pending: Pending) -> None:
    pending.result, pending.error = None, None
    connection.execute("SAVEPOINT work")
    try:
        pending.result = finish(pending.work.run(SqliteTransaction(connection)))
    except Exception as error:
        if _is_trouble(error):
            raise
        pending.error = error
        connection.execute("ROLLBACK TO work")
    connection.execute("RELEASE work")


def _as_unavailable(error: Exception) -> Exception:
    """What an error means to the one who waits: trouble of the database, or else the error itself."""
    if not _is_trouble(error):
        return error
    logger.error("storage.read_failed", error=str(error))
    return Unavailable("The database cannot be read at the moment")


def _connect_to_read(path: Path) -> sqlite3.Connection:
    connection = _connect(path, cache_mib=4)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path, *, cache_mib: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # What a burst of writes made the log grow to is given back.
    connection.execute("PRAGMA journal_size_limit = 67108864")
    # Small, because the system keeps the file's pages anyway; these would be a second copy.
    connection.execute(f"PRAGMA cache_size = -{cache_mib * 1024:d}")
    return connection
