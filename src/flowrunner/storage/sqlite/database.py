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
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.ports import Audit
from flowrunner.storage.sqlite.audit_chain import add_to_chain

T = TypeVar("T")

MAX_BATCH: Final = 1000
READERS: Final = 2
# A read on the event loop may take about ten thousand instructions of SQLite's machine, some tenths
# of a millisecond: a page of a list takes hundreds, an index scan of a thousand rows some thousands.
# They are counted in turns, because SQLite goes on counting from one use of a statement to the next.
_INSTRUCTIONS_A_TURN: Final = 1000
LONGEST_READ_TURNS: Final = 10
# What the last commit told about writing holds for so long: if it went well, and if it failed.
_TRUST_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
OLDEST_SQLITE: Final = (3, 38, 0)

logger = structlog.get_logger()


class Work(Protocol):
    """Something to be done in the writer's transaction."""

    def run(self, connection: sqlite3.Connection) -> Any: ...


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """Any function of the connection. What it raises undoes it, and it alone.

    Attributes:
        audit: What goes into the audit log in the same transaction.
    """

    function: Callable[[sqlite3.Connection], T]
    audit: Audit = None

    def run(self, connection: sqlite3.Connection) -> T:
        result = self.function(connection)
        entry = self.audit(result) if callable(self.audit) else self.audit
        if entry is not None:
            add_to_chain(connection, [entry])
        return result


# Does several pieces of work of one kind at once; raises to have each done by itself instead.
Bulk = Callable[[sqlite3.Connection, Sequence[Any]], None]


