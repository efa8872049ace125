"""How fast is the REST API of a real server, for executions run to their end and for lists?"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, Receiver, Server, running_receiver, running_server
from bench.wrk import wrk

# What each client may have left behind when its time was up: one request that it saw no answer to.
_CLIENTS: Final = 32
_FLOWS: Final = 10

TWO_CALLS: Final = """\
metadata: {{name: "Two calls", description: "Fetches a value and passes it on", version: "1.0.0"}}
nodes:
  start:
    type: "http.request"
    params: {{url: "{url}/data", method: "GET"}}
    next: {{default: "end"}}
  end:
    type: "webhook"
    params: {{url: "{url}/callback", method: "POST"}}
"""


@dataclass(frozen=True, slots=True)
class RestBench:
    """A server with ten flows, one of which makes two calls to the receiver."""

    server: Server
    receiver: Receiver
    flow_id: str

    def run_many(self, seconds: float) -> dict[str, Any]:
        """32 clients that ask for the end every 20 ms."""
        return self._run(_CLIENTS, poll_ms=20, seconds=seconds)

    def run_one(self, seconds: float) -> dict[str, Any]:
        """1 client that asks every 2 ms."""
        return self._run(1, poll_ms=2, seconds=seconds)

    def list_flows(self, seconds: float) -> dict[str, Any]:
        report = wrk(
            self.server, "one_request.lua", "GET", "/api/v1/flows",
            threads=2, connections=_CLIENTS, seconds=seconds,
        )  # fmt: skip
        if report["not_2xx"] or report["socket_errors"]:
            raise BenchFailed(f"lists failed: {report}")
        return {"per_second": report["requests"] / report["seconds"], **report}

    def _run(self, clients: int, *, poll_ms: int, seconds: float) -> dict[str, Any]:
        before, calls_before = self.server.count(self.flow_id), self.receiver.counts()
        report = wrk(
            self.server, "run_to_completed.lua", self.flow_id, poll_ms,
            threads=clients, connections=clients, seconds=seconds,
        )  # fmt: skip
        latencies = sorted(report.pop("latencies_ms"))
        wrong = {name: report[name] for name in _FAULTS if report[name]}
        if wrong or not latencies:
            raise BenchFailed(f"executions went wrong: {wrong or 'none completed'}; {report['example']}")
        self._check(report["accepted"], clients, before, calls_before)
        return {
            "per_second": len(latencies) / report["seconds"],
            "completed": len(latencies),
            "p50_ms": percentile(latencies, 50),
            "p99_ms": percentile(latencies, 99),
            **{name: report[name] for name in ("seconds", "accepted", "polls")},
        }

    def _check(self, accepted: int, clients: int, before: int, calls_before: Any) -> None:
        """What the clients saw is what the server holds and what the receiver was sent."""
        self.server.wait_until_none(self.flow_id, "running", "waiting")
        total = self.server.count(self.flow_id)
        made = total - before
        if not accepted <= made <= accepted + clients:
            raise BenchFailed(f"{accepted} executions were accepted, and the server has {made} more than before")
        if (completed := self.server.count(self.flow_id, "completed")) != total:
            raise BenchFailed(f"{total} executions, of which only {completed} completed")
        calls = self.receiver.counts()
        for method in ("GET", "POST"):
            if (sent := calls.get(method, 0) - calls_before.get(method, 0)) != made:
                raise BenchFailed(f"{made} executions sent {sent} {method} requests")


_FAULTS: Final = ("refused", "poll_errors", "not_completed", "stuck", "socket_errors")


@contextlib.contextmanager
def rest_bench(directory: Path) -> Iterator[RestBench]:
    with running_receiver() as receiver, running_server(directory / "rest") as server:
        definition = TWO_CALLS.format(url=receiver.url)
        flow_ids = [server.create_flow(definition) for _ in range(_FLOWS)]
        yield RestBench(server, receiver, flow_ids[0])


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of the values do not exceed."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]
