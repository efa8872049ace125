"""Connections to a SQLite file, and the meaning of its errors."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

OLDEST_SQLITE: Final = (3, 38, 0)
_UNREADABLE: Final = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
    sqlite3.SQLITE_IOERR_DATA,
)
# Advice by SQLite's primary result code, for errors that occur before the first successful start.
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


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that a server may be using, without changing it. Raises: sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def connect_to_write(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    _configure(connection)
    # The pages that undo a single statement. By default, those of a statement that changes more than 16 pages are
    # written to a file, and the end of an execution changes as many with its indexes.
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    configure_to_read(connection)
    return connection


def connect(path: Path) -> sqlite3.Connection:
    # Opened on one thread and used on another, but never on two at the same time.
    return sqlite3.connect(path, isolation_level=None, cached_statements=256, check_same_thread=False)


def configure_to_read(connection: sqlite3.Connection) -> None:
    _configure(connection)
    connection.execute("PRAGMA query_only = ON")


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # Shrinks a log that has grown in a burst of writes.
    connection.execute("PRAGMA journal_size_limit = 67108864")
    # Small, because the operating system caches the file anyway. A search reads up to 1,000 pages of 4 KiB; it takes
    # twice the processor time with a cache that is too small for them.
    connection.execute("PRAGMA cache_size = -8192")


def is_database_failure(error: BaseException) -> bool:
    """Return whether the database is unavailable or damaged, as opposed to an error in the operation."""
    return is_damage(error) or isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError)


def is_damage(error: BaseException) -> bool:
    """Return whether a part of the file cannot be read, although others can."""
    # The driver has no exception class for a damaged file.
    return type(error) is sqlite3.DatabaseError or getattr(error, "sqlite_errorcode", None) in _UNREADABLE


def primary_code(error: BaseException | None) -> int:
    """Return SQLite's primary result code; 0 for an error of another origin."""
    # The lowest byte of the extended code.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def with_advice(error: BaseException | None) -> str:
    """Return the text of the error, with advice if there is any for its code."""
    advice = _ADVICE.get(primary_code(error))
    return str(error) if advice is None else f"{error}; {advice}"
