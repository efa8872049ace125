"""How many executions a second could be written at all, if nothing but their rows had to be?

A bare loop that writes, for executions of two no-op nodes, the rows that the product writes: the
same schema, statements and pragmas, 100 executions in flight, each transaction holding the next
append of every one of them, with a statement for each row. There is no engine, no thread and no event loop.

    python -m bench.limit DIRECTORY SECONDS
"""

import json
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import uvloop

from bench.engine import IN_FLIGHT, NoOp, definition, open_engine, save_flow
from bench.processes import BenchFailed
from flowrunner.clock import SystemClock
from flowrunner.ids import new_id
from flowrunner.ports.journal import Append, Journal
from flowrunner.storage.appends import AppendOp, append_together
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from flowrunner.storage.sqlite.transaction import by_position, finish
from flowrunner.storage.transaction import Statement, Transaction, one_row
from flowrunner.storage.usage import FreeStorage

_WARM_UP_SECONDS: Final = 0.5
_NODES: Final = 2
_PRAGMAS: Final = ("synchronous", "cache_size", "foreign_keys", "wal_autocheckpoint", "temp_store", "mmap_size")

Row: TypeAlias = tuple[Any, ...] | dict[str, Any]
MakeRow: TypeAlias = Callable[[str], Row]


class _Keeping:
    """A journal that also keeps what is appended."""

    def __init__(self, journal: Journal, appends: list[Append]) -> None:
        self._journal = journal
        self._appends = appends

    def append(self, append: Append) -> Awaitable[None]:
        self._appends.append(append)
        return self._journal.append(append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class _Listening:
    """Stands where a transaction would, and keeps the statements it is asked to execute."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Row]]] = []

    async def run_many(self, statement: Statement, rows: Sequence[Row]) -> int:
        if rows:
            text, in_order = by_position(statement.sqlite)
            self.calls.append((text, list(rows if in_order is None else map(in_order, rows))))
        return len(rows)

    async def row(self, statement: str, values: object) -> Row:
        """Answers how much an account has stored, of which the bare loop keeps no count."""
        return (0,)

    def announce(self, execution_id: str) -> None:
        """There is no other process."""


async def _observe(path: Path) -> tuple[list[Append], list[tuple[str, Any]]]:
    """The appends of one execution, and the pragmas of the connection that wrote them."""
    appends: list[Append] = []
    async with open_engine(
        path, definition(NoOp.type, _NODES), wrap=lambda journal: _Keeping(journal, appends)
    ) as engine:
        await engine.run_one()
        pragmas = await engine.database.write(_pragmas)
    return appends, pragmas


async def _pragmas(tx: Transaction) -> list[tuple[str, Any]]:
    return [(name, (await one_row(tx, f"PRAGMA {name}"))[0]) for name in _PRAGMAS]


async def _prepare(path: Path) -> None:
    """A database as the engine finds it."""
    migrate_sqlite(path)
    database = SqliteDatabase(path)
    try:
        await save_flow(database, definition(NoOp.type, _NODES), SystemClock())
    finally:
        await database.close()


def _statements(appends: Sequence[Append]) -> list[tuple[str, list[Row]]]:
    listening, free = _Listening(), FreeStorage()
    finish(append_together(listening, [AppendOp(append, free) for append in appends]))  # type: ignore[arg-type]
    return listening.calls


def _for_any(row: Row, id: str) -> MakeRow:
    """Makes the same row for another execution."""
    if isinstance(row, dict) and [name for name, value in row.items() if value == id] == ["id"]:
        return lambda other: {**row, "id": other}
    if isinstance(row, tuple) and row.count(id) == 1:
        before, after = row[: row.index(id)], row[row.index(id) + 1 :]
        return lambda other: (*before, other, *after)
    raise BenchFailed(f"a row that does not name its execution once: {row}")


def measure(path: Path, seconds: float) -> dict[str, Any]:
    appends, pragmas = uvloop.run(_observe(path.with_name("observed.db")))
    id = appends[0].execution_id
    order = [statement for statement, _ in _statements(appends)]
    stages = [
        [(statement, [_for_any(row, id) for row in rows]) for statement, rows in _statements([append])]
        for append in appends
    ]
    uvloop.run(_prepare(path))
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    for name, value in pragmas:
        connection.execute(f"PRAGMA {name} = {value}")
    # The journal takes rows of the process that claimed it.
    connection.execute("UPDATE engine SET epoch = ?", (appends[0].epoch,))
    try:
        return _loop(connection, order, stages, seconds) | {"appends": len(stages), "pragmas": dict(pragmas)}
    finally:
        connection.close()


def _loop(
    connection: sqlite3.Connection,
    order: Sequence[str],
    stages: Sequence[Sequence[tuple[str, Sequence[MakeRow]]]],
    seconds: float,
) -> dict[str, Any]:
    clock = SystemClock()
    # Not all at the same stage: each transaction holds some of every append, as in a server.
    flights = [("", -(number % len(stages))) for number in range(IN_FLIGHT)]
    done = commits = done_before = commits_before = 0
    start = time.perf_counter()
    begun = cpu_begun = 0.0
    while True:
        now = time.perf_counter()
        if not begun and now - start >= _WARM_UP_SECONDS:
            begun, done_before, commits_before, cpu_begun = now, done, commits, time.process_time()
        if begun and now - begun >= seconds:
            break
        rows: dict[str, list[Row]] = {statement: [] for statement in order}
        for number, (before, stage) in enumerate(flights):
            id = new_id("exec", clock.now()) if stage == 0 else before
            if stage >= 0:
                for statement, makers in stages[stage]:
                    rows[statement] += [make(id) for make in makers]
            flights[number] = (id, stage + 1)
        connection.execute("BEGIN IMMEDIATE")
        for statement, some in rows.items():
            if some and connection.executemany(statement, some).rowcount != len(some):
                raise BenchFailed(f"not every row was written by: {statement}")
        connection.execute("COMMIT")
        commits += 1
        for number, (id, stage) in enumerate(flights):
            if stage == len(stages):
                done += 1
                flights[number] = (id, 0)
    cpu = time.process_time() - cpu_begun
    completed = connection.execute("SELECT count(*) FROM executions WHERE status = 'completed'").fetchone()[0]
    if completed != done:
        raise BenchFailed(f"{done} executions were written; {completed} are completed")
    elapsed = now - begun
    return {
        "per_second": (done - done_before) / elapsed,
        "commits_per_second": (commits - commits_before) / elapsed,
        "cpu_ms": cpu / max((done - done_before) * _NODES, 1) * 1000,
    }


def main() -> None:
    directory, seconds = sys.argv[1:]
    print(json.dumps(measure(Path(directory) / "limit.db", float(seconds))))


if __name__ == "__main__":
    main()
