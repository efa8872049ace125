"""Columns of `executions` that appends write, and the parts of statements that name all of them."""

from collections.abc import Mapping
from typing import Final

from flowrunner.storage.transaction import BatchStatement, Statement

# Each with its type in PostgreSQL.
_SUMMARY: Final = {
    "status": "text",
    "completed_at": "bigint",
    "error": "text",
    "is_idle": "boolean",
    "wake_at": "bigint",
    "waiting_for": "text",
    "approval_at": "bigint",
    "error_type": "text",
    "failed_node": "text",
    "log_counts": "text",
}
NEW: Final = {
    "id": "text",
    "workspace_id": "text",
    "flow_id": "text",
    "revision_id": "text",
    "started_at": "bigint",
    **_SUMMARY,
    "epoch": "bigint",
    "last_seq": "bigint",
    "size": "bigint",
    "idempotency_key": "text",
    "request_digest": "text",
    "parent_id": "text",
    "rerun_of": "text",
    "concurrency_key": "text",
    "concurrency_limit": "bigint",
    "is_queued": "boolean",
    "is_active": "boolean",
    "queued_at": "bigint",
    "trigger_id": "text",
    "labels": "text",
    "started_by": "text",
}
# An append to an existing execution: `after` is the last event that it knows.
_APPEND: Final = {
    "id": "text",
    "last_seq": "bigint",
    "size": "bigint",
    "after": "bigint",
    "epoch": "bigint",
    "is_queued": "boolean",
}
_ROWS: Final = {"{new_rows}": NEW, "{appends}": _APPEND, "{appends_with_summary}": {**_APPEND, **_SUMMARY}}
_VALUES: Final = "(SELECT {named} FROM (VALUES {rows})) AS new"


def _rows(columns: Mapping[str, str]) -> str:
    """Return rows called `new`, from an array of each column."""
    arrays = ", ".join(f":{name}::{type}[]" for name, type in columns.items())
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


_PARTS: Final = {
    "{new_columns}": ", ".join(NEW),
    "{new_values}": ", ".join(f":{name}" for name in NEW),
    "{summary_values}": ", ".join(f"{name} = :{name}" for name in _SUMMARY),
    "{summary_of_row}": ", ".join(f"{name} = new.{name}" for name in _SUMMARY),
    **{name: _rows(columns) for name, columns in _ROWS.items()},
}


def with_columns(statement: str) -> str:
    """Return the statement with these parts in place of their names."""
    for name, part in _PARTS.items():
        statement = statement.replace(name, part)
    return statement


def statement_on_rows(*, one: str, many: str) -> Statement:
    """Return a statement of appends, given its form for one row, on SQLite, and for many rows, called `new`."""
    [(name, columns)] = [(name, columns) for name, columns in _ROWS.items() if name in many]
    named = ", ".join(f"column{number} AS {column}" for number, column in enumerate(columns, start=1))
    batch = with_columns(many.replace(name, _VALUES.replace("{named}", named))).replace("{are_new} ", "")
    return Statement(
        sqlite=with_columns(one),
        # Without the array of ids, PostgreSQL may read the whole table.
        postgres=with_columns(many).replace("{are_new}", "executions.id = ANY(:id) AND"),
        sqlite_batch=BatchStatement(batch, tuple(columns)),
    )
