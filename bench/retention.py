"""Do the size of the database and the memory stay flat while retention deletes, and do starts wait for it?

`python -m bench.retention [--executions 100000] [--rate 300]`: executions are started at an even rate, for ten times as
long as they are kept. The server purges every two seconds, not every hour, so that a window of the time is short.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.memory import LIGHT, mb
from bench.processes import BenchFailed, Server, running_server, scratch
from bench.rest import percentile

WINDOWS: Final = 10
_CONNECTIONS: Final = 64
# What the server deletes may lag behind by a purge, and the file shrinks afterwards.
_MOST_GROWTH: Final = 1.5
_LONGEST_DELAY_MS: Final = 50.0
_PROGRAM: Final = (
    "-c",
    """
import flowrunner.bootstrap.housekeeping as housekeeping
housekeeping._RETENTION_SECONDS, housekeeping.SETTLING_SECONDS = 2.0, 0.0
from flowrunner.cli.main import main
main()
""",
)


@dataclass(slots=True)
class Window:
    """One tenth of the run: the durations of its starts in milliseconds, and what was measured at its end."""

    starts: list[float] = field(default_factory=list)
    size: int = 0
    rss: int = 0
    stored: int = 0


async def _start_at_rate(server: Server, flow_id: str, windows: list[Window], *, seconds: float, rate: float) -> None:
    url, headers = f"{server.url}/api/v1/flows/{flow_id}/run", {"Authorization": f"Bearer {server.token}"}
    begun = time.perf_counter()
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session, asyncio.TaskGroup() as tasks:

        async def start(due: float) -> None:
            async with session.post(url, json={"input": {}}) as response:
                if response.status != 201:
                    raise BenchFailed(f"a start was answered with {response.status}")
                await response.read()
            at = time.perf_counter() - begun
            # From when it was due, so that a stall counts for all that it delays.
            windows[min(int(due / seconds), WINDOWS - 1)].starts.append((at - due) * 1000)

        for number in range(int(rate * seconds * WINDOWS)):
            due = number / rate
            await asyncio.sleep(max(begun + due - time.perf_counter(), 0))
            tasks.create_task(start(due))
            if (number + 1) % int(rate * seconds) == 0:
                window = windows[min(int(due / seconds), WINDOWS - 1)]
                window.size, window.rss = size_of(server.data_dir), server.rss()
                window.stored = await asyncio.to_thread(server.count, flow_id)


def size_of(data_dir: Path) -> int:
    """Return the bytes of the database and its log."""
    return sum(path.stat().st_size for path in data_dir.glob("flowrunner.db*"))


def measure(directory: Path, *, executions: int, rate: float) -> dict[str, Any]:
    """Return sizes, memory and durations of starts by window. Raises: BenchFailed."""
    seconds = max(executions / rate / WINDOWS, 3.0)
    windows = [Window() for _ in range(WINDOWS)]
    settings = {"RETENTION": f"{seconds:.0f}s"}
    with running_server(directory / "data", settings=settings, program=_PROGRAM) as server:
        flow_id = server.create_flow(LIGHT)
        asyncio.run(_start_at_rate(server, flow_id, windows, seconds=seconds, rate=rate))
    first, others = windows[0], windows[2:]
    purging = sorted(ms for window in others for ms in window.starts)
    before = sorted(first.starts)
    return {
        "executions": sum(len(window.starts) for window in windows),
        "rate": rate,
        "kept_seconds": seconds,
        "windows": [{"size": w.size, "rss": w.rss, "stored": w.stored} for w in windows],
        "p50_ms": {"before": percentile(before, 50), "purging": percentile(purging, 50)},
        "p99_ms": {"before": percentile(before, 99), "purging": percentile(purging, 99)},
    }


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
        print(f"  window {number}: {window['stored']} stored, {mb(window['size'])} MB, {mb(window['rss'])} MB resident")
    for name in ("p50_ms", "p99_ms"):
        print(f"  {name[:3]} of a start: {found[name]['before']:.1f} ms before the first purge, "
              f"{found[name]['purging']:.1f} ms with purges")  # fmt: skip
    reached = max(window["size"] for window in found["windows"][1:3])
    if found["windows"][-1]["size"] > reached * _MOST_GROWTH:
        raise SystemExit("the database grows although retention deletes")
    if found["p99_ms"]["purging"] - found["p99_ms"]["before"] > _LONGEST_DELAY_MS:
        raise SystemExit("purges delay starts")


if __name__ == "__main__":
    main()
