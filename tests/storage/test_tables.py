"""Equality of the table registry and the schema."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from flowrunner.storage.execution_columns import NEW
from flowrunner.storage.tables import TABLES, Owner, Table, Untouched, deletions
from support.databases import new_database_file

ALL_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
# Alembic creates and reads its own table.
OF_ALEMBIC = {"alembic_version"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(new_database_file(tmp_path_factory.mktemp("schema") / "flowrunner.db"))) as connection:
        yield connection


def test_every_table_of_the_schema_is_registered_once(schema: sqlite3.Connection) -> None:
    assert sorted(table.name for table in TABLES) == sorted(
        name for (name,) in schema.execute(ALL_TABLES) if name not in OF_ALEMBIC
    )


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_columns_are_those_of_the_schema(schema: sqlite3.Connection, table: Table) -> None:
    columns = schema.execute(f"SELECT name FROM pragma_table_xinfo('{table.name}') WHERE hidden = 0")

    assert sorted(table.columns) == sorted(name for (name,) in columns)
    assert {name for name in table.columns if name.startswith("is_")} == table.booleans


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_are_copied_in_the_order_of_the_primary_key(schema: sqlite3.Connection, table: Table) -> None:
    key = [
        name for (name,) in schema.execute(f"SELECT name FROM pragma_table_info('{table.name}') WHERE pk ORDER BY pk")
    ]

    assert isinstance(table.key, Untouched) or table.key == tuple(key)


def test_a_new_execution_sets_every_column_of_its_row() -> None:
    (executions,) = (table for table in TABLES if table.name == "executions")

    # The statement computes the last two.
    assert {*NEW, "original_id", "queue_position"} == {*executions.columns}


def test_a_table_stands_after_those_that_it_refers_to(schema: sqlite3.Connection) -> None:
    order = [table.name for table in TABLES]
    wrong = [
        (name, other)
        for name in order
        for (other,) in schema.execute(f"SELECT \"table\" FROM pragma_foreign_key_list('{name}')")
        if order.index(other) >= order.index(name)
    ]

    assert wrong == []


def test_sealed_values_are_sealed_again_with_new_data_keys() -> None:
    """A column `key_version` refers to the data key that seals another column of the row."""
    assert [table.name for table in TABLES if table.sealed] == [
        table.name for table in TABLES if "key_version" in table.columns
    ]


@pytest.mark.parametrize("owner", ["account", "workspace"])
def test_a_deletion_touches_nothing_of_another_owner(owner: Owner) -> None:
    assert len(deletions(owner)) >= 3
    for statement in deletions(owner):
        for text in (statement,) if isinstance(statement, str) else (statement.sqlite, statement.postgres):
            assert f"{owner}_id = :id" in text


# What a deletion leaves of the texts and bytes in the rows of its owner, until background jobs have deleted those rows.
LEFT: Mapping[Owner, Mapping[str, Collection[str]]] = {
    "account": {},
    "workspace": {
        "callbacks": ("id", "workspace_id", "events", "format", "flow_id", "tag", "disabled_reason"),
        "flows": ("*",),
        "api_tokens": ("*",),
    },
}


@pytest.mark.parametrize("owner", LEFT)
def test_a_deletion_leaves_nothing_in_the_rows_of_its_owner_but_what_jobs_delete(tmp_path: Path, owner: Owner) -> None:
    of_owner = [
        table for table in TABLES if not isinstance(table.on_deletion, Untouched) and owner in table.on_deletion
    ]
    with closing(sqlite3.connect(new_database_file(tmp_path / "flowrunner.db"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (trigger,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        marks = {table.name: fill(connection, table) for table in of_owner}

        for statement in deletions(owner):
            text = statement if isinstance(statement, str) else statement.sqlite
            connection.execute(text, {"id": "mine", "at": 7})

        left = {table.name: still_there(connection, table, marks[table.name]) for table in of_owner}

    expected = {
        table.name: {*marks[table.name]}
        if LEFT[owner].get(table.name) == ("*",)
        else {*LEFT[owner].get(table.name, ())}
        for table in of_owner
    }
    assert left == expected


def fill(connection: sqlite3.Connection, table: Table) -> Mapping[str, object]:
    """Add a row that belongs to the owner `mine`; return its texts and bytes by column."""
    types = dict(connection.execute(f"SELECT name, type FROM pragma_table_xinfo('{table.name}')").fetchall())
    values: dict[str, object] = {}
    for name in table.columns:
        mark = f"{name} of {table.name}"
        values[name] = 1 if types[name] in ("INTEGER", "REAL") else mark.encode() if types[name] == "BLOB" else mark
    values |= {name: "mine" for name in ("workspace_id", "account_id") if name in values}
    values |= {"status": "running"} if table.name == "executions" else {}
    values |= {"deleted_at": None} if "deleted_at" in values else {}
    connection.execute(
        f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})", values
    )
    return {name: value for name, value in values.items() if isinstance(value, str | bytes)}


def still_there(connection: sqlite3.Connection, table: Table, marks: Mapping[str, object]) -> set[str]:
    rows = connection.execute(f"SELECT {', '.join(marks)} FROM {table.name}").fetchall()
    return {name for row in rows for name, value in zip(marks, row, strict=True) if value == marks[name]}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_deletion_of_each_owner_of_a_row_deletes_it(table: Table) -> None:
    owners = {owner for owner in LEFT if f"{owner}_id" in table.columns}

    assert isinstance(table.on_deletion, Untouched) or table.on_deletion.keys() == owners
