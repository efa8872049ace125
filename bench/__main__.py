"""Runs the benchmark: `python -m bench [--quick] [--only engine,rest,…]`, from the project's directory."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from bench import commands, costs, floods, kept, memory, report, schedules, sockets, step_costs
from bench.engine import NoOp
from bench.hooks import HookBench
from bench.machine import describe
from bench.processes import BenchFailed, run_module, scratch
from bench.rest import RestBench, rest_bench
from bench.services import running_postgres
from bench.startup import start_twice
from bench.temporal import WORKERS, temporal_bench
from bench.wrk import missing

RESULTS: Final = Path(__file__).parent / "results" / "latest.json"
PARTS: Final = {
    "commits": "bare group-commit loop",
    "engine": "engine alone",
    "rest": "executions over REST",
    "lists": "lists over REST",
    "memory": "memory",
    "startup": "start-up",
    "commands": "start-up of commands",
    "hooks": "requests to webhook triggers",
    "schedules": "armed schedules, and many that are due together",
    "javascript": "JavaScript",
    "language": "the flow language",
    "logins": "logins, and floods of them",
    "step-costs": "what a step costs: processor time and bytes",
    "costs": "what an execution costs on PostgreSQL",
    "postgres": "executions over REST, on PostgreSQL beside SQLite",
    "temporal": "executions that Temporal places, beside plain workflows",
    "sockets": "WebSockets: memory, and clients that do not read",
}
# Each command takes a tenth of a second.
COMMAND_TIMES: Final = 10
_NEED_WRK: Final = frozenset(
    {"rest", "lists", "hooks", "memory", "language", "logins", "costs", "postgres", "step-costs"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to measure. Seconds are those of one measurement in one round."""

    rounds: int
    engine_seconds: float
    many_seconds: float
    one_seconds: float
    list_seconds: float
    idle_seconds: float
    finished: int
    costed: int
    memory_seconds: float
    temporal_rounds: int
    temporal_seconds: float


FULL: Final = Effort(
    rounds=5, engine_seconds=3, many_seconds=5, one_seconds=3, list_seconds=3, idle_seconds=15, finished=100_000,
    costed=2_000, memory_seconds=150, temporal_rounds=3, temporal_seconds=10,
)  # fmt: skip
QUICK: Final = Effort(
    rounds=2, engine_seconds=1, many_seconds=2, one_seconds=1, list_seconds=1, idle_seconds=5, finished=10_000,
    costed=300, memory_seconds=20, temporal_rounds=1, temporal_seconds=4,
)  # fmt: skip


