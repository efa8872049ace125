"""What the stores need of an open transaction, whichever database it is on."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Statement:
    """One intent, where the two databases have no common way to say it."""

    sqlite: str
    postgres: str


# Most statements are the same for both. Parameters are bound by name, as `:name`.
Sql: TypeAlias = str | Statement
Row: TypeAlias = tuple[Any, ...]
# What a statement is given: by name, or in order where it is one of very many.
Values: TypeAlias = Mapping[str, Any] | Sequence[Any]

NO_VALUES: Final[Values] = {}


class Refused(Exception):
    """The schema does not allow the change; the message says which rule is broken."""


class Transaction(Protocol):
    """On SQLite nothing here ever waits, so that what awaits it can be run on a thread without an event loop."""

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        """How many rows were changed. Raises: Refused."""
        ...

    async def run_many(self, statement: Statement, values: Sequence[Values]) -> int:
        """The statement with each of the values; how many rows were changed in all.

        SQLite is given one after the other, PostgreSQL each parameter as an array of all its values.

        Raises: Refused.
        """
        ...

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        """The first row. Raises: Refused."""
        ...

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]: ...

    def attempt(self) -> AbstractAsyncContextManager[None]:
        """What is done within is undone if it raises, and the transaction can go on."""
        ...

    def moment(self) -> AbstractAsyncContextManager[None]:
        """All that is read within is of one moment; only for a transaction that reads."""
        ...

    def announce(self, execution_id: str) -> None:
        """Tell other processes, once this is durable, that the execution has new events."""
        ...


async def one_row(tx: Transaction, statement: Sql, values: Values = NO_VALUES) -> Row:
    """The first row of a statement that always gives one."""
    row = await tx.row(statement, values)
    assert row is not None, "the statement always gives a row"
    return row
