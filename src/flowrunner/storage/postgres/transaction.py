"""Transactions on connections of asyncpg."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, Final

import asyncpg

from flowrunner.storage.audit_shares import AuditShares
from flowrunner.storage.transaction import NO_VALUES, Refused, Row, Sql, Statement, Values

_PARAMETER: Final = re.compile(r"(?<![\w:]):([a-z_]+)")


class PostgresTransaction:
    """A transaction on a connection. Implements `storage.transaction.Transaction`.

    Attributes:
        announced: The executions to notify other processes of, once this is durable.
    """

    def __init__(self, connection: "asyncpg.Connection[Any]", audit_shares: AuditShares | None = None) -> None:
        self.connection = connection
        self.audit_shares = audit_shares
        self.announced: dict[str, None] = {}

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        text, names = translated(statement)
        with _refusals():
            return _count(await self.connection.execute(text, *_arguments(names, values)))

    async def run_many(self, statement: Statement, values: Sequence[Values]) -> int:
        if not values:
            return 0
        text, names = translated(statement)
        if names:
            columns = [[storable(each[name]) for each in values] for name in names]  # type: ignore[call-overload]
        else:
            columns = [[storable(value) for value in column] for column in zip(*values, strict=True)]
        with _refusals():
            return _count(await self.connection.execute(text, *columns))

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        text, names = translated(statement)
        with _refusals():
            record = await self.connection.fetchrow(text, *_arguments(names, values))
        return None if record is None else tuple(record)

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]:
        text, names = translated(statement)
        with _refusals():
            return [tuple(record) for record in await self.connection.fetch(text, *_arguments(names, values))]

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        await self.connection.execute("SAVEPOINT attempt")
        try:
            yield
        except Exception:
            await self.connection.execute("ROLLBACK TO attempt; RELEASE attempt")
            raise
        await self.connection.execute("RELEASE attempt")

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        async with self.connection.transaction(isolation="repeatable_read", readonly=True):
            yield

    def announce(self, execution_id: str) -> None:
        self.announced[execution_id] = None


@cache
def translated(statement: Sql) -> tuple[str, Sequence[str]]:
    """Return the statement with numbered parameters, as asyncpg expects it, and their names in order."""
    text = statement.postgres if isinstance(statement, Statement) else statement
    names = list(dict.fromkeys(_PARAMETER.findall(text)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text), names


def _arguments(names: Sequence[str], values: Values) -> list[Any]:
    if not isinstance(values, Mapping):
        return [storable(value) for value in values]
    return [storable(values[name]) for name in names]


def storable(value: Any) -> Any:
    """Replace NUL in text by U+FFFD, because PostgreSQL text cannot hold it."""
    if isinstance(value, str) and "\0" in value:
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [storable(each) for each in value]
    return value


def _count(status: str) -> int:
    """Return the number of rows from the status of a command, such as `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Refused(str(error)) from error
