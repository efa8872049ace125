"""Equality of the schemas of both databases."""

import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.databases import new_database_file, new_postgres_database
from support.postgres import PostgresServer, query

TABLES_IN_SQLITE = "SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
# The types of PostgreSQL for each type of SQLite.
TYPES = {"INTEGER": {"bigint", "boolean"}, "TEXT": {"text"}, "BLOB": {"bytea"}}


@dataclass
class Table:
    """Columns with whether they may be null; keys and indexes as their columns, with whether they are unique and
    partial; how many checks; foreign keys as columns and what they refer to."""

    columns: dict[str, bool] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    indexes: dict[str, tuple[tuple[str | None, ...], bool, bool]] = field(default_factory=dict)
    unique: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = field(default_factory=list)
    checks: int = 0
    defaults: set[str] = field(default_factory=set)


def in_sqlite(path: Path) -> dict[str, Table]:
    tables = {}
    with closing(sqlite3.connect(path)) as connection:
        for name, text in connection.execute(TABLES_IN_SQLITE).fetchall():
            table = tables[name] = Table(checks=len(re.findall(r"\bCHECK\s*\(", text)))
            key: list[tuple[int, str]] = []
            for _, column, type, not_null, default, position, _hidden in connection.execute(
                f"PRAGMA table_xinfo({name})"
            ):
                table.columns[column] = not (not_null or position)
                table.types[column] = type.split()[0]
                if position:
                    key.append((position, column))
                if default is not None:
                    table.defaults.add(column)
            table.primary_key = tuple(column for _, column in sorted(key))
            for _, index, unique, origin, partial in connection.execute(f"PRAGMA index_list({name})").fetchall():
                columns = tuple(row[2] for row in connection.execute(f"PRAGMA index_info({index})"))
                if origin == "c":
                    table.indexes[index] = (columns, bool(unique), bool(partial))
                elif origin == "u":
                    table.unique.append(columns)
            keys: dict[int, list[tuple[str, str, str]]] = {}
            for id, _, other, own, theirs, *_ in connection.execute(f"PRAGMA foreign_key_list({name})"):
                keys.setdefault(id, []).append((other, own, theirs))
            table.foreign_keys = sorted(
                (tuple(own for _, own, _ in parts), parts[0][0], tuple(theirs for *_, theirs in parts))
                for parts in keys.values()
            )
    return tables


TABLES = """
SELECT c.relname, a.attname, NOT a.attnotnull, format_type(a.atttypid, NULL), a.atthasdef AND a.attgenerated = ''
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind = 'r' ORDER BY c.relname, a.attnum
"""
INDEXES = """
SELECT c.relname, i.relname, x.indisunique, x.indpred IS NOT NULL, x.indisprimary,
       EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype = 'u'),
       ARRAY(SELECT (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = key)
               FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS keys (key, n) ORDER BY n)
  FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
"""
CONSTRAINTS = """
SELECT c.relname, k.contype, pg_get_constraintdef(k.oid), f.relname
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_class f ON f.oid = k.confrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
"""


def in_postgres(url: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for name, column, nullable, type, has_default in query(url, TABLES):
        table = tables.setdefault(name, Table())
        table.columns[column] = nullable
        table.types[column] = type
        if has_default:
            table.defaults.add(column)
    for name, index, unique, partial, is_primary, is_constraint, columns in query(url, INDEXES):
        if is_primary:
            tables[name].primary_key = tuple(columns)
        elif is_constraint:
            tables[name].unique.append(tuple(columns))
        else:
            tables[name].indexes[index] = (tuple(columns), unique, partial)
    for name, kind, text, _ in query(url, CONSTRAINTS):
        if kind in (b"c", "c"):
            tables[name].checks += 1
        elif kind in (b"f", "f"):
            found = re.fullmatch(r"FOREIGN KEY \((.*)\) REFERENCES (\w+)\((.*)\)", text)
            assert found is not None, text
            tables[name].foreign_keys.append((tuple(found[1].split(", ")), found[2], tuple(found[3].split(", "))))
    for table in tables.values():
        table.foreign_keys.sort()
    return tables


@pytest.fixture(scope="module")
def both(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Table], dict[str, Table]]:
    file = new_database_file(tmp_path_factory.mktemp("schema") / "flowrunner.db")
    return in_sqlite(file), in_postgres(new_postgres_database(postgres))


def test_the_tables_have_the_same_columns_that_may_be_null_alike(both: Any) -> None:
    sqlite, postgres = both

    assert sqlite.keys() == postgres.keys()
    assert len(sqlite) > 12
    for name in sqlite:
        # The order differs: in SQLite long columns are last.
        assert sqlite[name].columns == postgres[name].columns, name
        assert sqlite[name].defaults == postgres[name].defaults, name


def test_the_columns_hold_the_same_kinds_of_values(both: Any) -> None:
    sqlite, postgres = both
    wrong = [
        (name, column, type, postgres[name].types[column])
        for name, table in sqlite.items()
        for column, type in table.types.items()
        if name != "alembic_version" and postgres[name].types[column] not in TYPES[type]
    ]

    assert wrong == []


def test_the_keys_and_indexes_are_the_same(both: Any) -> None:
    sqlite, postgres = both
    for name in sqlite:
        assert sqlite[name].primary_key == postgres[name].primary_key, name
        assert Counter(sqlite[name].unique) == Counter(postgres[name].unique), name
        assert sqlite[name].foreign_keys == postgres[name].foreign_keys, name
        assert sqlite[name].indexes == postgres[name].indexes, name


def test_foreign_keys_named_workspace_id_refer_to_workspaces(both: Any) -> None:
    for tables in both:
        found = {
            name: other
            for name, table in tables.items()
            for columns, other, _ in table.foreign_keys
            if columns == ("workspace_id",)
        }
        of_tenants = ("usage", "data_keys", "secrets", "flows", "members", "api_tokens", "jobs", "triggers")
        more = ("callbacks", "callback_deliveries", "request_keys", "hook_deliveries", "execution_terms", "invitations")
        assert found == dict.fromkeys(
            (*of_tenants, *more, "config_values", "store_entries", "store_counts"), "workspaces"
        )


def test_there_are_as_many_checks(both: Any) -> None:
    """The tests of the stores try on both what the checks reject."""
    sqlite, postgres = both

    assert {name: table.checks for name, table in sqlite.items()} == {
        name: table.checks for name, table in postgres.items()
    }
