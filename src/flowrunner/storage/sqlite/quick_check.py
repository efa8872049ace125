"""A check of a SQLite file that a server may be using, within a limited time."""

import sqlite3
import time
from pathlib import Path
from typing import Final

from flowrunner.storage.migrations import UnusableDatabase
from flowrunner.storage.sqlite.connections import OLDEST_SQLITE, primary_code, read_only, with_advice

# Versions of SQLite: the oldest one that works, and that of this Python.
OLDEST: Final = OLDEST_SQLITE
VERSION: Final = sqlite3.sqlite_version_info

QUICK_CHECK: Final = "PRAGMA quick_check(3)"
LAST_ENTRY: Final = "SELECT max(at) FROM audit"
_INSTRUCTIONS_A_LOOK: Final = 10_000


def faults_of(path: Path, *, seconds: float) -> list[str] | None:
    """Return the faults of the file; None if it is too large to be checked in this time.

    Raises:
        UnusableDatabase: If the file cannot be read, which says nothing about damage.
    """
    until = time.monotonic() + seconds
    try:
        with read_only(path) as connection:
            connection.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS_A_LOOK)
            found = [str(row[0]) for row in connection.execute(QUICK_CHECK)]
    except sqlite3.DatabaseError as error:
        if primary_code(error) == sqlite3.SQLITE_INTERRUPT:
            return None
        if primary_code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise UnusableDatabase(f"The database {path} cannot be read: {with_advice(error)}") from error
        return [str(error)]
    return [fault for fault in found if fault != "ok"]


def last_written_at(path: Path) -> int | None:
    """Return the time of the last entry of the audit log, in milliseconds since 1970; None if there is none."""
    try:
        with read_only(path) as connection:
            found: int | None = connection.execute(LAST_ENTRY).fetchone()[0]
            return found
    except sqlite3.DatabaseError:
        return None
