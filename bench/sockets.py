"""What does an open WebSocket cost the server, and what do others notice of clients that do not read?"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import HOST, READY, BenchFailed, Server, run_module, running_server, stop
from bench.subscriber import upgrade

SOCKETS: Final = 10_000
_HOLDERS: Final = 2
# Executions that the sockets are subscribed to.
_PARKED: Final = 100
_SETTLE_SECONDS: Final = 2.0
DEAF: Final = 100
_WATCHERS: Final = 8
# As little as the system allows.
_RECEIVE_BYTES: Final = 2048
_UNTIL_BLOCKED_SECONDS: Final = 3.0

PARKING: Final = """\
metadata: {name: "Parks", version: "1.0.0"}
nodes:
  first: {type: transform, params: {value: {n: 1}}, next: wait}
  wait: {type: wait, params: {key: "go"}}
"""
# Some 5 MB of events at first, and then 50 KB a second.
NOISY: Final = """\
metadata: {name: "Noisy", version: "1.0.0"}
vars: {n: 0}
nodes:
  past:
    type: while
    params: {when: "vars.n < 500"}
    nodes:
      fill: {type: transform, params: {value: "@TEXT@"}, next: count}
      count: {type: set, params: {n: "${vars.n + 1}"}}
    next: present
  present:
    type: while
    params: {when: "true", delay: 100ms, max_iterations: 100000}
    nodes:
      tell: {type: transform, params: {value: "@TEXT@"}}
""".replace("@TEXT@", "0123456789" * 500)
WATCHED: Final = """\
metadata: {name: "Watched", version: "1.0.0"}
nodes:
  first: {type: transform, params: {value: {n: 1}}, next: rest}
  rest: {type: delay, params: {duration: 20ms}, next: last}
  last: {type: transform, params: {value: {n: 2}}}
"""


def memory_each(directory: Path) -> dict[str, Any]:
    """The growth of a server's memory by 10,000 sockets that are logged in and subscribed to executions that wait."""
    settings = {"MAX_SOCKETS": str(SOCKETS), "ACCOUNT_SOCKETS": "0"}
    with running_server(directory / "sockets", settings=settings) as server:
        parking = server.create_flow(PARKING)
        ids = [_run(server, parking) for _ in range(_PARKED)]
        server.wait_until_none(parking, "running")
        # The first sockets pay for what every later one shares.
        with _held(server, _PARKED, ids):
            pass
        before = _memory(server.pid)
        begun = time.perf_counter()
        with contextlib.ExitStack() as stack:
            for _ in range(_HOLDERS):
                stack.enter_context(_held(server, SOCKETS // _HOLDERS, ids))
            opened_in = time.perf_counter() - begun
            time.sleep(_SETTLE_SECONDS)
            after = _memory(server.pid)
            count = _gauge(server, "flowrunner_sockets_open")
        if count != SOCKETS:
            raise BenchFailed(f"{SOCKETS} sockets were opened, and the server has {count:g}")
    return {
        "bytes_each": (after["Rss"] - before["Rss"]) / SOCKETS,
        "pss_each": (after["Pss"] - before["Pss"]) / SOCKETS,
        "sockets": SOCKETS,
        "before": before,
        "after": after,
        "opened_in_seconds": opened_in,
    }


@dataclass(frozen=True, slots=True)
class DeafBench:
    """A server with an execution that tells much, and a flow whose executions others watch."""

    server: Server
    noisy_id: str
    watched_flow_id: str

    def measure(self, seconds: float) -> dict[str, Any]:
        """Watchers beside nobody, and beside clients that take nothing of what they have asked for."""
        alone = self._watch(seconds)
        with self._deaf_clients() as sockets:
            time.sleep(_UNTIL_BLOCKED_SECONDS)
            beside = self._watch(seconds)
            waiting = _gauge(self.server, "flowrunner_sockets_open")
            if waiting < len(sockets):
                raise BenchFailed(f"of {len(sockets)} clients that do not read the server has {waiting:g} left")
        again = self._watch(seconds)
        # What disturbs the machine does so before and after as well.
        p99 = (alone["p99_ms"] + again["p99_ms"]) / 2
        return {
            "ratio": beside["p99_ms"] / p99,
            "p99_ms": p99,
            "beside_p99_ms": beside["p99_ms"],
            "unrest": max(alone["p99_ms"], again["p99_ms"]) / min(alone["p99_ms"], again["p99_ms"]),
            "alone": alone,
            "beside": beside,
            "again": again,
        }

    def _watch(self, seconds: float) -> dict[str, Any]:
        report: dict[str, Any] = run_module(
            "bench.watchers", "watch", self.server.port, self.watched_flow_id, _WATCHERS, seconds,
            seconds=seconds + 60, environment={"BENCH_TOKEN": self.server.token},
        )  # fmt: skip
        return report

    @contextlib.contextmanager
    def _deaf_clients(self) -> Iterator[Sequence[socket.socket]]:
        sockets: list[socket.socket] = []
        request = upgrade(self.server.port, self.noisy_id, self.server.token)
        try:
            for _ in range(DEAF):
                deaf = socket.socket()
                sockets.append(deaf)
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
                deaf.connect((HOST, self.server.port))
                deaf.sendall(request)
            yield sockets
        finally:
            for deaf in sockets:
                deaf.close()


@contextlib.contextmanager
def deaf_bench(directory: Path) -> Iterator[DeafBench]:
    with running_server(directory / "deaf") as server:
        noisy = server.create_flow(NOISY)
        noisy_id = _run(server, noisy)
        yield DeafBench(server, noisy_id, server.create_flow(WATCHED))


def _run(server: Server, flow_id: str) -> str:
    id: str = server.call("POST", f"/api/v1/flows/{flow_id}/run", {})["execution_id"]
    return id


@contextlib.contextmanager
def _held(server: Server, count: int, execution_ids: Sequence[str]) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.watchers", "hold", str(server.port), str(count), *execution_ids]
    environment = {**os.environ, "BENCH_TOKEN": server.token}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None, "it is a pipe"
        if process.stdout.readline().strip() != READY:
            raise BenchFailed(f"{count} sockets could not be opened")
        yield
        process.terminate()
        lost = json.loads(process.stdout.readline())["lost"]
        if lost:
            raise BenchFailed(f"{lost} of {count} sockets were closed")
    finally:
        stop(process)


def _memory(pid: int) -> dict[str, int]:
    """Bytes, by kind."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}


def _gauge(server: Server, name: str) -> float:
    text = server.text("/metrics")
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))
