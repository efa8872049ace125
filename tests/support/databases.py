"""Database files for tests, and appends to put into them."""

import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from flowrunner.domain.account import Account, Role
from flowrunner.domain.execution import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeStarted,
    Started,
    Status,
)
from flowrunner.domain.values import AccountId, ExecutionId, FlowId, RevisionId
from flowrunner.ports import Append, NewExecution, Recorded, Summary
from flowrunner.storage.migrations import migrate_sqlite
from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.journal import AppendWork, append_together

NOON: Final = datetime(2027, 1, 1, 12, tzinfo=UTC)
MARA: Final = AccountId("account-mara")
OMAR: Final = AccountId("account-omar")


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        migrate_sqlite(path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


def new_database_file(path: Path) -> Path:
    """A database of the newest schema, made once and copied: migrating takes longer than most tests."""
    path.write_bytes(_template())
    return path


def add_flows(path: Path) -> Path:
    """What `creation` refers to: Mara with a few flows, and Omar with one."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for id in (MARA, OMAR):
            connection.execute(
                "INSERT INTO accounts (id, name, email, role, password_hash, created_at, updated_at)"
                " VALUES (?, ?, ?, 'user', 'x', 0, 0)",
                (id, id, f"{id}@example.com"),
            )
        for id, owner in [*((f"flow-{n}", MARA) for n in range(3)), ("flow-omar", OMAR)]:
            connection.execute(
                "INSERT INTO flows (id, account_id, name, description, version, tags, revision_id, created_at,"
                " updated_at) VALUES (?, ?, 'N', '', '1', '[]', 'rev-1', 0, 0)",
                (id, owner),
            )
    return path


def open_database(path: Path, *, on_commit: Callable[[int], None] = lambda size: None) -> Database:
    return Database(path, bulk={AppendWork: append_together}, on_commit=on_commit)


def rows_of(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


def contents_of(path: Path) -> list[str]:
    """Everything in the file, to tell whether it has changed."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def account(id: str = MARA, *, email: str | None = None, role: Role = "admin") -> Account:
    return Account(
        id=AccountId(id), name=id, email=email or f"{id}@example.com", role=role, created_at=NOON, updated_at=NOON
    )


def recorded(events: Sequence[Event], *, after: int, at: datetime = NOON) -> list[Recorded]:
    return [
        Recorded(after + n, at + timedelta(milliseconds=after + n), event, msgspec.json.encode(event))
        for n, event in enumerate(events, start=1)
    ]


def creation(
    id: str,
    *,
    epoch: int,
    account_id: AccountId = MARA,
    flow_id: str = "flow-1",
    key: str | None = None,
    digest: str | None = None,
    at: datetime = NOON,
) -> Append:
    """The first append of an execution, whose first node has started."""
    events = [
        Started(node="a", node_type="log", input={"n": 1}),
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
            account_id=account_id,
            flow_id=FlowId(flow_id),
            revision_id=RevisionId("rev-1"),
            started_at=at,
            idempotency_key=key,
            request_digest=digest,
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
            summary = Summary(status=Status.FAILED, completed_at=records[-1].at, error=error.message)
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
