"""How many executions do workers advance that Temporal places, beside plain workflows on the same Temporal server?"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.costs import StorageCosts
from bench.processes import (
    READY,
    BenchFailed,
    Receiver,
    Server,
    cpu_seconds,
    run_module,
    running_receiver,
    running_server,
    stop,
)
from bench.services import running_postgres, running_temporal

WORKERS: Final = (1, 2, 4)
CALLS: Final = 5
# As many as keep both busy: of a hundred, most of ours would only wait for their calls.
IN_FLIGHT: Final = 200
DELAY_MS: Final = 200
_QUEUE: Final = "flowrunner"
_PLAIN_QUEUE: Final = "plain"
_GRACE_SECONDS: Final = 60.0


def waiting_calls(url: str, calls: int) -> str:
    lines = [f'metadata: {{name: "{calls} calls", version: "1.0.0"}}', "nodes:"]
    for number in range(1, calls + 1):
        following = f", next: n{number + 1}" if number < calls else ""
        lines.append(f'  n{number}: {{type: http.request, params: {{url: "{url}/data"}}{following}}}')
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class TemporalBench:
    """A server with a flow, and as many workers of both kinds as a measurement needs."""

    address: str
    stored: StorageCosts
    server: Server
    receiver: Receiver
    flow_id: str
    pids: Mapping[str, int]
    _workers: list[Server] = field(default_factory=list)
    _plain_workers: list["subprocess.Popen[str]"] = field(default_factory=list)

    def have_workers(self, count: int) -> None:
        """Of each kind."""
        while len(self._workers) > count:
            self._workers.pop().stop()
        while len(self._plain_workers) > count:
            stop(self._plain_workers.pop())
        while len(self._workers) < count:
            worker = Server(self.server.data_dir, self.stored.url, self.server.settings, command="worker")
            self._workers.append(worker)
            worker.start()
            command = [sys.executable, "-m", "bench.plain", "worker", self.address, _PLAIN_QUEUE]
            plain = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._plain_workers.append(plain)
            assert plain.stdout is not None, "it is a pipe"
            if plain.stdout.readline().strip() != READY:
                raise BenchFailed("a plain worker did not start")

    def measure(self, workers: int, seconds: float) -> dict[str, Any]:
        """Executions of so many calls, and workflows of as many activities, one after the other."""
        self.have_workers(workers)
        ours: dict[str, Any] = {}

        def run_ours() -> int:
            ours.update(self._counted("bench.clients", self.server.url, self.flow_id, IN_FLIGHT, seconds))
            return int(ours["all"])

        ours |= self.stored.per_execution(run_ours)
        plain = self._counted(
            "bench.plain", "load", self.address, _PLAIN_QUEUE, f"{self.receiver.url}/data", CALLS, IN_FLIGHT, seconds
        )
        return {
            "ratio": ours["per_second"] / plain["per_second"],
            "per_second": ours["per_second"],
            "plain_per_second": plain["per_second"],
            "cpu_ms": ours["cpu_ms"],
            "plain_cpu_ms": plain["cpu_ms"],
            "ours": ours,
            "plain": plain,
        }

    def _counted(self, module: str, *arguments: object) -> dict[str, Any]:
        """What the load reports, with the milliseconds of processor time that each execution or workflow took."""
        calls_before, cpu_before = self.receiver.counts().get("GET", 0), self._cpu()
        patience = float(str(arguments[-1])) + _GRACE_SECONDS
        environment = {"BENCH_TOKEN": self.server.token}
        report: dict[str, Any] = run_module(module, *arguments, seconds=patience, environment=environment)
        cpu_after = self._cpu()
        made = self.receiver.counts()["GET"] - calls_before
        # A worker that got no processor for ten seconds was taken for dead, and what it had under way done again.
        repeated = made - report["all"] * CALLS
        if not 0 <= repeated <= report["all"] / 10:
            raise BenchFailed(f"{report['all']} of {CALLS} calls each made {made} calls")
        spent = {name: (cpu_after[name] - cpu_before[name]) / report["all"] * 1000 for name in cpu_after}
        return {**report, "repeated_calls": repeated, "cpu_ms": sum(spent.values()), "cpu_ms_by_process": spent}

    def _cpu(self) -> dict[str, float]:
        spent = {name: cpu_seconds(pid) for name, pid in self.pids.items()}
        spent["workers"] = sum(cpu_seconds(worker.pid) for worker in self._workers)
        spent["plain workers"] = sum(cpu_seconds(worker.pid) for worker in self._plain_workers)
        return spent


@contextlib.contextmanager
def temporal_bench(directory: Path) -> Iterator[TemporalBench]:
    """On a PostgreSQL and a Temporal server of its own."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        stored = StorageCosts(postgres, postgres.new_database())
        temporal = stack.enter_context(running_temporal(directory / "temporal"))
        receiver = stack.enter_context(running_receiver(delay_ms=DELAY_MS))
        settings = {"DISPATCH": temporal.url(_QUEUE)}
        server = stack.enter_context(
            running_server(directory / "on-temporal", database_url=stored.url, settings=settings)
        )
        flow_id = server.create_flow(waiting_calls(receiver.url, CALLS))
        pids = {"server": server.pid, "temporal": temporal.pid, "postgres": postgres.pid}
        bench = TemporalBench(temporal.address, stored, server, receiver, flow_id, pids)
        stack.callback(bench.have_workers, 0)
        yield bench
