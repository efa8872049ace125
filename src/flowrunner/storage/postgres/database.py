"""A PostgreSQL database: one connection that writes, with transactions shared by many tasks, and several that read.

A writer holds a lock from the start of its transaction to the end. So the writers of several processes take turns, and
each sees at the start whether another process has taken over. Appends to running executions are written by several
processes at the same time, in statements that check the ownership of each execution.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, ClassVar, Final, TypeVar

import asyncpg
import structlog

from flowrunner.domain.errors import Unavailable
from flowrunner.ports.audit import Audit
from flowrunner.storage.audit_shares import AuditShares
from flowrunner.storage.batch import MAX_BATCH_BYTES, BatchLimit, CommitFailures, Pending, Writability, by_kind
from flowrunner.storage.database import (
    Bulk,
    Call,
    ConcurrentAppends,
    ConnectionUse,
    OnDuration,
    Overtaken,
    WriteOp,
    unmeasured,
)
from flowrunner.storage.postgres.connections import (
    DRIVER_ERRORS,
    as_unavailable,
    close,
    hint_for_log,
    is_damage,
    is_database_failure,
    is_fault_of_a_part,
    is_write_refused,
    lift_limit_of_transactions,
    options,
    text_for_log,
)
from flowrunner.storage.postgres.notifications import NotificationChannel
from flowrunner.storage.postgres.transaction import PostgresTransaction
from flowrunner.storage.read_turns import ReadTurns
from flowrunner.storage.repeated_errors import RepeatedErrors, as_field
from flowrunner.storage.transaction import Transaction

T = TypeVar("T")

# In one round trip, because no other process can write meanwhile.
BEGIN: Final = "BEGIN; SELECT flowrunner_lock_exclusive()"
# Several statements in one string take no parameters, and %d accepts only numbers.
BEGIN_AT: Final = "BEGIN; SELECT 1 FROM flowrunner_lock_exclusive() AS engine (epoch) WHERE epoch = %d"
# With the answer whether the transaction can write, in one round trip.
LIMIT_LOCK_WAIT: Final = "SELECT current_setting('transaction_read_only'), set_config('lock_timeout', :limit, true)"
# The locks that appends take.
LOCK_FOR_APPENDS: Final = "LOCK TABLE executions, events IN ROW EXCLUSIVE MODE"
# Autovacuum locks a table to truncate it, and gives way within some 20 ms to a session that waits for the lock.
LOCK_SECONDS: Final = 0.3
# A process that is suspended in the middle of a transaction would block all other writers.
STALLED_SECONDS: Final = 2.0
ACQUIRE_SECONDS: Final = 5.0
_NO_EPOCH: Final = -1

logger = structlog.get_logger()


class PostgresDatabase:
    """A connected database. Implements `storage.database.Database`. Connects on demand, and again after a failure.

    Args:
        bulk: A function for each class of operations that runs several of them together, for speed.
        concurrent: A function for each class of operations that can run several of them in one statement, outside a
            transaction.
        on_commit: Called after each commit with the number of operations.
        on_duration: Called with the durations of commits and reads.
        readers: The maximum number of connections for reading.
        statement_seconds: The maximum duration of a statement.
        is_standby: Write nothing until this process has claimed the database.
    """

    def __init__(
        self,
        url: str,
        *,
        bulk: dict[type[WriteOp], Bulk] | None = None,
        concurrent: dict[type[WriteOp], ConcurrentAppends] | None = None,
        on_commit: Callable[[int], None] = lambda size: None,
        on_duration: OnDuration = unmeasured,
        readers: int = 10,
        statement_seconds: float = 30.0,
        is_standby: bool = False,
    ) -> None:
        self._url = url
        self._bulk = bulk or {}
        self._concurrent = concurrent or {}
        self._on_commit = on_commit
        self._on_duration = on_duration
        self._most_readers = readers
        self._reads = 0
        self._reads_with_connection = 0
        self._audit_shares = AuditShares()
        # The server's own reads need connections, too, and so do other accounts.
        self._read_turns = ReadTurns(
            most=max(1, readers - 1), most_of_an_account=max(1, readers - 3), seconds=ACQUIRE_SECONDS
        )
        self._statement_seconds = statement_seconds
        # The epoch of the last claim by this process; None before the first.
        self._epoch: int | None = _NO_EPOCH if is_standby else None
        self._pool = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=readers,
            init=lift_limit_of_transactions,
            **options(statement_seconds=statement_seconds, default_transaction_read_only="on"),
        )
        self._pool_is_open: asyncio.Future[Any] | None = None
        self._notifications = NotificationChannel(url, self._reader)
        self._writer: Any = None
        self._waiting: deque[Pending] = deque()
        self._has_work = asyncio.Event()
        self._closed = False
        self._limit = BatchLimit()
        self._writability = Writability()
        self._commit_failures = CommitFailures()
        self._failed_reads = RepeatedErrors()
        self._writing = asyncio.create_task(self._write_loop(), name="postgres-writer")

    def submit(self, work: WriteOp) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_exception(Unavailable("The database is closed"))
        else:
            self._waiting.append(Pending(work, future))
            self._has_work.set()
        return future

    async def write(self, function: Callable[[Transaction], Awaitable[T]], *, audit: Audit = None) -> T:
        result: T = await self.submit(Call(function, audit))
        return result

    async def claim(self, function: Callable[[Transaction], Awaitable[int]]) -> int:
        epoch: int = await self.submit(_Claim(function))
        return epoch

    async def read(self, function: Callable[[Transaction], Awaitable[T]]) -> T:
        if self._closed:
            raise Unavailable("The database is closed")
        began = time.perf_counter()
        self._reads += 1
        try:
            async with self._read_turns.hold(), self._reader() as connection:
                self._reads_with_connection += 1
                try:
                    return await function(PostgresTransaction(connection))
                finally:
                    self._reads_with_connection -= 1
        except Exception as error:
            if not is_database_failure(error):
                raise
            text = text_for_log(error)
            repeats = self._failed_reads.count(text, at=time.monotonic())
            if repeats is not None:
                logger.error("storage.read_failed", error=text, **as_field(repeats), **hint_for_log(error))
            raise as_unavailable(error) from error
        finally:
            self._reads -= 1
            self._on_duration("read", time.perf_counter() - began)

    read_long = read

    @contextlib.asynccontextmanager
    async def _reader(self) -> "AsyncIterator[asyncpg.Connection[Any]]":
        if self._pool_is_open is None:
            # This opens no connection yet.
            self._pool_is_open = asyncio.ensure_future(_open(self._pool))
        await asyncio.shield(self._pool_is_open)
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                # It does not answer in time, and closing it properly would take further seconds. If the connection was
                # lost, the pool has already taken it back; that error must not replace the cancellation.
                with contextlib.suppress(asyncpg.InterfaceError):
                    connection.terminate()
                raise

    def notify(self, execution_ids: Iterable[str]) -> None:
        self._notifications.notify(execution_ids)

    async def listen(
        self, *, name: Callable[[], str], on_notification: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        await self._notifications.listen(name=name, on_notification=on_notification, on_gap=on_gap)

    async def give_space_back(self) -> bool:
        # Autovacuum does this.
        return False

    def connections(self) -> ConnectionUse:
        is_open, most = self._pool_is_open is not None and self._pool_is_open.done(), self._most_readers
        size, idle = (self._pool.get_size(), self._pool.get_idle_size()) if is_open else (0, 0)
        # Notifications use connections, too, and are no reads.
        waiting = self._reads - self._reads_with_connection
        return ConnectionUse(most=most, open=size, used=size - idle, waiting=waiting)

    async def check_readable(self) -> None:
        await self.read(lambda tx: tx.row("SELECT 1"))

    async def check_writable(self) -> None:
        if self._writing.done():
            raise Unavailable("The database's writer has ended")
        await self._writability.check(lambda: self.submit(_WriteTrial(_check_appends)))

    async def close(self) -> None:
        self._closed = True
        self._has_work.set()
        await self._writing
        await self._drop_writer()
        await self._notifications.close()
        if self._pool_is_open is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), ACQUIRE_SECONDS)
        except DRIVER_ERRORS:
            self._pool.terminate()

    # The writer

    async def _write_loop(self) -> None:
        while self._waiting or not self._closed:
            if not self._waiting:
                self._has_work.clear()
                await self._has_work.wait()
                continue
            batch = self._limit.take(self._waiting)
            began = time.perf_counter()
            try:
                await self._commit(batch)
            except Exception as error:
                # Continue after any error: without this task nothing is ever written again.
                await self._roll_back()
                self._split_or_fail([pending for pending in batch if not pending.is_resolved], error)
            else:
                self._on_duration("commit", time.perf_counter() - began)
                self._limit.raise_again()
                # The others do not show that appends are possible.
                if any(type(pending.work) is _WriteTrial or type(pending.work) in self._bulk for pending in batch):
                    self._writability.note(has_failed=False)
            # Otherwise the written data would stay in memory until the next operation, which may be long.
            del batch

    async def _commit(self, batch: list[Pending]) -> None:
        rest = await self._commit_concurrent(batch)
        if rest:
            await self._commit_exclusive(rest)

    def _split_or_fail(self, batch: list[Pending], error: Exception) -> None:
        """Retry the operations in smaller batches if one of them may be the cause; otherwise fail all of them."""
        self._limit.lower(batch)
        if len(batch) > 1 and is_fault_of_a_part(error):
            logger.warning("storage.batch_split", error=text_for_log(error), size=len(batch))
            self._waiting.extendleft(reversed(batch))
        else:
            self._fail(batch, error)

    async def _commit_concurrent(self, batch: list[Pending]) -> list[Pending]:
        """Run the operations that need no transaction, and return the others in order.

        No operation overtakes one that was submitted before it, so that each sees all earlier writes.
        """
        if self._epoch == _NO_EPOCH:
            return batch
        first = list(itertools.takewhile(lambda pending: self._is_concurrent(pending.work), batch))
        for kind, works in by_kind(first, self._concurrent).items():
            tx = PostgresTransaction(await self._writing_connection())
            try:
                done = {id(work) for work in await self._concurrent[kind](tx, works)}
            except Exception as error:
                if is_database_failure(error):
                    raise
                # Nothing was written. One of them is wrong; running each alone shows which.
                continue
            self._resolve([pending for pending in batch if id(pending.work) in done], tx)
            batch = [pending for pending in batch if id(pending.work) not in done]
        return batch

    def _is_concurrent(self, work: WriteOp) -> bool:
        return work.allows_concurrent_writers and type(work) in self._concurrent

    async def _commit_exclusive(self, batch: list[Pending]) -> None:
        """Run the operations in a transaction that excludes all other writers. Raises: Overtaken."""
        connection = await self._writing_connection()
        tx = PostgresTransaction(connection, self._audit_shares)
        await self._begin(connection, batch)
        if not await self._apply_together(tx, batch):
            await connection.execute("ROLLBACK")
            tx = PostgresTransaction(connection, self._audit_shares)
            await self._begin(connection, batch)
            for pending in batch:
                await _apply_alone(tx, pending)
        if await connection.execute("COMMIT") != "COMMIT":
            raise Unavailable("The transaction was rolled back by the server")
        self._audit_shares.commit()
        if isinstance(batch[0].work, _Claim) and batch[0].error is None:
            self._epoch = batch[0].result
            self._notifications.notify_gap()
        self._resolve(batch, tx)

    def _resolve(self, done: list[Pending], tx: PostgresTransaction) -> None:
        if not done:
            return
        for pending in done:
            pending.resolve()
        self.notify(tx.announced)
        self._on_commit(len(done))

    def _fail(self, batch: list[Pending], error: Exception) -> None:
        is_refused = is_write_refused(error)
        if not isinstance(error, Overtaken):
            text, now = text_for_log(error), time.monotonic()
            self._commit_failures.report(batch, text, at=now, is_damage=is_damage(error), **hint_for_log(error))
            error = Unavailable("The database cannot be written at the moment")
        for pending in batch:
            pending.error = error
            pending.resolve()
        self._writability.note(has_failed=True, is_refused=is_refused)

    async def _begin(self, connection: "asyncpg.Connection[Any]", batch: list[Pending]) -> None:
        """Begin a transaction that excludes all other writers. Raises: Overtaken."""
        begin = BEGIN
        if self._epoch is not None and not isinstance(batch[0].work, _Claim):
            begin = BEGIN_AT % self._epoch
        try:
            begun = await connection.execute(begin)
        except asyncpg.PostgresError as error:
            # Another process writes for too long; the operations are not the cause.
            raise Unavailable(f"Cannot get the lock for writing: {error}") from error
        if begun != "SELECT 1":
            raise Overtaken("Another server is active on this database")
        self._audit_shares.begin()

    async def _apply_together(self, tx: PostgresTransaction, batch: list[Pending]) -> bool:
        """Run all operations and return whether all succeeded; otherwise it is unknown which ones did."""
        try:
            for kind, works in by_kind(batch, self._bulk).items():
                await self._bulk[kind](tx, works)
        except Exception as error:
            if is_database_failure(error):
                raise
            return False
        for pending in batch:
            if type(pending.work) not in self._bulk:
                await _apply_alone(tx, pending, is_shared=len(batch) > 1)
        return True

    async def _writing_connection(self) -> "asyncpg.Connection[Any]":
        if self._writer is None or self._writer.is_closed():
            self._writer = await asyncpg.connect(
                self._url,
                **options(
                    statement_seconds=self._statement_seconds,
                    idle_in_transaction_session_timeout=f"{STALLED_SECONDS * 1000:.0f}",
                    # Statements with arrays are planned once: every plan looks up each of the ids.
                    plan_cache_mode="force_generic_plan",
                ),
            )
            await lift_limit_of_transactions(self._writer)
        return self._writer

    async def _roll_back(self) -> None:
        if self._writer is None:
            return
        try:
            await self._writer.execute("ROLLBACK", timeout=ACQUIRE_SECONDS)
        except Exception:
            # Its state is unknown, so the next transaction begins on a new connection.
            await self._drop_writer()

    async def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await close(writer)


class _Claim(Call[int]):
    """A claim of the database. It runs in a transaction of its own, and succeeds whichever process owned it before."""

    # Too large to share a transaction.
    size: ClassVar[int] = MAX_BATCH_BYTES + 1


async def _open(pool: Any) -> None:
    await pool


class _WriteTrial(Call[None]):
    """A check whether executions can be written."""

    # It may wait for a lock, and its limit of that wait holds to the end of the transaction.
    size: ClassVar[int] = MAX_BATCH_BYTES + 1


async def _check_appends(tx: Transaction) -> None:
    """Raise Unavailable if the transaction cannot write executions, although it can begin."""
    row = await tx.row(LIMIT_LOCK_WAIT, {"limit": f"{LOCK_SECONDS * 1000:.0f}ms"})
    if row is not None and row[0] == "on":
        raise Unavailable("The database accepts no writes: default_transaction_read_only=on")
    try:
        await tx.row(LOCK_FOR_APPENDS)
    except asyncpg.LockNotAvailableError:
        raise Unavailable("Another session keeps the table of executions or events locked") from None


async def _apply_alone(tx: PostgresTransaction, pending: Pending, *, is_shared: bool = True) -> None:
    """Run one operation in the transaction.

    Args:
        is_shared: The transaction holds other operations, which must not fail with this one.
    """
    pending.result, pending.error = None, None
    if is_shared:
        await tx.connection.execute("SAVEPOINT work")
    try:
        pending.result = await pending.work.run(tx)
    except Exception as error:
        if is_database_failure(error):
            raise
        pending.error = error
        # If it is alone, an empty transaction is committed.
        await tx.connection.execute("ROLLBACK TO work; RELEASE work" if is_shared else "ROLLBACK; BEGIN")
    else:
        if is_shared:
            await tx.connection.execute("RELEASE work")
