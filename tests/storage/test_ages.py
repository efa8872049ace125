"""Statements that find what is old enough to be deleted: from one moment on, and not before."""

import importlib
import json
import pkgutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner import storage
from flowrunner.storage.transaction import Statement
from support.databases import new_database_file

AT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Age:
    """A statement that finds rows by their age.

    Attributes:
        column: The time by which a row is old.
        row: What a row has to be besides.
        values: What else the statement needs.
    """

    table: str
    column: str
    row: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)


HELD: Final = {"holder": "h"}
AGES: Final = {
    "audit_chain.ACT_COUNTS": Age(table="audit_counts", column="since", values={"at": 2 * AT}),
    "callback_deliveries.EARLIER": Age(
        table="callback_deliveries", column="noted_at", row={"callback_id": "h", "next_at": None}, values=HELD
    ),
    "callback_deliveries.OLD": Age(table="callback_deliveries", column="last_at", row={"next_at": None}),
    "hooks.EARLIER": Age(
        table="hook_deliveries", column="received_at", row={"trigger_id": "h", "state": "started"}, values=HELD
    ),
    "hooks.OLD": Age(table="hook_deliveries", column="received_at"),
    "hooks.RECEIVED": Age(
        table="hook_deliveries", column="received_at", row={"state": "received"}, values={"outside": "[]"}
    ),
    "inbox.UNWANTED": Age(table="execution_inbox", column="sent_at", row={"is_rejected": 1}),
    "inbox.UNWANTED of no execution": Age(table="execution_inbox", column="sent_at", row={"is_rejected": 0}),
    "jobs.OLD": Age(table="jobs", column="completed_at", row={"status": "completed"}),
    "retention.IDS": Age(
        table="executions", column="completed_at", row={"id": "b", "workspace_id": "w", "flow_id": "f"},
        values={"workspace_id": "w", "flow_id": "f", "after": "a", "up_to": "c", "unreported": "[]"},
    ),
    "retention.OLD": Age(table="executions", column="completed_at", values={"unreported": "[]"}),
    "request_keys.OLD": Age(table="request_keys", column="created_at"),
}  # fmt: skip


def statements() -> dict[str, str]:
    """Return the statements that find some rows from before a moment, on SQLite."""
    found = {}
    for module in pkgutil.iter_modules(storage.__path__, "flowrunner.storage."):
        for name, value in vars(importlib.import_module(module.name)).items():
            text = value.sqlite if isinstance(value, Statement) else value
            # Pages have a position before which they end, and no age.
            if isinstance(text, str) and " < :before" in text and ":limit" in text and ":offset" not in text:
                found[f"{module.name.rpartition('.')[2]}.{name}"] = text
    return found


def test_each_statement_that_finds_what_is_old_is_tested() -> None:
    assert statements().keys() == {name.partition(" ")[0] for name in AGES}


@pytest.mark.parametrize("name", AGES)
def test_a_row_is_old_after_its_time_and_not_at_it(tmp_path: Path, name: str) -> None:
    age = AGES[name]
    with closing(sqlite3.connect(new_database_file(tmp_path / "flowrunner.db"))) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        columns = connection.execute(f"SELECT name, type FROM pragma_table_info('{age.table}')").fetchall()
        simple = {"INTEGER": 1, "TEXT": json.dumps({}), "BLOB": b"", "BOOLEAN": 0}
        row = {column: simple[type] for column, type in columns} | {**age.row, age.column: AT}
        connection.execute(f"INSERT INTO {age.table} VALUES ({', '.join('?' * len(row))})", tuple(row.values()))

        found = [
            len(
                connection.execute(
                    statements()[name.partition(" ")[0]], {"before": at, "limit": 9, **age.values}
                ).fetchall()
            )
            for at in (0, AT, AT + 1)
        ]

    assert found == [0, 0, 1]
