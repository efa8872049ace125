"""Migrations of a SQLite file to the schema that this program expects."""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final

from flowrunner.storage.migrations import COMPATIBLE_WITH, Schema, UnusableDatabase, alembic_config
from flowrunner.storage.sqlite.connections import with_advice

EXISTS: Final = "SELECT 1 FROM sqlite_schema WHERE name = 'alembic_version'"
REVISION: Final = "SELECT version_num FROM alembic_version"


def migrate_sqlite(path: Path) -> None:
    """Create the database at ``path`` if there is none, and migrate it to the newest schema.

    Raises:
        UnknownSchema: If no migration leads from its schema to the newest one.
        UnusableDatabase: If the schema cannot be read, or the database cannot be changed.
    """
    current = schema_of_sqlite(path)
    if current.is_usable:
        return
    current.check_can_migrate(f"The database {path}")
    from alembic import command
    from sqlalchemy.exc import DBAPIError

    config = alembic_config()
    config.attributes["sqlite_path"] = path
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        raise UnusableDatabase(
            f"The database {path} cannot be migrated to the newest schema: {with_advice(error.orig)}"
        ) from error


def schema_of_sqlite(path: Path) -> Schema:
    """Return the schema that the database has, and give it the settings that are kept in the file.

    Raises: UnusableDatabase, also if the file cannot be written.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # Takes effect only while the database is empty. A purge can then return space to the file system.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            # A restored file has another mode.
            connection.execute("PRAGMA journal_mode = WAL")
            return schema_in(connection)
    except sqlite3.DatabaseError as error:
        raise UnusableDatabase(f"The database {path} cannot be used: {with_advice(error)}") from error


def schema_in(connection: sqlite3.Connection) -> Schema:
    """Return the schema of an open database. Raises: sqlite3.Error."""
    if connection.execute(EXISTS).fetchone() is None:
        return Schema(None)
    row = connection.execute(REVISION).fetchone()
    schema = Schema(None if row is None else str(row[0]))
    if schema.is_newer:
        return replace(schema, compatible_with=str(connection.execute(COMPATIBLE_WITH).fetchone()[0]))
    return schema
