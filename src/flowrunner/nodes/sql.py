"""Node type `sql`: query a PostgreSQL database."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from flowrunner.domain.errors import quoted
from flowrunner.nodes.sql_url import database_of
from flowrunner.plugin import (
    JSON,
    LONG_BODY_BYTES,
    NodeFailure,
    NodeType,
    ParamFault,
    Params,
    SqlAnswer,
    SqlDatabase,
    SqlSession,
    StepContext,
)

_MOST_URL_CHARACTERS: Final = 8192
MOST_QUERY_CHARACTERS: Final = 256 * 1024
# Of the server, for its protocol.
MOST_ARGS: Final = 32_767
MOST_ITEMS: Final = 10_000
# Of the server, for a table.
_MOST_COLUMNS: Final = 1600
_EXPRESSION: Final = re.compile(r"(?<!\$)\$\{")
# The author's own text, as no value from outside is.
_OWN_TEXT: Final = re.compile(r"\$\{\s*(?:config|vars)\.\w+\s*\}\s*")

Name = Annotated[str, Field(min_length=1, max_length=1000)]
Names = Annotated[list[Name], Field(min_length=1, max_length=_MOST_COLUMNS)]
# Each item is read on the thread of the query: there may be half a million values.
Items = Annotated[
    list[Any],
    Field(max_length=MOST_ITEMS),
    WithJsonSchema({"type": "array", "items": {"type": "object"}, "maxItems": MOST_ITEMS}),
]


class OnConflict(Params):
    columns: Names = Field(description="The columns of the unique index that the rows may conflict in.")
    update: Annotated[list[Name], Field(max_length=_MOST_COLUMNS)] | None = Field(
        default=None, description="Columns to be set in the existing row; all others of the insert if absent."
    )


class SqlParams(Params):
    url: str = Field(
        min_length=1,
        max_length=_MOST_URL_CHARACTERS,
        description="The database: postgresql://user:password@host:5432/database?sslmode=verify-full.",
        examples=["${secrets.DATABASE_URL}"],
    )
    operation: Literal["query", "execute", "batch_insert"] = Field(
        default="query",
        description="query reads in a transaction that rejects changes; execute changes; batch_insert inserts `items`.",
    )
    query: str | None = Field(
        default=None, max_length=MOST_QUERY_CHARACTERS, description="One SQL statement, with $1, $2 for the values."
    )
    args: list[Any] = Field(default=[], max_length=MOST_ARGS, description="The values of $1, $2 and so on.")
    table: str | None = Field(
        default=None, min_length=1, max_length=1000, description="For batch_insert: table, or schema.table."
    )
    items: Items | None = Field(
        default=None, description="For batch_insert: the rows, each with a value for each column."
    )
    columns: Names | None = Field(default=None, description="For batch_insert; the keys of the first item if absent.")
    on_conflict: Literal["nothing"] | OnConflict | None = Field(
        default=None,
        description="For batch_insert: nothing skips rows that exist already; with columns, these are updated.",
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        is_batch = self.operation == "batch_insert"
        needed = ("table", "items") if is_batch else ("query",)
        others = ("query",) if is_batch else ("table", "items", "columns", "on_conflict")
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"the operation '{self.operation}' needs '{name}'")
        for name in others:
            if getattr(self, name) is not None:
                raise ValueError(f"'{name}' is not for the operation '{self.operation}'")
        if is_batch and self.args:
            raise ValueError("'args' are not for the operation 'batch_insert': give the values in 'items'")
        return self


class Sql(NodeType[SqlParams]):
    """Queries a PostgreSQL database."""

    type = "sql"
    examples = (
        "type: sql\nparams:\n  url: ${secrets.DATABASE_URL}\n"
        "  query: SELECT id, total FROM orders WHERE customer = $1 ORDER BY id LIMIT 100\n"
        "  args: ['${input.customer}']\n",
        "type: sql\nparams:\n  url: ${secrets.DATABASE_URL}\n  operation: execute\n"
        "  query: UPDATE orders SET paid_at = now() WHERE id = $1 AND paid_at IS NULL\n  args: ['${input.id}']\n",
        "type: sql\nparams:\n  url: ${secrets.DATABASE_URL}\n  operation: batch_insert\n  table: orders\n"
        "  items: ${input.orders}\n  columns: [id, customer, total]\n  on_conflict: {columns: [id]}\n",
    )
    Params = SqlParams
    errors: ClassVar[tuple[str, ...]] = ("sql", "connection", "timeout", "egress")
    result_keys = ("rows", "row_count")
    timeout_seconds = 60.0

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        # The server rejects changes of data in its transaction.
        return params.get("operation", "query") == "query"

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        faults = super().check(params)
        url, query = params.get("url"), params.get("query")
        if isinstance(url, str) and url and "${" not in url and len(url) <= _MOST_URL_CHARACTERS:
            try:
                database_of(url)
            except ValueError as error:
                faults.append(ParamFault(keys=("url",), code="param", message=str(error)))
        items = params.get("items")
        for index, item in enumerate(items[:MOST_ITEMS] if isinstance(items, list) else ()):
            if not isinstance(item, dict) and not (isinstance(item, str) and "${" in item):
                faults.append(ParamFault(keys=("items", index), code="param", message="must be an object"))
        if isinstance(query, str) and _EXPRESSION.search(query) and not _OWN_TEXT.fullmatch(query):
            faults.append(_warning("sql.expression", "query"))
        return faults

    async def run(self, params: SqlParams, context: StepContext) -> JSON:
        try:
            # Not by the model: tests of flows read the parameters too, and give secrets any value.
            database = database_of(params.url)
        except ValueError as error:
            raise NodeFailure("input.invalid", f"The parameters of sql are invalid: url: {error}") from None
        seconds = context.timeout_seconds or self.timeout_seconds
        if params.operation == "batch_insert":
            return await _insert(params, database, seconds, context)
        answer, rows = await context.sql.run(
            database,
            partial(_execute, params.query or "", params.args),
            seconds=seconds,
            read_only=params.operation == "query",
        )
        if rows is None:
            rows = await _long_rows(answer, context)
        context.log("info", "Query completed", {"operation": params.operation, "row_count": answer.row_count})
        return {"rows": rows, "row_count": answer.row_count}


def _warning(code: str, parameter: str) -> ParamFault:
    message = "what the expression gives becomes a part of the query, also if it is SQL from outside"
    hint = "write $1 in the query, and the value under 'args'"
    return ParamFault(keys=(parameter,), code=code, message=message, hint=hint, is_warning=True)


def _execute(query: str, args: Sequence[JSON], session: SqlSession) -> tuple[SqlAnswer, list[JSON] | None]:
    """Return the answer, and its rows unless they are long."""
    answer = session.execute(query, args)
    return answer, answer.rows() if answer.size <= LONG_BODY_BYTES else None


async def _long_rows(answer: SqlAnswer, context: StepContext) -> list[JSON]:
    # Imported here, because `flowrunner validate` needs the parameters of this type and no event loop.
    from asyncio import to_thread

    await context.hold_long_value(answer.memory)
    return await to_thread(answer.rows)


async def _insert(params: SqlParams, database: SqlDatabase, seconds: float, context: StepContext) -> JSON:
    items = params.items or []
    if not items:
        context.log("info", "No rows inserted: 'items' is empty", {"operation": params.operation, "row_count": 0})
        return {"rows": [], "row_count": 0}
    columns = params.columns or list(_object(items[0], 0))
    statement = insert_of(params.table or "", columns, params.on_conflict)
    row_count = await context.sql.run(
        database, partial(_insert_each, statement, columns, items, params.columns is None), seconds=seconds
    )
    context.log("info", "Rows inserted", {"operation": params.operation, "row_count": row_count})
    return {"rows": [], "row_count": row_count}


def _insert_each(
    statement: str, columns: Sequence[str], items: Sequence[JSON], are_all: bool, session: SqlSession
) -> int:
    rows = [_row(_object(item, index), index, columns, are_all) for index, item in enumerate(items)]
    return session.execute_each(statement, rows, names=columns)


def _object(item: JSON, index: int) -> Mapping[str, JSON]:
    """Return an item. Raises: NodeFailure `input.invalid` if it is no object."""
    if not isinstance(item, dict):
        raise NodeFailure("input.invalid", f"items.{index} must be an object")
    return item


def _row(item: Mapping[str, JSON], index: int, columns: Sequence[str], are_all: bool) -> Sequence[JSON]:
    """Return the values of a row.

    Args:
        are_all: The item may have no further keys, because the columns are those of the first one.

    Raises:
        NodeFailure: `input.invalid`.
    """
    missing = next((name for name in columns if name not in item), None)
    if missing is not None:
        which = ", which the first item has" if are_all else ""
        raise NodeFailure("input.invalid", f"items.{index} has no {quoted(missing)}{which}")
    if are_all and len(item) > len(columns):
        extra = next(name for name in item if name not in columns)
        text = f"items.{index} has {quoted(extra)}, which the first item has not: name the 'columns'"
        raise NodeFailure("input.invalid", text)
    return [item[name] for name in columns]


def insert_of(table: str, columns: Sequence[str], on_conflict: str | OnConflict | None) -> str:
    """Return the statement that inserts one row. Raises: NodeFailure `input.invalid`."""
    parts = table.split(".")
    if len(parts) > 2 or not all(parts):
        raise NodeFailure("input.invalid", f"The table {quoted(table)} must be a table, or schema.table")
    if not columns or len(set(columns)) < len(columns):
        raise NodeFailure("input.invalid", "The columns must have different names, and there must be one")
    placeholders = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    into = ".".join(map(_identifier, parts))
    words = ["INSERT INTO", into, f"({_identifiers(columns)})", "VALUES", f"({placeholders})"]
    if on_conflict is None:
        return " ".join(words)
    words.append("ON CONFLICT")
    if not isinstance(on_conflict, OnConflict):
        return " ".join((*words, "DO NOTHING"))
    words.append(f"({_identifiers(on_conflict.columns)})")
    updated = on_conflict.update
    if updated is None:
        updated = [name for name in columns if name not in on_conflict.columns]
    if not updated:
        return " ".join((*words, "DO NOTHING"))
    changes = ", ".join(f"{_identifier(name)} = EXCLUDED.{_identifier(name)}" for name in updated)
    return " ".join((*words, "DO UPDATE SET", changes))


def _identifiers(names: Sequence[str]) -> str:
    return ", ".join(map(_identifier, names))


def _identifier(name: str) -> str:
    # A NUL is rejected with the query.
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
