"""Interface of an open transaction, the same for both databases."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self, TypeAlias

import msgspec

from flowrunner.domain.errors import NotFound
from flowrunner.storage.audit_shares import AuditShares


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that the two databases express differently.

    Attributes:
        sqlite: Executed once for each row of values.
        sqlite_batch: The same for many rows at once, in half of the time where there are many indexes and triggers.
    """

    sqlite: str
    postgres: str
    sqlite_batch: "BatchStatement | None" = None

    @classmethod
    def with_texts(cls, statement: str, *parameters: str) -> Self:
        """Return a statement with `IN (:parameter)`, where `listed` makes the value of each of the parameters."""
        sqlite = postgres = statement
        for parameter in parameters:
            listed = "IN (:list)".replace("list", parameter)
            assert listed in statement, "the statement has the list"
            sqlite = sqlite.replace(listed, _IN_SQLITE.replace("list", parameter))
            postgres = postgres.replace(listed, _IN_POSTGRES.replace("list", parameter))
        return cls(sqlite=sqlite, postgres=postgres)

    @classmethod
    def with_indexes(cls, statement: str) -> Self:
        """Return a statement with `INDEXED BY`, by which SQLite is told the index of a table."""
        return cls(sqlite=statement, postgres=_INDEXED_BY.sub("", statement))

    @classmethod
    def on_rows(cls, statement: str, **types: str) -> Self:
        """Return a statement for `run_many`, written for all rows of values, as PostgreSQL executes it.

        Args:
            statement: Has `new.name` for a value of a row, and `{new}` for the rows.
            types: The names of values by their type in PostgreSQL, if that is not `text`.
        """
        names = list(dict.fromkeys(_OF_ROW.findall(statement)))
        type_of = dict.fromkeys(names, "text") | {name: type for type, of in types.items() for name in of.split()}
        assert [*type_of] == names, "each value with a type is in the statement"
        arrays = ", ".join(f":{name}::{type}[]" for name, type in type_of.items())
        return cls(
            sqlite=_OF_ROW.sub(r":\1", _ROWS.sub("", statement)),
            postgres=statement.replace("{new}", f"unnest({arrays}) AS new ({', '.join(names)})"),
        )


# A value of a row, and the rows, in a statement of `on_rows`.
_OF_ROW: Final = re.compile(r"\bnew\.(\w+)")
_ROWS: Final = re.compile(r"\s+(?:FROM|USING) \{new\}")
# What `with_indexes` removes.
_INDEXED_BY: Final = re.compile(r" INDEXED BY \w+")
_IN_SQLITE: Final = "IN (SELECT value FROM json_each(:list))"
_IN_POSTGRES: Final = "IN (SELECT json_array_elements_text(CAST(:list AS json)))"


@dataclass(frozen=True, slots=True)
class BatchStatement:
    """A statement of SQLite for several rows of values by name.

    Attributes:
        text: Has `{rows}` in place of them.
        columns: The names of the values of a row, in their order.
    """

    text: str
    columns: tuple[str, ...]

    def for_rows(self, count: int) -> str:
        row = f"({', '.join('?' * len(self.columns))})"
        return self.text.replace("{rows}", ", ".join([row] * count))


# Most statements are the same for both. Parameters are named, as `:name`.
Sql: TypeAlias = str | Statement
Row: TypeAlias = tuple[Any, ...]
# Parameters by name; by position for statements that run very often.
Values: TypeAlias = Mapping[str, Any] | Sequence[Any]

NO_VALUES: Final[Values] = {}


class Refused(Exception):
    """Rejection of a change by the schema; the message names the rule."""


class Transaction(Protocol):
    """An open transaction. On SQLite no method ever suspends, so that callers run on threads without an event loop.

    Attributes:
        audit_shares: Decides which acts get an entry in the audit log; None in a transaction that only reads.
    """

    audit_shares: AuditShares | None

    async def run(self, statement: Sql, values: Values = NO_VALUES) -> int:
        """Execute the statement and return the number of changed rows. Raises: Refused."""
        ...

    async def run_many(self, statement: Statement, values: Sequence[Values]) -> int:
        """Execute the statement for all of the values and return the number of changed rows.

        SQLite executes it for each of them, or for batches of them, PostgreSQL once, with each parameter as an array of
        its values.

        Raises: Refused.
        """
        ...

    async def row(self, statement: Sql, values: Values = NO_VALUES) -> Row | None:
        """Return the first row. Raises: Refused."""
        ...

    async def rows(self, statement: Sql, values: Values = NO_VALUES) -> list[Row]: ...

    def attempt(self) -> AbstractAsyncContextManager[None]:
        """Roll back the changes made within if it raises, so that the transaction can continue."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[None]:
        """Read from one snapshot within the context; only for transactions that do not write."""
        ...

    def announce(self, execution_id: str) -> None:
        """Notify other processes, once this is durable, that the execution has new events."""
        ...


def listed(texts: Iterable[str]) -> str:
    """Return a JSON array of texts, as statements with lists take them.

    No stored text has a NUL, and PostgreSQL takes none.
    """
    return msgspec.json.encode([text.replace("\0", "\ufffd") for text in texts]).decode()


async def one_row(tx: Transaction, statement: Sql, values: Values = NO_VALUES) -> Row:
    """Return the first row of a statement that always returns one."""
    row = await tx.row(statement, values)
    assert row is not None, "the statement always returns a row"
    return row


async def existing_row(tx: Transaction, statement: Sql, values: Values, what: str) -> Row:
    """Return the first row of a statement. Raises: NotFound, for ``what``, if it returns none."""
    row = await tx.row(statement, values)
    if row is None:
        raise NotFound(what)
    return row


async def change_nothing(tx: Transaction) -> None:
    """Do nothing, in a transaction that is awaited or that holds an entry of the audit log alone."""
