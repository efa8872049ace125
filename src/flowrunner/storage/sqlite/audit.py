"""A check of the audit log in a SQLite file, with or without a running server."""

import contextlib
import sqlite3
from pathlib import Path

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.audit_chain import ChainReport, check_chain
from flowrunner.storage.sqlite.database import SqliteTransaction, finish
from flowrunner.storage.sqlite.presence import is_there


def check_chain_of(path: Path, *, expected: tuple[int, str] | None = None) -> ChainReport:
    """Check the chain in a database file without changing it, also while a server uses it.

    Raises:
        FlowRunnerError: If there is no such database, or no audit log in it.
    """
    if not (is_there(path) and path.is_file()):
        raise FlowRunnerError(f"There is no database {path}")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA busy_timeout = 5000")
            return finish(check_chain(SqliteTransaction(connection), expected=expected))
    except sqlite3.DatabaseError as error:
        raise FlowRunnerError(f"The audit log in {path} cannot be read: {error}") from None
