"""Migrations to the schema that this program expects.

Alembic is imported only to run migrations, because the import alone takes longer than a start.
"""

import contextlib
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.errors import FlowRunnerError

# The revisions that this version knows, in order: Alembic reads the same files. Revisions compare as text.
REVISIONS: Final = tuple(sorted(file.name[:4] for file in Path(__file__).parent.glob("versions/[0-9]*.py")))
HEAD: Final = REVISIONS[-1]
COMPATIBLE_WITH: Final = "SELECT compatible_with FROM engine"


class UnknownSchema(FlowRunnerError):
    """A database with a schema that this version can neither use nor migrate; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database.

    Attributes:
        revision: The last migration that was applied; None if there is no schema yet.
        compatible_with: For a newer revision: the oldest one whose programs can use the database.
    """

    revision: str | None
    compatible_with: str | None = None

    @property
    def is_usable(self) -> bool:
        """Return whether this version can use the database without a migration."""
        return self.revision == HEAD or (self.compatible_with is not None and self.compatible_with <= HEAD)

    @property
    def is_obsolete(self) -> bool:
        """Return whether the schema is older than all that this version can migrate."""
        return self.revision is not None and self.revision < REVISIONS[0]

    @property
    def is_newer(self) -> bool:
        return self.revision is not None and self.revision not in REVISIONS and not self.is_obsolete

    def check_can_migrate(self, name: str) -> None:
        """Raise UnknownSchema if no migration leads from this schema to the newest one.

        Args:
            name: The database, for the message.
        """
        if self.is_obsolete:
            raise UnknownSchema(
                f"{name} has the schema '{self.revision}' of a version before the first release, which this version "
                "can neither use nor migrate. Read your flows from it with the version that made it "
                "(GET /api/v1/flows); then start this version with another data directory, or another database, and "
                "save them there"
            )
        if self.is_newer:
            raise UnknownSchema(
                f"{name} has the schema '{self.revision}', which this version does not know: "
                "start the version of FlowRunner that wrote it, or a newer one"
            )


class UnusableDatabase(FlowRunnerError):
    """A file or database that is damaged, cannot be written, or is not FlowRunner's; the message says what to do."""


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


def alembic_config() -> Any:
    """Return Alembic's `Config` with the directory of the migrations."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def schema_of_sqlite(path: Path) -> Schema:
    """Return the schema that the database has. Raises: UnusableDatabase."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            # Takes effect only while the database is empty. A purge can then return space to the file system.
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
        raise UnusableDatabase(f"The database {path} cannot be used: {with_advice(error)}") from error


# Advice by SQLite's primary result code.
_RESTORE: Final = "restore it from your backup"
_LET_WRITE: Final = "the user that FlowRunner runs as has to be able to write the file and the directory it is in"
_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "another program is using it: stop that one first",
    sqlite3.SQLITE_FULL: "no space is left on the disk",
    sqlite3.SQLITE_IOERR: "the disk may be full, or damaged",
    sqlite3.SQLITE_READONLY: _LET_WRITE,
    sqlite3.SQLITE_CANTOPEN: _LET_WRITE,
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
}


def with_advice(error: BaseException | None) -> str:
    """Return the text of the error, with advice if there is any for its code."""
    # The lowest byte is the primary result code.
    advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return str(error) if advice is None else f"{error}; {advice}"
