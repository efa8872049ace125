"""How fast is the REST API of a real server, for executions run to their end and for lists?"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import BenchFailed, Receiver, Server, cpu_seconds, running_receiver, running_server
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

_SCRIPT: Final = "const seen = input.n ?? 0; return {n: seen + 1, words: 'a b c'.split(' ').map(w => w + seen)}"


# The nodes of the flows with many steps.
STEPS: Final = 10


def in_a_row(nodes: int, params: str, *, type: str = "transform") -> str:
    """A flow of so many nodes of one type, one after the other."""
    lines = [f'metadata: {{name: "{nodes} nodes: {type}", version: "1.0.0"}}', "nodes:"]
    for number in range(1, nodes + 1):
        following = f", next: n{number + 1}" if number < nodes else ""
        lines.append(f"  n{number}: {{type: {type}, params: {params}{following}}}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class RestBench:
    """A server with ten flows, one of which makes two calls to the receiver, and some that make none.

    Attributes:
        light_flow_id: 40 nodes in a row that pass on a value.
        script_flow_id: 10 nodes in a row that run a script.
        steps_flow_id: 10 nodes in a row that pass on a value.
        calls_flow_id: 10 nodes in a row that each make one call, durable before the next begins.
    """

    server: Server
    receiver: Receiver
    flow_id: str
    light_flow_id: str
    script_flow_id: str
    steps_flow_id: str
    calls_flow_id: str

    def run_many(self, seconds: float) -> dict[str, Any]:
        """32 clients that ask for the end every 20 ms."""
        return self._run(self.flow_id, _CLIENTS, poll_ms=20, seconds=seconds, gets=1, posts=1)

    def run_steps(self, seconds: float) -> dict[str, Any]:
        """32 clients that ask every 20 ms, and 10 nodes in a row that pass on a value."""
        return self._run(self.steps_flow_id, _CLIENTS, poll_ms=20, seconds=seconds)

    def run_calls(self, seconds: float) -> dict[str, Any]:
        """32 clients that ask every 20 ms, and 10 calls in a row."""
        return self._run(self.calls_flow_id, _CLIENTS, poll_ms=20, seconds=seconds, gets=STEPS)

    def run_waiting(self, seconds: float) -> dict[str, Any]:
        """32 clients that wait for the end in the request that starts the execution."""
        return self._run(self.flow_id, _CLIENTS, poll_ms=0, seconds=seconds, gets=1, posts=1)

    def run_one(self, seconds: float) -> dict[str, Any]:
        """1 client that asks every 2 ms."""
        return self._run(self.flow_id, 1, poll_ms=2, seconds=seconds, gets=1, posts=1)

    def run_one_waiting(self, seconds: float) -> dict[str, Any]:
        """1 client that waits for the end in the request that starts the execution."""
        return self._run(self.flow_id, 1, poll_ms=0, seconds=seconds, gets=1, posts=1)

    def run_light(self, seconds: float) -> dict[str, Any]:
        """1 client that asks every 2 ms, and 40 nodes in a row."""
        return self._run(self.light_flow_id, 1, poll_ms=2, seconds=seconds)

    def run_scripts(self, seconds: float) -> dict[str, Any]:
        """32 clients that ask every 20 ms, and 10 nodes in a row that run a script."""
        return self._run(self.script_flow_id, _CLIENTS, poll_ms=20, seconds=seconds)

    def list_flows(self, seconds: float) -> dict[str, Any]:
        report = wrk(
            self.server, "one_request.lua", "GET", "/api/v1/flows",
            threads=2, connections=_CLIENTS, seconds=seconds,
        )  # fmt: skip
        if report["not_2xx"] or report["socket_errors"]:
            raise BenchFailed(f"lists failed: {report}")
        return {"per_second": report["requests"] / report["seconds"], **report}

    def _run(
        self, flow_id: str, clients: int, *, poll_ms: int, seconds: float, gets: int = 0, posts: int = 0
    ) -> dict[str, Any]:
        before, calls_before = self.server.count(flow_id), self.receiver.counts()
        cpu_before = cpu_seconds(self.server.pid)
        report = wrk(
            self.server, "run_to_completed.lua", flow_id, poll_ms,
            threads=clients, connections=clients, seconds=seconds,
        )  # fmt: skip
        cpu = cpu_seconds(self.server.pid) - cpu_before
        latencies = sorted(report.pop("latencies_ms"))
        wrong = {name: report[name] for name in _FAULTS if report[name]}
        if wrong or not latencies:
            raise BenchFailed(f"executions went wrong: {wrong or 'none completed'}; {report['example']}")
        made = self._check(flow_id, report["accepted"], clients, before)
        self._check_calls({"GET": made * gets, "POST": made * posts}, calls_before)
        return {
            "per_second": len(latencies) / report["seconds"],
            "completed": len(latencies),
            "p50_ms": percentile(latencies, 50),
            "p99_ms": percentile(latencies, 99),
            "cpu_ms": cpu * 1000 / max(report["accepted"], 1),
            **{name: report[name] for name in ("seconds", "accepted", "polls")},
        }

    def _check(self, flow_id: str, accepted: int, clients: int, before: int) -> int:
        """What the clients saw is what the server holds: gives how many executions it has made."""
        self.server.wait_until_all_completed(flow_id)
        made = self.server.count(flow_id) - before
        if not accepted <= made <= accepted + clients:
            raise BenchFailed(f"{accepted} executions were accepted, and the server has {made} more than before")
        return made

    def _check_calls(self, expected: Mapping[str, int], before: Mapping[str, int]) -> None:
        counts = self.receiver.counts()
        for method, wanted in expected.items():
            if (sent := counts.get(method, 0) - before.get(method, 0)) != wanted:
                raise BenchFailed(f"{wanted} {method} requests were to be sent, and {sent} were")


_FAULTS: Final = ("refused", "poll_errors", "not_completed", "stuck", "socket_errors")


@contextlib.contextmanager
def rest_bench(directory: Path, *, database_url: str | None = None) -> Iterator[RestBench]:
    """Args: database_url: A PostgreSQL database; the server's own file without one."""
    name = "rest" if database_url is None else "rest-postgres"
    with running_receiver() as receiver, running_server(directory / name, database_url=database_url) as server:
        definition = TWO_CALLS.format(url=receiver.url)
        flow_ids = [server.create_flow(definition) for _ in range(_FLOWS)]
        others = (
            in_a_row(40, "{value: {n: 1}}"),
            in_a_row(STEPS, f'{{script: "{_SCRIPT}"}}'),
            in_a_row(STEPS, "{value: {n: 1}}"),
            in_a_row(STEPS, f'{{url: "{receiver.url}/data"}}', type="http.request"),
        )
        yield RestBench(server, receiver, flow_ids[0], *map(server.create_flow, others))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of the values do not exceed."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]
