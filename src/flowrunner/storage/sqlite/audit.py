"""A check of the audit log in a SQLite file, with or without a running server."""

import sqlite3
from pathlib import Path

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.audit_chain import ChainReport, check_chain
from flowrunner.storage.sqlite.connections import read_only
from flowrunner.storage.sqlite.presence import is_there
from flowrunner.storage.sqlite.transaction import SqliteTransaction, finish


def check_chain_of(path: Path, *, expected: tuple[int, str] | None = None) -> ChainReport:
    """Check the chain in a database file without changing it, also while a server uses it.

    Raises:
        FlowRunnerError: If there is no such database, or no audit log in it.
    """
    if not (is_there(path) and path.is_file()):
        raise FlowRunnerError(f"There is no database {path}")
    try:
        with read_only(path) as connection:
            return finish(check_chain(SqliteTransaction(connection), expected=expected))
    except sqlite3.DatabaseError as error:
        raise FlowRunnerError(f"The audit log in {path} cannot be read: {error}") from None