@dataclass(slots=True)
class Bench:
    """One run of the benchmark: what is measured, and what went wrong."""

    directory: Path
    effort: Effort
    parts: frozenset[str]
    rounds: dict[str, list[Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        self._say_what_is_left_out()
        with contextlib.ExitStack() as stack:
            rest = on_postgres = None
            stored = None
            if self.parts & {"rest", "lists", "hooks", "language", "logins", "postgres", "step-costs"}:
                rest = stack.enter_context(rest_bench(self.directory))
            if self.parts & {"costs", "postgres"}:
                postgres = stack.enter_context(running_postgres())
                stored = costs.StorageCosts(postgres, postgres.new_database())
                on_postgres = stack.enter_context(rest_bench(self.directory, database_url=stored.url))
            steps = self._steps(rest, on_postgres, stored)
            # One round after the other: what disturbs the machine for a while disturbs every figure alike.
            for number in range(self.effort.rounds if steps else 0):
                say(f"round {number + 1} of {self.effort.rounds}")
                for name, step in steps:
                    self._measure(name, step)
        if "memory" in self.parts:
            seconds = self.effort.memory_seconds
            self._measure("parked", lambda: memory.parked(self.directory, seconds=seconds, say=say))
            self._measure(
                "finished",
                lambda: memory.finished(self.directory, total=self.effort.finished, seconds=seconds, say=say),
            )

        if "temporal" in self.parts:
            self._measure_temporal()
        if "sockets" in self.parts:
            self._measure_sockets()

    def _measure_temporal(self) -> None:
        say("Temporal's development server, with history.transferProcessorMaxPollRPS=500 for both; its default is 20")
        with temporal_bench(self.directory) as bench:
            for number in range(self.effort.temporal_rounds):
                say(f"Temporal, round {number + 1} of {self.effort.temporal_rounds}")
                for count in WORKERS:
                    step = partial(bench.measure, count, self.effort.temporal_seconds)
                    self._measure(f"temporal-{count}", step)

    def _measure_sockets(self) -> None:
        self._measure("sockets", lambda: sockets.memory_each(self.directory))
        with sockets.deaf_bench(self.directory) as bench:
            for _ in range(self.effort.rounds):
                self._measure("deaf", lambda: bench.measure(self.effort.many_seconds))

    def _say_what_is_left_out(self) -> None:
        if self.parts & _NEED_WRK and (problem := missing()):
            left_out = sorted(self.parts & _NEED_WRK)
            self.faults.append(f"{', '.join(left_out)} left out: {problem}")
            say(f"LEFT OUT {', '.join(PARTS[part] for part in left_out)}: {problem}")
            self.parts -= _NEED_WRK

    def _steps(
        self, rest: RestBench | None, on_postgres: RestBench | None, stored: costs.StorageCosts | None
    ) -> list[tuple[str, Callable[[], Any]]]:
        effort = self.effort
        steps: list[tuple[str, str, Callable[[], Any]]] = [
            ("commits engine rest hooks step-costs", "limit", lambda: self._alone("bench.limit")),
            ("engine", "noop-2", lambda: self._alone("bench.engine", NoOp.type, 2)),
            ("engine step-costs", "noop-10", lambda: self._alone("bench.engine", NoOp.type, 10)),
            ("engine", "transform-2", lambda: self._alone("bench.engine", "transform", 2)),
        ]
        if rest is not None:
            hooks = HookBench(rest.server)
            steps += [
                ("hooks", "hooks-result", lambda: hooks.measure("result", effort.many_seconds)),
                ("hooks", "hooks-accepted", lambda: hooks.measure("accepted", effort.many_seconds)),
                ("rest postgres", "many", lambda: rest.run_many(effort.many_seconds)),
                ("rest", "steps", lambda: rest.run_steps(effort.many_seconds)),
                ("rest step-costs", "calls", lambda: rest.run_calls(effort.many_seconds)),
                ("rest", "waiting", lambda: rest.run_waiting(effort.many_seconds)),
                ("rest postgres", "one", lambda: rest.run_one(effort.one_seconds)),
                ("rest", "one-waiting", lambda: rest.run_one_waiting(effort.one_seconds)),
                ("step-costs", "step-costs", self._cost_steps),
                ("lists", "list", lambda: rest.list_flows(effort.list_seconds)),
                ("language", "light", lambda: rest.run_light(effort.one_seconds)),
                ("language", "scripts", lambda: rest.run_scripts(effort.many_seconds)),
                ("logins", "floods", lambda: floods.measure(rest.server, effort.list_seconds)),
            ]
        if on_postgres is not None and stored is not None:
            steps += [
                ("costs", "costs", lambda: costs.measure(on_postgres, stored, effort.costed, effort.memory_seconds)),
                ("postgres", "many-postgres", lambda: on_postgres.run_many(effort.many_seconds)),
                ("postgres", "one-postgres", lambda: on_postgres.run_one(effort.one_seconds)),
            ]
        steps.append(("startup", "startup", self._start_twice))
        steps.append(("commands", "commands", self._run_commands))
        steps.append(("schedules", "schedules", self._schedule))
        steps.append(("javascript", "javascript", lambda: self._alone("bench.javascript")))
        steps.append(("language", "language", lambda: self._alone("bench.language")))
        return [(name, step) for parts, name, step in steps if self.parts & set(parts.split())]

    def _alone(self, module: str, *arguments: object) -> Any:
        with scratch(self.directory) as directory:
            seconds = self.effort.engine_seconds
            return run_module(module, directory, *arguments, seconds, seconds=seconds * 4 + 30)

    def _cost_steps(self) -> Any:
        # On a server of its own: of more than 36,000 starts an hour by one account, the audit log keeps the number.
        with scratch(self.directory) as directory, rest_bench(directory) as rest:
            return step_costs.measure(rest, self.effort.costed, self.effort.memory_seconds)

    def _start_twice(self) -> Any:
        with scratch(self.directory) as directory:
            fresh, existing = start_twice(directory / "data")
            return {"fresh_seconds": fresh, "existing_seconds": existing}

    def _run_commands(self) -> Any:
        with scratch(self.directory) as directory:
            return commands.measure(directory, times=COMMAND_TIMES)

    def _schedule(self) -> Any:
        with scratch(self.directory) as directory:
            return schedules.measure(directory, idle_seconds=self.effort.idle_seconds)

    def _measure(self, name: str, step: Callable[[], Any]) -> None:
        if any(fault.startswith(f"{name}: ") for fault in self.faults):
            return
        try:
            result = step()
        except (BenchFailed, OSError, subprocess.SubprocessError) as error:
            self.faults.append(f"{name}: {error}")
            say(f"  {name} FAILED: {error}")
            return
        self.rounds.setdefault(name, []).append(result)
        first = next(iter(result.items()))
        say(f"  {name}: {first[0]} {first[1]:,.3f}" if isinstance(first[1], float) else f"  {name}")


def _keep(rounds: report.Rounds, machine: Mapping[str, Any]) -> None:
    measured_at = (
        f"Measured at commit `{kept.commit()}` on {machine['date'][:10]}: {machine['cpu']}, {machine['cores']} cores, "
        f"Python {machine['python']}, SQLite {machine['sqlite']}."
    )
    kept.PAGE.write_text(kept.replaced(kept.PAGE.read_text(), rounds, measured_at))
    say(f"the table of steps is in {kept.PAGE.relative_to(Path(__file__).parent.parent)}")


def say(text: str) -> None:
    """Progress goes beside the table, which can so be piped."""
    print(text, file=sys.stderr, flush=True)


def _end(number: int, frame: object) -> NoReturn:
    # Leaves through every `finally`, so that no process of ours outlives this one.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in about six minutes; the spread will be wide")
    parser.add_argument(
        "--only", default=",".join(PARTS), metavar="PARTS", help="; ".join(map(": ".join, PARTS.items()))
    )
    parser.add_argument("--directory", type=Path, help="where the databases go; on the disk that is to be measured")
    options = parser.parse_args(arguments)
    parts = frozenset(options.only.replace(" ", "").split(","))
    if unknown := parts - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, _end)
    begun = time.monotonic()
    with scratch(options.directory) as directory:
        machine = describe(directory)
        if machine["file_system"] in ("tmpfs", "ramfs"):
            say(f"{directory} is in memory, where a commit costs nothing: choose a disk with --directory")
        bench = Bench(directory, QUICK if options.quick else FULL, parts)
        try:
            bench.run()
        except BenchFailed as error:
            # What was measured before is still worth showing.
            bench.faults.append(str(error))
    rows = report.rows(bench.rounds, kept.read(kept.PAGE.read_text()))
    print("{cpu}, {cores} cores, {memory_mb} MB, {kernel}, {file_system}".format_map(machine))
    print("Python {python}, SQLite {sqlite}, {date}, load before {load_before:.1f}\n".format_map(machine))
    print(report.table(rows))
    for fault in bench.faults:
        print(f"\nFAILED {fault}")
    if "step-costs" in bench.rounds and not options.quick:
        _keep(bench.rounds, machine)
    seconds = time.monotonic() - begun
    RESULTS.parent.mkdir(exist_ok=True)
    result = {
        "machine": machine,
        "quick": options.quick,
        "seconds": round(seconds, 1),
        "figures": [row.as_json() for row in rows],
        "faults": bench.faults,
        "rounds": bench.rounds,
    }
    RESULTS.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    say(f"\n{seconds:.0f} s; written to {RESULTS.relative_to(Path(__file__).parent.parent)}")
    return 1 if bench.faults else 0


if __name__ == "__main__":
    sys.exit(main())
