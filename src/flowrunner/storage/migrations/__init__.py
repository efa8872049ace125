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
    """It is not a database, is damaged, holds something else, or cannot be written; the message says what to do."""


def migrate_sqlite(path: Path) -> None:
    """Create the database at ``path`` if there is none, and bring it to the newest schema.

    Raises:
        SchemaTooNew: If it was written by a later version.
        UnusableDatabase: If it cannot be asked which schema it has, or changed.
    """
    current = revision_of_sqlite(path)
    if current == HEAD:
        return
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    config = alembic_config()
    config.attributes["sqlite_path"] = path
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaTooNew(
            f"The database {path} has the schema '{current}', which this version does not know: "
            "start the version of FlowRunner that wrote it, or a newer one"
        ) from error
    except DBAPIError as error:
        raise UnusableDatabase(
            f"The database {path} cannot be brought to the newest schema: {_with_advice(error.orig)}"
        ) from error


def alembic_config() -> Any:
    """Alembic's `Config`, which knows where the migrations are."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def revision_of_sqlite(path: Path) -> str | None:
    """The schema that the database has; None if it has none yet. Raises: UnusableDatabase."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # Takes effect only while the database is still empty; lets a purge give space back.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return None
        raise UnusableDatabase(f"The database {path} cannot be used: {_with_advice(error)}") from error
    return None if row is None else str(row[0])


# What helps, by the codes that SQLite gives.
_RESTORE: Final = "restore it from your backup"
_LET_WRITE: Final = "the user that FlowRunner runs as has to be able to write the file and the directory it is in"
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "another program is using it: end that one first",
    sqlite3.SQLITE_FULL: "there is no room left on the disk",
    sqlite3.SQLITE_IOERR: "the disk may be full, or damaged",
    sqlite3.SQLITE_READONLY: _LET_WRITE,
    sqlite3.SQLITE_CANTOPEN: _LET_WRITE,
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
}


def _with_advice(error: BaseException | None) -> str:
    """What the error says, and what to do about it if that is known."""
    # The higher bytes tell more than is of use here.
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return str(error) if advice is None else f"{error}; {advice}"
