"""Do the size of the database and the memory stay flat while retention deletes, and do starts wait for it?

`python -m bench.retention [--executions 100000] [--rate 300]`: executions are started at an even rate, for ten times as
long as they are kept. The server purges every two seconds, not every hour, so that a window of the time is short.
"""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.memory import LIGHT, mb
from bench.processes import BenchFailed, Server, running_server, scratch
from bench.rest import percentile

WINDOWS: Final = 10
# The only table whose rows stay: an entry for each start.
AUDIT_PAGES: Final = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'audit%' OR name LIKE 'sqlite_autoindex_audit%'"
_CONNECTIONS: Final = 64
# What the server deletes may lag behind by a purge, and the file shrinks afterwards.
_MOST_GROWTH: Final = 1.5
_LONGEST_DELAY_MS: Final = 50.0
# The slowest hundredth of fewer is a matter of chance.
_ENOUGH_STARTS: Final = 5_000
# A purge has begun at most so long before its line in the log.
_PURGE_SECONDS: Final = 0.5
# Executions are kept for a shorter time than the settings allow.
_PROGRAM: Final = """
from datetime import timedelta
import flowrunner.bootstrap.housekeeping as housekeeping
import flowrunner.bootstrap.online_maintenance as maintenance
from flowrunner.domain.retention import RetentionRule
housekeeping._RETENTION_SECONDS, housekeeping.SETTLING_SECONDS = 2.0, 0.0
maintenance.RetentionRule = lambda **rule: RetentionRule(max_age=timedelta(seconds={seconds}))
from flowrunner.cli.main import main
main()
"""


@dataclass(slots=True)
class Window:
    """One tenth of the run: when its starts were due and how many milliseconds each took, and the sizes at its end."""

    starts: list[tuple[float, float]] = field(default_factory=list)
    size: int = 0
    audit: int = 0
    rss: int = 0
    stored: int = 0


async def _start_at_rate(server: Server, flow_id: str, windows: list[Window], *, seconds: float, rate: float) -> None:
    url, headers = f"{server.url}/api/v1/flows/{flow_id}/run", {"Authorization": f"Bearer {server.token}"}
    begun, begun_at = time.perf_counter(), time.time()
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as tasks:

        async def start(due: float) -> None:
            async with session.post(url, json={"input": {}}) as response:
                if response.status != 201:
                    raise BenchFailed(f"a start was answered with {response.status}")
                await response.read()
            at = time.perf_counter() - begun
            # From when it was due, so that a stall counts for all that it delays.
            windows[min(int(due / seconds), WINDOWS - 1)].starts.append((begun_at + due, (at - due) * 1000))

        for number in range(int(rate * seconds * WINDOWS)):
            due = number / rate
            await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
            tasks.create_task(start(due))
            if (number + 1) % int(rate * seconds) == 0:
                window = windows[min(int(due / seconds), WINDOWS - 1)]
                window.size, window.audit = await asyncio.to_thread(sizes_of, server.data_dir)
                window.rss = server.rss()
                window.stored = await asyncio.to_thread(server.count, flow_id)


def sizes_of(data_dir: Path) -> tuple[int, int]:
    """Return the bytes of the database with its log, and those of the audit log in it, which is kept for days."""
    size = sum(path.stat().st_size for path in data_dir.glob("flowrunner.db*"))
    with contextlib.closing(sqlite3.connect(f"{(data_dir / 'flowrunner.db').as_uri()}?mode=ro", uri=True)) as database:
        try:
            (audit,) = database.execute(AUDIT_PAGES).fetchone()
        except sqlite3.OperationalError:
            # SQLite was built without this table; the size of the audit log is then part of the growth.
            audit = 0
    return size, audit or 0


def measure(directory: Path, *, executions: int, rate: float) -> dict[str, Any]:
    """Return sizes, memory and durations of starts by window. Raises: BenchFailed."""
    seconds = max(executions / rate / WINDOWS, 3.0)
    windows = [Window() for _ in range(WINDOWS)]
    program = ("-c", _PROGRAM.format(seconds=seconds))
    with running_server(directory / "data", settings={"LOG_FORMAT": "json"}, program=program) as server:
        flow_id = server.create_flow(LIGHT)
        asyncio.run(_start_at_rate(server, flow_id, windows, seconds=seconds, rate=rate))
        purges = purges_in(server.log_file.read_text())
    starts = [start for window in windows[1:] for start in window.starts]
    beside: list[float] = []
    apart: list[float] = []
    for at, ms in starts:
        overlaps = any(at < end and at + ms / 1000 > end - _PURGE_SECONDS for end in purges)
        (beside if overlaps else apart).append(ms)
    return {
        "executions": sum(len(window.starts) for window in windows),
        "rate": rate,
        "kept_seconds": seconds,
        "windows": [{"size": w.size, "audit": w.audit, "rss": w.rss, "stored": w.stored} for w in windows],
        "purges": len(purges),
        "beside_a_purge": _percentiles(beside),
        "apart": _percentiles(apart),
    }


def _percentiles(durations: Sequence[float]) -> dict[str, float]:
    ordered = sorted(durations) or [0.0]
    return {"starts": len(durations), "p50": percentile(ordered, 50), "p99": percentile(ordered, 99)}


def purges_in(log: str) -> list[float]:
    """Return the times at which purges ended that have deleted something."""
    events = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return [
        datetime.fromisoformat(event["timestamp"]).timestamp()
        for event in events
        if event.get("event") == "executions.purged"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=300.0, help="starts in a second")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = parser.parse_args()
    with scratch() as directory:
        found = measure(directory, executions=options.executions, rate=options.rate)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['executions']} executions, {found['rate']:g}/s, each kept for {found['kept_seconds']:.0f} s")
    for number, window in enumerate(found["windows"], 1):
        print(
            f"  window {number}: {window['stored']} stored, {mb(window['size'] - window['audit'])} MB and "
            f"{mb(window['audit'])} MB of audit log, {mb(window['rss'])} MB resident"
        )
    for name in ("apart", "beside_a_purge"):
        part = found[name]
        print(f"  {part['starts']} starts {name.replace('_', ' ')}: p50 {part['p50']:.1f} ms, p99 {part['p99']:.1f} ms")
    sizes = [window["size"] - window["audit"] for window in found["windows"]]
    if sizes[-1] > max(sizes[1:3]) * _MOST_GROWTH:
        raise SystemExit("the database grows although retention deletes")
    is_judged = found["beside_a_purge"]["starts"] >= _ENOUGH_STARTS
    if is_judged and found["beside_a_purge"]["p99"] - found["apart"]["p99"] > _LONGEST_DELAY_MS:
        raise SystemExit("purges delay starts")


if __name__ == "__main__":
    main()
