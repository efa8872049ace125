"""Equality of the table registry and the schema."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

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
