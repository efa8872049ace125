"""The files of a SQLite database, and whether they are still the ones that it was opened with."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Final, TypeAlias

import structlog

logger = structlog.get_logger()

_File: TypeAlias = tuple[int, int]
_SAVED: Final = "all that was written is in the database now; end the server, and start it again"
_LOST: Final = "what was written since is not kept; end the server, put the file back, and start it again"


class DatabaseFiles:
    """Notices that the database or its log was deleted, moved or replaced while the server has it open.

    SQLite goes on with the files that it has open, and all that it writes there is lost when it closes them.

    Attributes:
        gone: The first file that was found to be gone; None as long as there is none. Nothing may be written then.
    """

    def __init__(self, path: Path) -> None:
        self.gone: Path | None = None
        self._paths = (path, path.with_name(f"{path.name}-wal"))
        self._known: dict[Path, _File | None] = {path: _file_at(path)}

    def check(self, connection: sqlite3.Connection) -> None:
        """Look after a commit, before anybody is told of it.

        Raises:
            sqlite3.Error: The commit is lost, or may be.
        """
        for path in self._paths:
            found = _file_at(path)
            # The log is made by the first commit, which has been by now.
            if found is None or self._known.setdefault(path, found) != found:
                self._save(connection, path)
                return

    def _save(self, connection: sqlite3.Connection, gone: Path) -> None:
        """Bring what is in the lost log into the database, which makes it as durable as it ever is."""
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
