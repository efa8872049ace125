"""Transactions on a connection of the driver of SQLite, which blocks."""

import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeVar

from flowrunner.storage.audit_shares import AuditShares
from flowrunner.storage.transaction import NO_VALUES, BatchStatement, Refused, Row, Sql, Statement, Values

T = TypeVar("T")

# The numbers of rows for which there is a statement. For less than four, the statement for one row is as fast.
BATCH_SIZES: Final = (128, 32, 8, 4)
_NAMED: Final = re.compile(r":([a-z_][a-z0-9_]*)")


class SqliteTransaction:
    """A transaction whose coroutines never suspend. Implements `storage.transaction.Transaction`."""

    def __init__(self, connection: sqlite3.Connection, audit_shares: AuditShares | None = None) -> None:
        self.connection = connection
        self.audit_shares = audit_shares

    # Each method has a `try` of its own: a context manager would take as long as a short statement.

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        try:
            return self.connection.execute(_text(statement), values).rowcount
        except sqlite3.IntegrityError as error:
            raise Refused(str(error)) from error

    async def run_many(self, statement: Statement, values: Sequence[Values]) -> int:
        changed = done = 0
        try:
            if (batch := statement.sqlite_batch) is not None:
                for size in BATCH_SIZES:
                    text, values_of = _batch_of(batch, size)
                    while len(values) - done >= size:
                        rows = map(values_of, values[done : done + size])
                        changed += self.connection.execute(text, list(chain.from_iterable(rows))).rowcount
                        done += size
            if done < len(values):
                text, in_order = by_position(statement.sqlite)
                rest = values[done:]
                changed += self.connection.executemany(text, rest if in_order is None else map(in_order, rest)).rowcount
        except sqlite3.IntegrityError as error:
            raise Refused(str(error)) from error
        return changed

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        try:
            row: Row | None = self.connection.execute(_text(statement), values).fetchone()
        except sqlite3.IntegrityError as error:
            raise Refused(str(error)) from error
        return row

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        try:
            return self.connection.execute(_text(statement), values).fetchall()
        except sqlite3.IntegrityError as error:
            raise Refused(str(error)) from error

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
    async def snapshot(self) -> AsyncIterator[None]:
        self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("COMMIT")

    def announce(self, execution_id: str) -> None:
        """Do nothing, because there is no other process."""


@cache
def _batch_of(batch: BatchStatement, count: int) -> tuple[str, Callable[[Any], tuple[Any, ...]]]:
    """Return the statement for so many rows, and a function that puts the values of a row by name into their order."""
    return batch.for_rows(count), itemgetter(*batch.columns)


def _text(statement: Sql) -> str:
    return statement.sqlite if isinstance(statement, Statement) else statement


@cache
def by_position(statement: str) -> tuple[str, Callable[[Any], tuple[Any, ...]] | None]:
    """Return the statement with numbered parameters, and a function that puts values by name into their order.

    The function is None for a statement with fewer than two names, which stays as it is.
    """
    # By name, the driver looks each value up for each row: a tenth of the time of an insertion with thirty values.
    names = list(dict.fromkeys(_NAMED.findall(statement)))
    if len(names) < 2:
        return statement, None
    return _NAMED.sub(lambda found: f"?{names.index(found[1]) + 1}", statement), itemgetter(*names)


def finish(awaitable: Awaitable[T]) -> T:
    """Run an awaitable that awaits only a `SqliteTransaction`, and return its result."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("something other than the database was awaited in its transaction")
