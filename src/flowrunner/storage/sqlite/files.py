"""Detection of deleted or replaced files of an open SQLite database."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final, TypeAlias

import structlog

logger = structlog.get_logger()

_File: TypeAlias = tuple[int, int]
_SAVED: Final = "everything written so far is in the database; stop the server, and start it again"
_LOST: Final = "later writes are lost; stop the server, put the file back, and start it again"
# Two changes of a directory within one tick of the file system's clock have the same time.
_LOOK_SECONDS: Final = 0.1


class DatabaseFiles:
    """Detector of a database file or log that was deleted, moved or replaced while the server has it open.

    SQLite continues with the open files, and everything that it writes there is lost when it closes them.

    Attributes:
        gone: The first file that was found missing; None if none was. Nothing may be written once it is set.
    """

    def __init__(self, path: Path) -> None:
        self.gone: Path | None = None
        self._paths = (path, path.with_name(f"{path.name}-wal"))
        self._known: dict[Path, _File | None] = {path: _file_at(path)}
        self._directory = os.open(path.parent, os.O_RDONLY)
        self._changed_at = 0
        self._look_at = 0.0

    def close(self) -> None:
        os.close(self._directory)

    def check(self, connection: sqlite3.Connection) -> None:
        """Check the files after a commit, before its outcome is reported.

        Raises:
            sqlite3.Error: If the commit is lost, or may be.
        """
        # No file disappears without a change of its directory, and checking that takes a tenth of the time.
        changed_at, now = os.fstat(self._directory).st_mtime_ns, time.monotonic()
        if changed_at == self._changed_at and now < self._look_at:
            return
        self._changed_at, self._look_at = changed_at, now + _LOOK_SECONDS
        for path in self._paths:
            found = _file_at(path)
            # The first commit creates the log, so by now it must exist.
            if found is None or self._known.setdefault(path, found) != found:
                self._save(connection, path)
                return

    def _save(self, connection: sqlite3.Connection, gone: Path) -> None:
        """Write the content of the lost log into the database, where it is durable."""
        self.gone = gone
        database, _ = self._paths
        is_saved = False
        if _file_at(database) == self._known[database]:
            is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            is_saved = not is_busy
        logger.critical("storage.file_gone", file=str(gone), is_saved=is_saved, hint=_SAVED if is_saved else _LOST)
        if not is_saved:
            raise sqlite3.OperationalError(f"{gone} was deleted or replaced")


def _file_at(path: Path) -> _File | None:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None
