"""Checks of every statement of the stores, whether or not another test executes it."""

import importlib
import pkgutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from flowrunner import storage
from flowrunner.storage.postgres.transaction import translated
from flowrunner.storage.sqlite.transaction import BATCH_SIZES
from flowrunner.storage.transaction import Sql, Statement
from support.databases import Place
from support.postgres import connected

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
# Steps of SQLite's plans that read a whole table.
WHOLE = {"SCAN executions", "SCAN events", "SEARCH executions USING PRIMARY KEY (id>?)"}


def statements() -> Iterator[tuple[str, Sql]]:
    """Yield the statements that both databases execute, with their modules and names."""
    for module in pkgutil.iter_modules(storage.__path__, "flowrunner.storage."):
        if module.name.endswith(".copying"):
            # Some of its statements are for SQLite only, and some for PostgreSQL only.
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if name.startswith("_"):
                # A part of statements.
                continue
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Statement) or (isinstance(each, str) and each.strip().startswith(VERBS)):
                    yield f"{module.name}.{name}", each


def texts_for_sqlite(statement: Sql) -> list[str]:
    """Return the forms of a statement in SQLite, without parameters by position."""
    if isinstance(statement, str):
        return [statement.replace("?", "NULL")]
    batches = (
        [] if statement.sqlite_batch is None else [statement.sqlite_batch.for_rows(count) for count in BATCH_SIZES]
    )
    return [text.replace("?", "NULL") for text in (statement.sqlite, *batches)]


@pytest.mark.only("postgres")
def test_postgresql_parses_every_statement(path: str) -> None:
    async def refused(connection: "asyncpg.Connection[Any]") -> list[str]:
        found = []
        for where, statement in statements():
            try:
                await connection.prepare(translated(statement)[0])
            except asyncpg.PostgresError as error:
                found.append(f"{where}: {error}")
        return found

    assert len(list(statements())) > 90
    assert connected(path, refused) == []


@pytest.mark.only("sqlite")
def test_sqlite_parses_every_statement(path: Path) -> None:
    found = []
    with closing(sqlite3.connect(path)) as connection:
        for where, statement in statements():
            for text in texts_for_sqlite(statement):
                try:
                    connection.execute(f"EXPLAIN {text}", _Anything())
                except sqlite3.Error as error:
                    found.append(f"{where}: {error}")

    assert found == []


@pytest.mark.only("sqlite")
def test_no_statement_looks_for_open_executions_among_all_that_ever_were(path: Path) -> None:
    """Open executions are few, and ended ones are kept for a month."""
    found = []
    with closing(sqlite3.connect(path)) as connection:
        for where, statement in statements():
            for text in texts_for_sqlite(statement):
                if "executions" in text:
                    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", _Anything())]
                    found += [where for step in plan if step in WHOLE]

    assert found == []


class _Anything(dict[str, None]):
    """A mapping with a value for every parameter."""

    def __missing__(self, name: str) -> None:
        return None


@pytest.mark.only("postgres")
def test_no_text_is_compared_by_the_rules_of_a_language(path: Place) -> None:
    """The order of ids must not depend on where the database was made."""

    async def collated(connection: "asyncpg.Connection[Any]") -> list[tuple[Any, ...]]:
        return [
            tuple(row)
            for row in await connection.fetch(
                "SELECT t.relname, a.attname FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid"
                " JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema()"
                " JOIN pg_attribute a ON a.attrelid = i.indexrelid"
                " JOIN pg_collation c ON c.oid = a.attcollation"
                " WHERE c.collname <> 'C' AND t.relname <> 'alembic_version' AND a.attname NOT IN ('status', 'kind')"
            )
        ]

    assert isinstance(path, str)
    assert connected(path, collated) == []
