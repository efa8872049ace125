"""How fast are pages of executions where there are very many of them?

python -m bench.pages [--executions 1000000] [--database sqlite|postgres] [--seconds 3]

It fills a database with executions of 50 accounts, half of them of the one that is measured, and asks a real server for
pages with 8 clients at a time. It uses only what versions without cursors have, too, if `--older` is given.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg

from bench.processes import BenchFailed, Server, cpu_seconds, running_server, scratch
from bench.rest import percentile
from bench.services import running_postgres
from flowrunner.ids import new_id

_CLIENTS: Final = 8
_ACCOUNTS: Final = 50
_FLOWS: Final = 10
_ROWS_AT_ONCE: Final = 20_000
_FIRST: Final = datetime(2026, 1, 1, tzinfo=UTC)
_BETWEEN: Final = timedelta(milliseconds=900)
_FLOW: Final = 'metadata: {name: "Flow"}\nnodes:\n  done: {type: return, params: {value: 1}}\n'
_ERRORS: Final = ("http.500", "http.503", "timeout", "connection.refused", "expression")

_OTHERS: Final = [(f"other-{n}",) for n in range(_ACCOUNTS - 1)]
_COLUMNS: Final = (
    "id", "workspace_id", "flow_id", "revision_id", "status", "started_at", "completed_at", "error", "is_idle",
    "waiting_for", "epoch", "last_seq", "size", "rerun_of",
)  # fmt: skip
_FURTHER: Final = ("error_type", "failed_node", "original_id")
_INSERT: Final = """
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error, is_idle,
                        waiting_for, epoch, last_seq, size, rerun_of, error_type, failed_node, original_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_OLDER: Final = """
INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, completed_at, error, is_idle,
                        waiting_for, epoch, last_seq, size, rerun_of)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


# One label of all executions, one of a thousandth of them, and an input with a value of its own for each.
_INSERT_TERMS: Final = """
INSERT INTO execution_terms (workspace_id, name, value, execution_id)
SELECT workspace_id, 'label.team', 'core', id FROM executions
 UNION ALL
SELECT workspace_id, 'label.customer', substr(id, length(id) - 1), id FROM executions
 UNION ALL
