"""The load of all peers, and its figures: imported by each program, so it uses the standard library only."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, cpu_seconds, descendants, stop_tree
from bench.rest import percentile
from bench.wrk import wrk_at

WORKLOADS: Final = {"W1": "GET, then POST", "W2": "ten steps that do nothing", "W3": "ten GETs, each a step"}
# An execution that takes longer is not waited for.
PATIENCE_SECONDS: Final = 60.0
_START_SECONDS: Final = 120.0
_SAMPLE_SECONDS: Final = 1.0


Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A program's task, given to it as JSON.

    Attributes:
        database: URL of an empty PostgreSQL database.
        receiver: URL that answers a GET and a POST with JSON.
        seconds: For each workload.
        installed: The venv or the folder with `node_modules`.
        directory: An empty directory for data and logs.
        node: The interpreter of JavaScript.
        variant: A way to run the peer, if it has several.
    """

    database: str
    receiver: str
    seconds: float
    clients: int
    installed: str
    directory: str
    node: str
    variant: str

    @classmethod
    def given(cls) -> "Task":
        """Return the task of this process, which from now on ends what it has started when it is ended."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        return cls(**json.loads(sys.argv[1]))

    def command(self, name: str) -> str:
        """Return the path of a command that the peer's packages have brought with pip."""
        return str(Path(self.installed, "bin", name))

    def module(self, pattern: str) -> str:
        """Return the path of a file that they have brought with npm."""
        found = sorted(Path(self.installed, "node_modules").glob(pattern))
        if not found:
            raise BenchFailed(f"no {pattern} was installed")
        return str(found[0])


async def measured(run: Callable[[], Awaitable[object]], task: Task, pids: Sequence[int]) -> dict[str, float]:
    """Return the figures of one workload: each client runs it once, and again until its time is up.

    Raises: BenchFailed if no execution has ended well in time.
    """
    latencies: list[float] = []
    failures: list[Exception] = []
    begun, cpu = time.perf_counter(), sum(map(cpu_seconds, pids))

    async def client() -> None:
        start = begun
        while True:
            try:
                await run()
            except Exception as failure:
                failures.append(failure)
            else:
                latencies.append((time.perf_counter() - start) * 1000)
            start = time.perf_counter()
            if start - begun >= task.seconds:
                return

    # Those that are late count as failed.
    clients = [asyncio.create_task(client()) for _ in range(task.clients)]
    _, late = await asyncio.wait(clients, timeout=task.seconds + PATIENCE_SECONDS)
    for one in late:
        one.cancel()
    took, cpu = time.perf_counter() - begun, sum(map(cpu_seconds, pids)) - cpu
    if not latencies:
        why = repr(failures[0]) if failures else "all are under way"
        raise BenchFailed(f"no execution ended in {took:.0f} s: {why}\n{_end_of_log(task)}")
    ordered = sorted(latencies)
    return {
        "executions": len(ordered),
        "failed": len(failures) + len(late),
        "per_second": len(ordered) / took,
        "p50_ms": percentile(ordered, 50),
        "p99_ms": percentile(ordered, 99),
        "cpu_ms": cpu * 1000 / len(ordered),
    }


def requested(url: str, path: str, task: Task, pids: Sequence[int]) -> dict[str, float]:
    """Return the figures of a workload that a POST runs, and that has ended with its answer."""
    cpu = sum(map(cpu_seconds, pids))
    report = wrk_at(
        url, "one_request.lua", "POST", path, threads=2, connections=task.clients, seconds=task.seconds, timeout=60
    )
    failed = report["not_2xx"] + report["socket_errors"]
    executions = report["requests"] - report["not_2xx"]
    if not executions:
        raise BenchFailed(f"requests failed: {report}")
    return {
        "executions": executions,
        "failed": failed,
        "per_second": executions / report["seconds"],
        "p50_ms": report["p50_ms"],
        "p99_ms": report["p99_ms"],
        "cpu_ms": (sum(map(cpu_seconds, pids)) - cpu) * 1000 / executions,
    }


async def run_all(workloads: Mapping[str, Callable[[], Awaitable[object]]], task: Task, pids: Sequence[int]) -> Figures:
    """Return the figures of workloads that a coroutine of this process runs, and the memory of the processes."""
    with memory_of(pids) as memory:
        found = {name: await measured(run, task, pids) for name, run in workloads.items()}
    return {**found, "memory_mb": memory()}


def request_all(url: str, paths: Mapping[str, str], task: Task, pids: Sequence[int]) -> Figures:
    """Return the figures of workloads that a POST to a path runs, and the memory of the processes."""
    with memory_of(pids) as memory:
        found = {name: requested(url, path, task, pids) for name, path in paths.items()}
    return {**found, "memory_mb": memory()}


def report(found: Figures, *, start_seconds: float) -> None:
    """Print the figures as the last line."""
    print(json.dumps({**found, "start_seconds": start_seconds}), flush=True)


@contextlib.contextmanager
def memory_of(pids: Sequence[int]) -> Iterator[Callable[[], float]]:
    """Sample the resident memory of the processes and of all below them; the call returns the highest, in MB."""
    highest, is_over = 0.0, threading.Event()

    def sample() -> None:
        nonlocal highest
        while True:
            highest = max(highest, sum(_resident_mb(one) for pid in pids for one in (pid, *descendants(pid))))
            if is_over.wait(_SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield lambda: highest
    finally:
        is_over.set()
        thread.join()


def _resident_mb(pid: int) -> float:
    """Return its pages, of which a shared one counts in part for each process that has it."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def age_seconds() -> float:
    """Return for how long this process has been there, its imports included."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return float(Path("/proc/uptime").read_text().split()[0]) - started / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(command: Sequence[str], task: Task, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process of the peer. Its home is its own, and it reports nothing to its makers.

    The variables of whoever measures are not its.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    environment = {**inherited, "HOME": task.directory, "DO_NOT_TRACK": "1", **variables}
    with log_file(task).open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=task.directory)
    try:
        yield process
    finally:
        stop_tree(process)


def log_file(task: Task) -> Path:
    return Path(task.directory, "peer.log")


def _end_of_log(task: Task) -> str:
    return log_file(task).read_text()[-2000:] if log_file(task).exists() else ""


def wait_for(task: Task, is_ready: Callable[[], bool], *processes: "subprocess.Popen[bytes]") -> None:
    """Raises: BenchFailed if one of the processes ends, or it takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            raise BenchFailed(f"it did not start:\n{_end_of_log(task)}")
        time.sleep(0.02)


def post(url: str, body: object = None) -> bool:
    """Send JSON, and return if the answer is a success."""
    headers = {"Content-Type": "application/json"}
    return succeeds(urllib.request.Request(url, json.dumps(body or {}).encode(), headers))


def succeeds(request: urllib.request.Request | str) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False
