"""Copies of a SQLite file that a server may be writing, and their check."""

import contextlib
import sqlite3
import time
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flowrunner.storage.migrations import Schema, UnusableDatabase
from flowrunner.storage.secrets import MASTER_KEY_IDS
from flowrunner.storage.sqlite.connections import read_only
from flowrunner.storage.sqlite.migrations import schema_in

ORPHANS: Final = "PRAGMA foreign_key_check"
# 8 MiB with pages of 4 KiB.
_PAGES_A_STEP: Final = 2048


def copy_online(source: Path, target: Path) -> None:
    """Copy one state of the database into a new file. Writers of the database do not wait for the copy.

    Raises:
        UnusableDatabase: If the file cannot be read, or the copy cannot be written.
    """
    try:
        with (
            read_only(source) as reading,
            contextlib.closing(sqlite3.connect(target, isolation_level=None)) as writing,
        ):
            reading.isolation_level = None
            # One snapshot for all steps: without it, each commit of the server would start the copy again.
            reading.execute("BEGIN")
            reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
            # The caller makes the finished file durable.
            writing.execute("PRAGMA synchronous = OFF")
            reading.backup(writing, pages=_PAGES_A_STEP, progress=_Pauses())
            # The copy is one file: a log beside it would have to be moved with it.
            writing.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.DatabaseError as error:
        raise UnusableDatabase(
            f"{source} cannot be copied: {error}. If the disk is full, choose a place with more room; if it cannot be "
            "opened, run the command as the user that the server runs as; if it is damaged, restore an earlier backup"
        ) from None


class _Pauses:
    """A pause after each step, as long as the step, which leaves half of the disk's time to the server."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        time.sleep(min(time.monotonic() - self._began_at, 0.1))
        self._began_at = time.monotonic()


@dataclass(frozen=True, slots=True)
class CheckedCopy:
    """A copy without damage.

    Attributes:
        schema: Its schema.
        master_key_ids: The ids of the master keys that its secrets need.
    """

    schema: Schema
    master_key_ids: Set[str]


def check_copy(path: Path) -> CheckedCopy:
    """Check every page, index and reference of a file that no process writes. Raises: UnusableDatabase."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            faults = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
            if faults == ["ok"]:
                faults = [f"{table}: a row without its {parent}" for table, _, parent, _ in connection.execute(ORPHANS)]
            if not faults:
                schema = schema_in(connection)
                if schema.revision is not None:
                    return CheckedCopy(schema, {id for (id,) in connection.execute(MASTER_KEY_IDS)})
                # A start would make tables that are there.
                faults = ["it has no schema version"]
    except (sqlite3.DatabaseError, TypeError) as error:
        faults = [str(error)]
    raise UnusableDatabase(f"The database in the copy is damaged ({'; '.join(faults[:3])}): use an earlier backup")
