"""Brings a database to the schema this program expects.

Alembic is imported only when the schema is behind: the import alone takes longer than a start.
"""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.errors import FlowRunnerError

HEAD: Final = "0001"


class SchemaTooNew(FlowRunnerError):
    """The database was written by a later version of FlowRunner."""


class UnusableDatabase(FlowRunnerError):
    """The file is not a database, is damaged, or cannot be written."""


def migrate_sqlite(path: Path) -> None:
    """Create the database at ``path`` if there is none, and bring it to the newest schema.

    Raises:
        SchemaTooNew: If it was written by a later version.
        UnusableDatabase: If it cannot even be asked which schema it has.
    """
    current = revision_of_sqlite(path)
    if current == HEAD:
        return
    from alembic import command
    from alembic.util import CommandError

    config = alembic_config()
    config.attributes["sqlite_path"] = path
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaTooNew(
            f"The database {path} has the schema '{current}', which this version does not know: "
            "start the version of FlowRunner that wrote it, or a newer one"
        ) from error


def alembic_config() -> Any:
    """Alembic's `Config`, which knows where the migrations are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def revision_of_sqlite(path: Path) -> str | None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            # Takes effect only while the database is still empty; lets a purge give space back.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error):
                return None
            raise UnusableDatabase(
                f"The database {path} cannot be used ({error}): restore it from your backup"
            ) from error
    return None if row is None else str(row[0])
