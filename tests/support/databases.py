"""Databases for tests, and appends to put into them.

A place is where one of them is: the path of a SQLite file, or the URL of a PostgreSQL database.
"""

import asyncio
import itertools
import re
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias, cast, overload
from weakref import WeakKeyDictionary

import asyncpg

from flowrunner.domain.account import Account, Role
from flowrunner.domain.causes import Requested, StartCause
from flowrunner.domain.events import Cancelled, Completed, Event, Failed, Logged, NodeCompleted, NodeStarted, Started
from flowrunner.domain.labels import NO_LABELS
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId, personal_workspace
from flowrunner.ports.event_codec import encode_event
from flowrunner.ports.journal import Append, NewExecution, Recorded, Summary
from flowrunner.storage.appends import AppendOp, append_together
from flowrunner.storage.database import OnDuration, unmeasured
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.location import PostgresUrl
from flowrunner.storage.postgres.migrations import migrate_postgres
from flowrunner.storage.sqlite import location
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from flowrunner.storage.tables import Table
from flowrunner.storage.transaction import Refused
from support.postgres import PostgresServer, connected, query, share_a_connection, sharing_a_connection
from support.waiting import PATIENCE_SECONDS

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
# Accounts, and their personal workspaces, which have the same ids.
MARA_ACCOUNT: Final = AccountId("account-mara")
MARA: Final = personal_workspace(MARA_ACCOUNT)
OMAR_ACCOUNT: Final = AccountId("account-omar")
OMAR: Final = personal_workspace(OMAR_ACCOUNT)
REQUESTED: Final = Requested(by=MARA_ACCOUNT)
Place: TypeAlias = Path | str

_TEMPLATE: Final = "newest_schema"
_EMPTIED: Final = "emptied"