SELECT workspace_id, 'input.order_id', id, id FROM executions
"""


def rows(
    count: int,
    workspace_id: str,
    flows: Sequence[tuple[str, str]],
    *,
    first: datetime = _FIRST,
    between: timedelta = _BETWEEN,
) -> Iterator[tuple[Any, ...]]:
    """Yield rows of executions: 5 % failed, some rerun, few open; half of them of the workspace that is measured."""
    chance, failed = random.Random(1), ""
    for n in range(count):
        at = first + n * between
        id, ms, kind = new_id("exec", at), round(at.timestamp() * 1000), chance.random()
        is_own = n % 2 == 0
        flow_id, revision_id = flows[chance.randrange(len(flows))]
        status = "failed" if kind < 0.05 else "cancelled" if kind < 0.07 else "completed"
        rerun_of = failed if is_own and failed and kind > 0.98 else None
        error = chance.choice(_ERRORS) if status == "failed" else None
        if is_own and status == "failed":
            failed = id
        yield (
            id, workspace_id if is_own else f"other-{n % (_ACCOUNTS - 1)}", flow_id, revision_id, status, ms, ms + 2000,
            error and f"It failed with {error}", False, None, 0, 1, 500, rerun_of, error,
            error and f"node-{chance.randrange(20)}", rerun_of,
        )  # fmt: skip


def fill_sqlite(path: Path, values: Iterator[tuple[Any, ...]], *, is_older: bool) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA busy_timeout = 60000")
        connection.executemany("INSERT INTO workspaces (id, created_at) VALUES (?, 1)", _OTHERS)
        width, statement = (len(_COLUMNS), _INSERT_OLDER) if is_older else (None, _INSERT)
        while batch := [row[:width] for row in islice(values, _ROWS_AT_ONCE)]:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, batch)
            connection.execute("COMMIT")
        if not is_older:
            connection.execute(_INSERT_TERMS)


async def fill_postgres(url: str, values: Iterator[tuple[Any, ...]], *, is_older: bool) -> None:
    connection: asyncpg.Connection[Any] = await asyncpg.connect(url)
    columns = _COLUMNS if is_older else (*_COLUMNS, *_FURTHER)
    try:
        await connection.executemany("INSERT INTO workspaces (id, created_at) VALUES ($1, 1)", _OTHERS)
        while batch := [row[: len(columns)] for row in islice(values, _ROWS_AT_ONCE)]:
            await connection.copy_records_to_table("executions", records=batch, columns=columns)
        await connection.execute("VACUUM ANALYZE executions")
        if not is_older:
            await connection.execute(_INSERT_TERMS)
            await connection.execute("VACUUM ANALYZE execution_terms")
        # Else the pages of the copied rows are written while the first lists are measured.
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def requests(flow_id: str, older: bool) -> Iterator[tuple[str, str]]:
    """Yield the pages to ask for, each with a name."""
    path = "/api/v1/executions?limit=50"
    yield "first page", path
    yield "status=running (none)", f"{path}&status=running"
    yield "status=failed", f"{path}&status=failed"
    yield "of a flow", f"{path}&flow_id={flow_id}"
    yield "failed of a flow", f"{path}&flow_id={flow_id}&status=failed,cancelled"
    yield "offset 10,000", f"{path}&offset=10000"
    yield "offset 90,000", f"{path}&offset=90000"
    if older:
        return
    yield "any page by cursor", f"{path}&cursor={{cursor}}"
    yield "failed by cursor", f"{path}&status=failed&cursor={{cursor}}"
    yield "of a day", f"{path}&since=2026-01-02&until=2026-01-03"
    yield "by type of error", f"{path}&error_type=timeout"
    yield "by two conditions, rare", f"{path}&error_type=timeout&node=node-3&flow_id={flow_id}"
    yield "by a node (none)", f"{path}&node=none&status=failed"
    yield "unrepaired", f"{path}&unrepaired=true"
    yield "by a label of all", f"{path}&label=team:core&cursor={{cursor}}"
    yield "by a label of all, counted", f"{path}&label=team:core"
    yield "by a rare label", f"{path}&label=customer:00"
    yield "by two labels", f"{path}&label=team:core&label=customer:00"
    yield "failed with a label of all", f"{path}&label=team:core&status=failed"
    yield "running with a label of all (none)", f"{path}&label=team:core&status=running"
    yield "by an input (none)", f"{path}&input.order_id=none"
    rest = "status=failed&since=2026-01-01&until=2026-01-05"
    yield "failed of a flow and a period, with a label", f"{path}&label=team:core&flow_id={flow_id}&{rest}"
    yield "the same, by cursor", f"{path}&label=team:core&flow_id={flow_id}&{rest}&cursor={{cursor}}"


async def measured(server: Server, path: str, cursors: Sequence[str], seconds: float) -> list[float]:
    """Return the milliseconds of requests of all clients, in order."""
    found: list[float] = []
    until = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {server.token}"}

    async def client(session: aiohttp.ClientSession, chance: random.Random) -> None:
        while time.monotonic() < until:
            address = path.replace("{cursor}", chance.choice(cursors))
            begun = time.perf_counter()
            async with session.get(address) as response:
                text = await response.read()
            found.append((time.perf_counter() - begun) * 1000)
            if response.status != 200:
                raise BenchFailed(f"{address} answered {response.status}: {text[:300]!r}")

    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        await asyncio.gather(*(client(session, random.Random(n)) for n in range(_CLIENTS)))
    return sorted(found)


def measure(database: str, executions: int, seconds: float, *, is_older: bool) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        postgres = stack.enter_context(running_postgres()) if database == "postgres" else None
        url = None if postgres is None else postgres.new_database()
        server = stack.enter_context(running_server(directory / "data", database_url=url))
        flow_ids = [server.create_flow(_FLOW) for _ in range(_FLOWS)]
        workspace_id = server.call("GET", "/api/v1/workspaces")["workspaces"][0]["id"]
        values = rows(executions, workspace_id, [(id, "rev") for id in flow_ids])
        begun = time.monotonic()
        if url is None:
            (path,) = (directory / "data").rglob("*.db")
            fill_sqlite(path, values, is_older=is_older)
        else:
            asyncio.run(fill_postgres(url, values, is_older=is_older))
        filled = time.monotonic() - begun
        chance = random.Random(2)
        cursors = [new_id("exec", _FIRST + chance.randrange(executions) * _BETWEEN) for _ in range(1000)]
        report: dict[str, Any] = {"database": database, "executions": executions, "filled_seconds": round(filled, 1)}
        for name, address in requests(flow_ids[0], is_older):
            before = cpu_seconds(server.pid)
            before_in_postgres = 0.0 if postgres is None else cpu_seconds(postgres.pid)
            latencies = asyncio.run(measured(server, address, cursors, seconds))
            report[name] = {
                "p50_ms": round(percentile(latencies, 50), 1),
                "p99_ms": round(percentile(latencies, 99), 1),
                # Unlike the other two, independent of what else the machine does.
                "server_cpu_ms": round((cpu_seconds(server.pid) - before) * 1000 / len(latencies), 2),
                "requests": len(latencies),
            }
            if postgres is not None:
                used = cpu_seconds(postgres.pid) - before_in_postgres
                report[name]["postgres_cpu_ms"] = round(used * 1000 / len(latencies), 2)
        return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--older", action="store_true")
    options = parser.parse_args()
    report = measure(options.database, options.executions, options.seconds, is_older=options.older)
    json.dump(report, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