class Database:
    """Connections to one file, and the threads they live on.

    Args:
        bulk: How work of a class is done together with its like, for speed.
        on_commit: Told, after each transaction, how many pieces of work it held.
    """

    def __init__(
        self,
        path: Path,
        *,
        bulk: dict[type[Work], Bulk] | None = None,
        on_commit: Callable[[int], None] = lambda size: None,
    ) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            needed = ".".join(map(str, OLDEST_SQLITE))
            raise FlowRunnerError(f"SQLite {sqlite3.sqlite_version} is too old: this needs {needed} or later")
        self._path = path
        self._bulk = bulk or {}
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._writes: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Pending | None] = queue.SimpleQueue()
        self._done: deque[_Pending] = deque()
        self._wakeup_is_due = False
        self._closed = False
        # When the last commit ended, and whether it failed.
        self._last_commit = (time.monotonic(), False)
        self._trial: asyncio.Future[None] | None = None
        self._at_hand = _connect_to_read(path)
        # Another program may hold the file for a moment; a thread can wait for that, this one not.
        self._at_hand.execute("PRAGMA busy_timeout = 0")
        self._turns_at_hand = 0
        self._at_hand.set_progress_handler(self._is_long_read, _INSTRUCTIONS_A_TURN)
        self._threads = [
            threading.Thread(target=self._write_loop, name="sqlite-writer", daemon=True),
            *(threading.Thread(target=self._read_loop, name=f"sqlite-reader-{n}", daemon=True) for n in range(READERS)),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> asyncio.Future[Any]:
        """Do ``work`` in the next transaction; done when that is durable.

        Raises:
            Unavailable: The transaction could not be committed; nothing of it happened.
        """
        return self._send(self._writes, work)

    async def write(self, function: Callable[[sqlite3.Connection], T], *, audit: Audit = None) -> T:
        """Call ``function`` in the next transaction. What it raises, it alone is undone by.

        Args:
            audit: What goes into the audit log in the same transaction, unless it raises.
        """
        result: T = await self.submit(Call(function, audit))
        return result

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``function`` on a read-only connection, wherever that is quicker.

        A read of a few rows takes microseconds, and handing it to another thread twenty times
        that. So it is begun right here; one that turns out to be long is interrupted, and begun
        again on a reader's thread. ``function`` must not mind being called twice.
        """
        self._turns_at_hand = 0
        try:
            return function(self._at_hand)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY):
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

    async def read_long(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``function`` on a read-only connection that lives on another thread."""
        result: T = await self._send(self._reads, Call(function))
        return result

    def _send(self, to: "queue.SimpleQueue[_Pending | None]", work: Work) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(Unavailable("The database is closed"))
        else:
            to.put(_Pending(work, future))
        return future

    async def check_writable(self) -> None:
        """Find out whether writing works: by the last commit, or by one more if that says too little.

        Raises:
            Unavailable: It does not.
        """
        if not self._threads[0].is_alive():
            raise Unavailable("The database's writer has ended")
        ended_at, has_failed = self._last_commit
        if time.monotonic() - ended_at < (_RETRY_SECONDS if has_failed else _TRUST_SECONDS):
            if has_failed:
                raise Unavailable("The last commit failed")
            return
        if self._trial is None or self._trial.done():
            self._trial = self.submit(Call(_write_nothing))
        # One trial for all who ask meanwhile: it must outlive the one who is tired of waiting.
        await asyncio.shield(self._trial)

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
        try:
            while (batch := self._next_batch()) is not None:
                self._commit(connection, batch)
                self._post(batch)
        finally:
            connection.close()

    def _next_batch(self) -> "list[_Pending] | None":
        first = self._writes.get()
        if first is None:
            return None
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                pending = self._writes.get_nowait()
                if pending is None:
                    # The end was asked for: keep the mark for the next turn.
                    self._writes.put(None)
                    break
                batch.append(pending)
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: "list[_Pending]") -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not self._apply_together(connection, batch):
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                for pending in batch:
                    _apply_alone(connection, pending)
            connection.execute("COMMIT")
        except Exception as error:
            # Whatever it is, this thread must live on: without it nothing is ever written again.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for pending in batch:
                pending.error = Unavailable("The database cannot be written at the moment")
            self._last_commit = (time.monotonic(), True)
            logger.error("storage.commit_failed", error=str(error), size=len(batch))
        else:
            self._last_commit = (time.monotonic(), False)
        self._on_commit(len(batch))

    def _apply_together(self, connection: sqlite3.Connection, batch: "list[_Pending]") -> bool:
        """Whether all went well; if not, the transaction holds an unknown part of it."""
        groups: dict[type[Work], list[Work]] = {}
        for pending in batch:
            kind = type(pending.work)
            if kind in self._bulk:
                groups.setdefault(kind, []).append(pending.work)
        try:
            for kind, works in groups.items():
                self._bulk[kind](connection, works)
        except _SYSTEM_ERRORS:
            raise
        except Exception:
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
                    pending.result = pending.work.run(connection)
                except Exception as error:
                    pending.error = _as_unavailable(error)
                self._post([pending])
        finally:
            connection.close()

    def _post(self, batch: "Sequence[_Pending]") -> None:
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
            pending = done.popleft()
            if pending.future.done():
                continue
            if pending.error is not None:
                pending.future.set_exception(pending.error)
            else:
                pending.future.set_result(pending.result)


@dataclass(slots=True)
class _Pending:
    work: Work
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


# The database is in trouble, rather than the work wrong.
_SYSTEM_ERRORS: Final = (sqlite3.OperationalError, sqlite3.InternalError, MemoryError)


def _write_nothing(connection: sqlite3.Connection) -> None:
    """Change nothing, but have a page written all the same."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version:d}")


def _apply_alone(connection: sqlite3.Connection, pending: _Pending) -> None:
    pending.result, pending.error = None, None
    connection.execute("SAVEPOINT work")
    try:
        pending.result = pending.work.run(connection)
    except _SYSTEM_ERRORS:
        raise
    except Exception as error:
        pending.error = error
        connection.execute("ROLLBACK TO work")
    connection.execute("RELEASE work")


def _as_unavailable(error: Exception) -> Exception:
    if isinstance(error, sqlite3.OperationalError):
        logger.error("storage.read_failed", error=str(error))
        return Unavailable("The database cannot be read at the moment")
    return error


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
