"""Copying of a SQLite database into an empty PostgreSQL database."""

import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.connections import CannotConnect, connected
from flowrunner.storage.postgres.transaction import storable


class NotCopied(FlowRunnerError):
    """Failure to copy; the message says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table to copy.

    Attributes:
        rows: The statement that reads all rows in the order of their key, with these columns.
    """

    name: str
    columns: Sequence[str]
    rows: str


# In the order that foreign keys require. Workspaces precede accounts: the trigger on accounts then finds them there.
# The database itself maintains the sums in `usage`.
TABLES: Final = (
    Table("workspaces", ("id", "created_at"), "SELECT id, created_at FROM workspaces ORDER BY id"),
    Table(
        "accounts",
        ("id", "name", "email", "role", "password_hash", "created_at", "updated_at", "disabled_at", "deleted_at"),
        """
SELECT id, name, email, role, password_hash, created_at, updated_at, disabled_at, deleted_at FROM accounts ORDER BY id
""",
    ),
    Table(
        "sessions",
        ("id", "family", "account_id", "expires_at", "token_expires_at", "logged_in_at", "replaced_by"),
        """
SELECT id, family, account_id, expires_at, token_expires_at, logged_in_at, replaced_by FROM sessions ORDER BY id
""",
    ),
    Table(
        "tickets",
        ("digest", "session_id", "expires_at"),
        "SELECT digest, session_id, expires_at FROM tickets ORDER BY digest",
    ),
    Table(
        "api_tokens",
        ("id", "account_id", "name", "digest", "scopes", "created_at", "expires_at", "last_used_at"),
        """
SELECT id, account_id, name, digest, scopes, created_at, expires_at, last_used_at FROM api_tokens ORDER BY id
""",
    ),
    Table(
        "key_rotations",
        ("id", "kind", "replaces", "replaced_by", "switched_at", "requested_at", "needed_until", "completed_at"),
        """
SELECT id, kind, replaces, replaced_by, switched_at, requested_at, needed_until, completed_at
  FROM key_rotations ORDER BY id
""",
    ),
    Table(
        "data_keys",
        ("workspace_id", "version", "master_key_id", "wrapped", "rotation"),
        "SELECT workspace_id, version, master_key_id, wrapped, rotation FROM data_keys ORDER BY workspace_id, version",
    ),
    Table(
        "secrets",
        ("workspace_id", "key", "key_version", "sealed", "created_at", "updated_at"),
        "SELECT workspace_id, key, key_version, sealed, created_at, updated_at FROM secrets ORDER BY workspace_id, key",
    ),
    Table(
        "flows",
        (
            "id", "workspace_id", "name", "description", "version", "tags", "revision_id", "edition", "created_at",
            "updated_at", "deleted_at",
        ),
        """
SELECT id, workspace_id, name, description, version, tags, revision_id, edition, created_at, updated_at, deleted_at
  FROM flows ORDER BY id
""",
    ),
    Table(
        "revisions",
        (
            "id", "workspace_id", "flow_id", "number", "version", "size", "created_at", "deleted_at", "definition",
        ),
        """
SELECT id, workspace_id, flow_id, number, version, size, created_at, deleted_at, definition FROM revisions ORDER BY id
""",
    ),
    Table(
        "executions",
        (
            "id", "workspace_id", "flow_id", "revision_id", "status", "started_at", "completed_at", "error", "is_idle",
            "wake_at", "waiting_for", "epoch", "last_seq", "size", "idempotency_key", "request_digest", "parent_id",
            "rerun_of", "concurrency_key", "concurrency_limit", "queue_position", "is_queued", "is_active", "queued_at",
        ),
        """
SELECT id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error,
       CASE WHEN is_idle THEN true ELSE false END, wake_at, waiting_for, epoch, last_seq,
       size, idempotency_key, request_digest, parent_id, rerun_of, concurrency_key, concurrency_limit, queue_position,
       CASE WHEN is_queued THEN true ELSE false END, CASE WHEN is_active THEN true ELSE false END, queued_at
  FROM executions ORDER BY id
""",
    ),
    Table(
        "events",
        ("execution_id", "seq", "at", "type", "data"),
        "SELECT execution_id, seq, at, type, data FROM events ORDER BY execution_id, seq",
    ),
    Table(
        "audit",
        (
            "seq", "at", "actor", "credential", "address", "action", "object_kind", "object_id", "workspace_id",
            "outcome", "details", "previous", "hash",
        ),
        """
SELECT seq, at, actor, credential, address, action, object_kind, object_id, workspace_id, outcome, details, previous,
       hash
  FROM audit ORDER BY seq
""",
    ),
)  # fmt: skip
USAGE: Final = Table(
    "usage",
    ("workspace_id", "stored"),
    "SELECT workspace_id, CAST(sum(stored) AS bigint) FROM usage GROUP BY workspace_id ORDER BY workspace_id",
)
BOOLEANS: Final = frozenset({"is_idle", "is_queued", "is_active"})
EPOCH: Final = "SELECT epoch FROM engine"
SET_EPOCH: Final = "UPDATE engine SET epoch = $1"
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
                await target.execute(SET_EPOCH, source.execute(EPOCH).fetchone()[0])
                disable, update, enable = SET_ANCHOR
                await target.execute(disable)
                await target.execute(update, *source.execute(ANCHOR).fetchone())
                await target.execute(enable)
                for table in TABLES:
                    sent = _Digest()
                    for rows in _rows_of(source, table):
                        await target.copy_records_to_table(table.name, records=rows, columns=table.columns)
                        sent.add(rows)
                    await _compare(target, table, sent)
                    counts[table.name] = sent.count
                    on_table(table.name, sent.count)
                used = _Digest()
                for rows in _rows_of(source, USAGE):
                    used.add(rows)
                await _compare(target, USAGE, used)
                await target.execute(SET_ROTATION)
    # May fail, because autovacuum does it later anyway.
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
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
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


def _rows_of(source: sqlite3.Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    cursor = source.execute(table.rows)
    booleans = [column in BOOLEANS for column in table.columns]
    while found := cursor.fetchmany(_ROWS_AT_ONCE):
        yield [
            tuple(bool(value) if is_bool else storable(value) for value, is_bool in zip(row, booleans, strict=True))
            for row in found
        ]


async def _compare(target: Any, table: Table, sent: _Digest) -> None:
    arrived = _Digest()
    async for rows in _copied_rows(target, table):
        arrived.add(rows)
    if (arrived.count, arrived.hash) != (sent.count, sent.hash):
        raise NotCopied(
            f"The table {table.name} differs from the file: {sent.count} rows with the hash {sent.hash} were sent, and "
            f"{arrived.count} rows with the hash {arrived.hash} are in the target. Nothing was copied"
        )


async def _copied_rows(target: Any, table: Table) -> AsyncIterator[list[tuple[Any, ...]]]:
    cursor = await target.cursor(table.rows)
    while records := await cursor.fetch(_ROWS_AT_ONCE):
        yield [tuple(record) for record in records]