@cache
def newest_schema() -> bytes:
    """An empty database file of the newest schema."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        migrate_sqlite(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def new_database_file(path: Path) -> Path:
    """A database of the newest schema, made once and copied: migrating takes longer than most tests."""
    path.write_bytes(newest_schema())
    return path


def copy_new_databases() -> None:
    """Let programs of this process copy a new database file in 1 ms, in place of all migrations in 100."""

    def migrate(path: Path) -> None:
        # The program has made the file before, so that it is private, and has looked for a schema in it.
        if path.exists() and not _is_empty(path):
            migrate_sqlite(path)
        else:
            path.touch(0o600)
            new_database_file(path)

    location.migrate_sqlite = migrate  # type: ignore[attr-defined]


def _is_empty(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_schema").fetchone() is None
    except sqlite3.DatabaseError:
        # The program says what is wrong with it.
        return False


def new_postgres_database(server: PostgresServer) -> str:
    """A database of the newest schema, made once a server and copied."""
    if not query(server.url(), "SELECT 1 FROM pg_database WHERE datname = $1", _TEMPLATE):
        query(server.url(), f"CREATE DATABASE {_TEMPLATE}")
        url = server.url(_TEMPLATE)
        # No connection may be left to what is copied.
        connected(server.url(), lambda connection: migrate_postgres(url))
    return server.new_database(_TEMPLATE)


def emptied_postgres_database(server: PostgresServer) -> str:
    """The one database of a server that is emptied each time, in a tenth of the time that a new one takes.

    Nobody may be connected to it any more who has something to write.
    """
    url = server.url(_EMPTIED)
    if statement := _emptying.get(server):
        connected(url, partial(_execute_together, statement=statement))
    else:
        query(server.url(), f"ALTER DATABASE {new_postgres_database(server).rpartition('/')[2]} RENAME TO {_EMPTIED}")
        # A new one for each query would take longer than most of them.
        share_a_connection(url)
        _emptying[server] = connected(url, _remember)
    return url


# By server: what makes the database as new again.
_emptying: Final[WeakKeyDictionary[PostgresServer, str]] = WeakKeyDictionary()


async def _execute_together(connection: "asyncpg.Connection[Any]", statement: str) -> None:
    async with connection.transaction():
        await connection.execute(statement)


async def _remember(connection: "asyncpg.Connection[Any]") -> str:
    """Copy the rows that a new database has; return the statements that bring it back to them."""
    await connection.execute("CREATE SCHEMA untouched")
    tables = await _tables(connection)
    kept = [t for t in tables if await connection.fetchval(f"SELECT EXISTS (SELECT 1 FROM {t})")]
    for table in kept:
        await connection.execute(f"CREATE TABLE untouched.{table} AS TABLE {table}")
    return ";".join(
        # Triggers, which keep what must never be deleted, are not asked.
        ["SET LOCAL session_replication_role = replica"]
        + [f"DELETE FROM {table}" for table in tables]
        + [f"INSERT INTO {table} SELECT * FROM untouched.{table}" for table in kept]
    )


def add_flows(place: Place) -> Place:
    """What `creation` refers to: Mara with a few flows, and Omar with one."""
    accounts = [(id, id, f"{id}@example.com") for id in (MARA, OMAR)]
    flows = [*((f"flow-{n}", MARA) for n in range(3)), ("flow-omar", OMAR)]
    # In as few connections as can be: one to PostgreSQL takes longer than all rows.
    with sharing_a_connection(place) if isinstance(place, str) else nullcontext():
        change(
            place,
            "INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at) VALUES "
            + ", ".join(["(?, ?, ?, 'user', 'x', 0, 0)"] * len(accounts)),
            *chain(*accounts),
        )
        change(
            place,
            "INSERT INTO flows (id, workspace_id, name, description, version, tags, revision_id, created_at,"
            " updated_at) VALUES " + ", ".join(["(?, ?, 'N', '', '1', '[]', 'rev-1', 0, 0)"] * len(flows)),
            *chain(*flows),
        )
    return place


@overload
def open_database(
    place: Path, *, on_commit: Callable[[int], None] = ..., on_duration: OnDuration = ...
) -> SqliteDatabase: ...
@overload
def open_database(
    place: str, *, on_commit: Callable[[int], None] = ..., on_duration: OnDuration = ...
) -> PostgresDatabase: ...
@overload
def open_database(
    place: Place, *, on_commit: Callable[[int], None] = ..., on_duration: OnDuration = ...
) -> SqliteDatabase | PostgresDatabase: ...
def open_database(
    place: Place, *, on_commit: Callable[[int], None] = lambda size: None, on_duration: OnDuration = unmeasured
) -> SqliteDatabase | PostgresDatabase:
    if isinstance(place, Path):
        return SqliteDatabase(place, bulk={AppendOp: append_together}, on_commit=on_commit, on_duration=on_duration)
    return cast("PostgresDatabase", PostgresUrl(url=place).open(on_commit=on_commit, on_duration=on_duration))


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Have one connection for all queries inside, where each takes a new one otherwise."""
    if isinstance(place, str):
        with sharing_a_connection(place):
            yield
    elif (key := (place, threading.get_ident())) in _read:
        yield
    else:
        with closing(sqlite3.connect(place)) as connection:
            _read[key] = connection
            try:
                yield
            finally:
                del _read[key]


# The connections that several queries of a thread have together, by file: each reads the whole schema before its first
# query.
_read: Final[dict[tuple[Path, int], sqlite3.Connection]] = {}


