"""Brings a database to the schema this program expects.

Alembic is imported only when the schema is behind: the import alone takes longer than a start.
"""

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.errors import FlowRunnerError

# All that this version knows, in their order.
REVISIONS: Final = ("0001",)
HEAD: Final = REVISIONS[-1]
COMPATIBLE_WITH: Final = "SELECT compatible_with FROM engine"


class SchemaTooNew(FlowRunnerError):
    """The database was written by a later version of FlowRunner, which this one cannot run beside or after."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a database has.

    Attributes:
        revision: The last migration that was made; None if there is no schema yet.
        compatible_with: For a revision that this version does not know: the earliest one whose programs can use it.
    """

    revision: str | None
    compatible_with: str | None = None

    @property
    def is_usable(self) -> bool:
        """This version can use the database as it is."""
        return self.revision == HEAD or (self.compatible_with is not None and self.compatible_with <= HEAD)

    @property
    def is_newer(self) -> bool:
        return self.revision is not None and self.revision not in REVISIONS

    def too_new(self, name: str) -> SchemaTooNew:
        return SchemaTooNew(
            f"{name} has the schema '{self.revision}', which this version does not know: "
            "start the version of FlowRunner that wrote it, or a newer one"
        )


class UnusableDatabase(FlowRunnerError):
    """It is not a database, is damaged, holds something else, or cannot be written; the message says what to do."""


def migrate_sqlite(path: Path) -> None:
    """Create the database at ``path`` if there is none, and bring it to the newest schema.

    Raises:
        SchemaTooNew: If it was written by a later version.
        UnusableDatabase: If it cannot be asked which schema it has, or changed.
    """
    current = schema_of_sqlite(path)
    if current.is_usable:
        return
    if current.is_newer:
        raise current.too_new(f"The database {path}")
    from alembic import command
    from sqlalchemy.exc import DBAPIError

    config = alembic_config()
    config.attributes["sqlite_path"] = path
    try:
        command.upgrade(config, "head")
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


def schema_of_sqlite(path: Path) -> Schema:
    """Return the schema that the database has. Raises: UnusableDatabase."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # Takes effect only while the database is still empty; lets a purge give space back.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            schema = Schema(None if row is None else str(row[0]))
            if schema.is_newer:
                return replace(schema, compatible_with=str(connection.execute(COMPATIBLE_WITH).fetchone()[0]))
            return schema
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):
            return Schema(None)
        raise UnusableDatabase(f"The database {path} cannot be used: {_with_advice(error)}") from error


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
