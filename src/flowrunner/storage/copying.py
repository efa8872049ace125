"""Copying of a SQLite database into an empty PostgreSQL database."""

import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.connections import CannotConnect, connected
from flowrunner.storage.postgres.transaction import storable
from flowrunner.storage.sqlite.connections import read_only
from flowrunner.storage.tables import TABLES, Table, Untouched


class NotCopied(FlowRunnerError):
    """Failure to copy; the message says why."""


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """Rows that both databases must have, in the same order.

    Attributes:
        booleans: For each column, whether SQLite stores it as 0 and 1.
    """

    table: str
    columns: Sequence[str]
    read: str
    booleans: Sequence[bool]


ALL_ROWS: Final = "SELECT {columns} FROM {table} ORDER BY {key}"


def _copied(table: Table, key: Sequence[str]) -> ComparedRows:
    read = ALL_ROWS.replace("{columns}", ", ".join(table.columns)).replace("{table}", table.name)
    booleans = [column in table.booleans for column in table.columns]
    return ComparedRows(table.name, table.columns, read.replace("{key}", ", ".join(key)), booleans)


COPIED: Final = tuple(_copied(table, table.key) for table in TABLES if not isinstance(table.key, Untouched))
# The target computes the sums: one for each workspace, in any number of parts.
USAGE: Final = ComparedRows(
    "usage",
    ("workspace_id", "stored"),
    "SELECT workspace_id, CAST(sum(stored) AS bigint) FROM usage GROUP BY workspace_id ORDER BY workspace_id",
    (False, False),
)
ENGINE: Final = "SELECT epoch, paused_at FROM engine"
SET_ENGINE: Final = "UPDATE engine SET epoch = $1, paused_at = $2"
IS_EMPTY: Final = "SELECT NOT EXISTS (SELECT 1 FROM accounts) AND NOT EXISTS (SELECT 1 FROM audit)"
ANCHOR: Final = "SELECT seq, hash FROM audit_anchor"
# A trigger accepts only an anchor in the existing log; here the anchor is copied before the log.
SET_ANCHOR: Final = (
    "ALTER TABLE audit_anchor DISABLE TRIGGER audit_anchor_rejects_jump",
    "UPDATE audit_anchor SET seq = $1, hash = $2",
    "ALTER TABLE audit_anchor ENABLE TRIGGER audit_anchor_rejects_jump",
)
# The next rotation gets the number after the last one.
SET_ROTATION: Final = """
SELECT setval(pg_get_serial_sequence('key_rotations', 'id'), coalesce(max(id), 0) + 1, false) FROM key_rotations
"""
ANALYZE: Final = "ANALYZE"

_ROWS_AT_ONCE: Final = 2000
# Copying a large table can take long.
_STATEMENT_SECONDS: Final = 24 * 3600.0


async def copy_to_postgres(
    path: Path, url: str, *, on_table: Callable[[str, int], None] = lambda table, rows: None
) -> dict[str, int]:
    """Copy everything or nothing, and compare source and target by counts and hashes.

    Both must have the newest schema, and no server may use either of them.

    Args:
        on_table: Called with the name and the number of rows of each copied table.

    Returns:
        The number of rows by table.

    Raises:
        NotCopied: If the target is not empty, the file cannot be read, the copy differs from it, or the connection was
            lost.
    """
    counts = {}
    with _with_advice(path), _reading(path) as source:
        async with connected(url, statement_seconds=_STATEMENT_SECONDS) as target:
            async with target.transaction():
                if not await target.fetchval(IS_EMPTY):
                    raise NotCopied(
                        "The target is not empty: it has accounts already. Name an empty database, made with createdb"
                    )
                await target.execute(SET_ENGINE, *source.execute(ENGINE).fetchone())
                disable, update, enable = SET_ANCHOR
                await target.execute(disable)
                await target.execute(update, *source.execute(ANCHOR).fetchone())
                await target.execute(enable)
                for copied in COPIED:
                    sent = _Digest()
                    for rows in _rows_of(source, copied):
                        await target.copy_records_to_table(copied.table, records=rows, columns=copied.columns)
                        sent.add(rows)
                    await _compare(target, copied, sent)
                    counts[copied.table] = sent.count
                    on_table(copied.table, sent.count)
                used = _Digest()
                for rows in _rows_of(source, USAGE):
                    used.add(rows)
                await _compare(target, USAGE, used)
                await target.execute(SET_ROTATION)
    # A failure does not matter, because autovacuum does it later.
    with contextlib.suppress(CannotConnect):
        async with connected(url, statement_seconds=_STATEMENT_SECONDS) as target:
            await target.execute(ANALYZE)
    return counts


@contextlib.contextmanager
def _with_advice(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise NotCopied(f"{path} cannot be read ({error}): nothing was copied. Restore it from your backup") from error
    except CannotConnect as error:
        raise NotCopied(
            "The copy was interrupted: the target holds nothing or everything. "
            f"Copy again once the database answers. {error}"
        ) from error


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Read the file in one snapshot."""
    with read_only(path) as connection:
        connection.execute("BEGIN")
        yield connection


class _Digest:
    """Count and hash of rows, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        self.count += len(rows)
        for row in rows:
            self._hash.update(repr(tuple(row)).encode(errors="surrogatepass"))

    @property
    def hash(self) -> str:
        return self._hash.hexdigest()


def _rows_of(source: sqlite3.Connection, compared: ComparedRows) -> Iterator[list[tuple[Any, ...]]]:
    cursor = source.execute(compared.read)
    while found := cursor.fetchmany(_ROWS_AT_ONCE):
        yield [
            tuple(
                bool(value) if is_bool else storable(value)
                for value, is_bool in zip(row, compared.booleans, strict=True)
            )
            for row in found
        ]


async def _compare(target: Any, compared: ComparedRows, sent: _Digest) -> None:
    arrived = _Digest()
    async for rows in _copied_rows(target, compared):
        arrived.add(rows)
    if (arrived.count, arrived.hash) != (sent.count, sent.hash):
        raise NotCopied(
            f"The table {compared.table} differs from the file, which has {counted(sent.count, 'row')} with the hash "
            f"{sent.hash}: the target has {counted(arrived.count, 'row')} with the hash {arrived.hash}. Nothing was "
            "copied"
        )


async def _copied_rows(target: Any, compared: ComparedRows) -> AsyncIterator[list[tuple[Any, ...]]]:
    cursor = await target.cursor(compared.read)
    while records := await cursor.fetch(_ROWS_AT_ONCE):
        yield [tuple(record) for record in records]