def rows_of(place: Place, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What a query gives; its parameters are written as `?`."""
    if isinstance(place, str):
        return query(place, _numbered(statement), *values)
    with reading(place):
        return _read[place, threading.get_ident()].execute(statement, values).fetchall()


async def until_somebody_waits_for_a_row(url: str) -> None:
    """Return when a connection to a database of PostgreSQL waits for what another one has locked."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while rows_of(url, waiting) == []:  # noqa: ASYNC110 # it is the server who knows
            await asyncio.sleep(0.01)


def change(place: Place, statement: str, *values: object) -> None:
    """Have a statement done, past the program. Raises: Refused if the schema does not allow it."""
    if isinstance(place, str):
        try:
            query(place, _numbered(statement), *values)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Refused(str(error)) from error
        return
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        try:
            connection.execute(statement, values)
        except sqlite3.IntegrityError as error:
            raise Refused(str(error)) from error


def _numbered(statement: str) -> str:
    numbers = itertools.count(1)
    return re.sub(r"\?", lambda found: f"${next(numbers)}", statement)


def owner_of(table: Table) -> str | None:
    """Return the column with the workspace or the account that the rows of a table belong to."""
    return next((column for column in ("workspace_id", "account_id") if column in table.columns), None)


def contents_of(place: Place) -> list[str]:
    """Everything in the database, to tell whether it has changed."""
    if isinstance(place, str):
        return connected(place, _contents)
    with closing(sqlite3.connect(place)) as connection:
        return list(connection.iterdump())


async def _contents(connection: "asyncpg.Connection[Any]") -> list[str]:
    return [
        f"{table} {tuple(row)}"
        for table in await _tables(connection)
        for row in await connection.fetch(f"SELECT * FROM {table} AS t ORDER BY t::text")
    ]


async def _tables(connection: "asyncpg.Connection[Any]", schema: str = "public") -> list[str]:
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = $1 AND table_type = 'BASE TABLE' ORDER BY 1",
        schema,
    )
    return [name for (name,) in rows]


def account(id: str = MARA, *, email: str | None = None, role: Role = "admin") -> Account:
    return Account(
        id=AccountId(id), name=id, email=email or f"{id}@example.com", role=role, created_at=NOON, updated_at=NOON,
        is_email_confirmed=True,
    )  # fmt: skip


def recorded(events: Sequence[Event], *, after: int, at: datetime = NOON) -> list[Recorded]:
    return [
        Recorded(after + n, at + timedelta(milliseconds=after + n), event, encode_event(event))
        for n, event in enumerate(events, start=1)
    ]


def creation(
    id: str,
    *,
    epoch: int,
    workspace_id: WorkspaceId = MARA,
    flow_id: str = "flow-1",
    key: str | None = None,
    digest: str | None = None,
    cause: StartCause = REQUESTED,
    at: datetime = NOON,
    input: JSON = None,
    labels: Mapping[str, str] = NO_LABELS,
    searchable: Sequence[str] = (),
) -> Append:
    """The first append of an execution, whose first node has started."""
    events: list[Event] = [
        Started(node="a", node_type="log", input={"n": 1} if input is None else input, cause=cause, labels=labels),
        NodeStarted(node="a", node_type="log", iteration=1, attempt=1),
    ]
    return Append(
        execution_id=ExecutionId(id),
        epoch=epoch,
        after=0,
        records=recorded(events, after=0, at=at),
        summary=Summary(status=Status.RUNNING),
        create=NewExecution(
            id=ExecutionId(id),
            workspace_id=workspace_id,
            flow_id=FlowId(flow_id),
            revision_id=RevisionId("rev-1"),
            started_at=at,
            cause=cause,
            idempotency_key=key,
            request_digest=digest,
            labels=labels,
            searchable=searchable,
        ),
    )


def following(id: str, *events: Event, epoch: int, after: int, at: datetime = NOON) -> Append:
    """A later append; its summary is what the last event says."""
    records = recorded(events, after=after, at=at)
    last = events[-1] if events else None
    match last:
        case Completed():
            summary = Summary(status=Status.COMPLETED, completed_at=records[-1].at)
        case Failed(error=error):
            summary = Summary(status=Status.FAILED, completed_at=records[-1].at, error=error)
        case Cancelled():
            summary = Summary(status=Status.CANCELLED, completed_at=records[-1].at)
        case _:
            summary = Summary(status=Status.RUNNING)
    return Append(execution_id=ExecutionId(id), epoch=epoch, after=after, records=records, summary=summary)


def completion(id: str, *, epoch: int, after: int = 2, result: Any = None, at: datetime = NOON) -> Append:
    """The step that `creation` started and the execution, both completed."""
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=result)
    return following(id, done, Completed(result=result), epoch=epoch, after=after, at=at)


def log_line(message: str = "x") -> Logged:
    return Logged(level="info", message=message)
