"""Columns of `executions` that appends write, and the parts of statements that name all of them."""

from collections.abc import Mapping
from typing import Final

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


def _rows(columns: Mapping[str, str]) -> str:
    """Return rows called `new`, from an array of each column."""
    arrays = ", ".join(f":{name}::{type}[]" for name, type in columns.items())
    return f"unnest({arrays}) AS new ({', '.join(columns)})"


_PARTS: Final = {
    "{new_columns}": ", ".join(NEW),
    "{new_values}": ", ".join(f":{name}" for name in NEW),
    "{new_rows}": _rows(NEW),
    "{summary_values}": ", ".join(f"{name} = :{name}" for name in _SUMMARY),
    "{summary_of_row}": ", ".join(f"{name} = new.{name}" for name in _SUMMARY),
    "{appends}": _rows(_APPEND),
    "{appends_with_summary}": _rows({**_APPEND, **_SUMMARY}),
}


def with_columns(statement: str) -> str:
    """Return the statement with these parts in place of their names."""
    for name, part in _PARTS.items():
        statement = statement.replace(name, part)
    return statement
