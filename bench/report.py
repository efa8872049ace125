"""What was measured, beside what must be reached: a table for people and JSON for programs."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.kept import COSTS, MOST_TIMES, KeptCost, times_of
from bench.memory import ENOUGH_FOR_CACHES
from bench.temporal import CALLS, DELAY_MS, WORKERS

Rounds = Mapping[str, Sequence[Mapping[str, Any]]]
PART_OF: Final = {
    "limit": "commits",
    "noop-2": "engine",
    "noop-10": "engine",
    "transform-2": "engine",
    "many": "rest",
    "waiting": "rest",
    "steps": "rest",
    "calls": "rest",
    "one": "rest",
    "one-waiting": "rest",
    "list": "lists",
    "hooks-result": "hooks",
    "hooks-accepted": "hooks",
    "schedules": "schedules",
    "parked": "memory",
    "startup": "startup",
    "commands": "commands",
    "javascript": "javascript",
    "language": "language",
    "light": "language",
    "scripts": "language",
    "floods": "logins",
    "step-costs": "step-costs",
    "costs": "costs",
    "many-postgres": "postgres",
    "one-postgres": "postgres",
    "sockets": "sockets",
    "deaf": "sockets",
    **{f"temporal-{workers}": "temporal" for workers in WORKERS},
}  # fmt: skip
NOTHING_KEPT: Final[Mapping[str, KeptCost]] = {}
# A server that has finished executions behind it may still grow by so much over as many again.
FLAT_PERCENT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Required:
    bound: float
    at_least: bool
    text: str

    def is_met_by(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: its value in every round, and what its median must be."""

    part: str
    name: str
    unit: str
    values: Sequence[float]
    required: Required | None = None
    digits: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool | None:
        return None if self.required is None else self.required.is_met_by(self.median)

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "required": None if self.required is None else self.required.text,
            "met": self.is_met,
            "rounds": list(self.values),
        }


def at_least(bound: float, text: str) -> Required:
    return Required(bound, True, f"≥ {text}")


def at_most(bound: float, text: str) -> Required:
    return Required(bound, False, f"≤ {text}")


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows of whatever was measured."""

    rounds: Rounds
    found: list[Row]

    def add(self, name: str, unit: str, source: str, required: Required | None = None, *, digits: int = 0) -> None:
        """Args: source: The step that was measured, and which of its figures."""
        step, field = source.split(".")
        if measured := self.rounds.get(step):
            values = [one[field] for one in measured]
            self.found.append(Row(PART_OF[step], name, unit, values, required, digits))


def _ratios(rounds: Rounds, step: str, other: str) -> Sequence[float]:
    """Return how many times as many a second one step has as another, in each round that has both."""
    pairs = zip(rounds.get(step, ()), rounds.get(other, ()), strict=False)
    return [one["per_second"] / beside["per_second"] for one, beside in pairs]


def rows(rounds: Rounds, kept: Mapping[str, KeptCost] = NOTHING_KEPT) -> list[Row]:
    """The figures of whatever was measured. Args: kept: What a step has cost before."""
    found: list[Row] = []
    add = _Table(rounds, found).add
    add("bare group-commit loop, 2 nodes", "executions/s", "limit.per_second")
    add("engine alone, 2 no-op nodes", "executions/s", "noop-2.per_second")
    _add_shares(rounds, found)
    _add_costs(rounds, found, kept)
    add("engine alone, 10 no-op nodes", "executions/s", "noop-10.per_second")
    add("engine alone, 2 transform nodes", "executions/s", "transform-2.per_second")
    _add_clients(rounds, found)
    add(
        "REST on PostgreSQL, 2 HTTP calls, 32 clients", "executions/s", "many-postgres.per_second", at_least(400, "400")
    )
    add("  from run to completed, p50", "ms", "many-postgres.p50_ms", digits=1)
    add("  from run to completed, p99", "ms", "many-postgres.p99_ms", digits=1)
    add("REST on PostgreSQL, 2 HTTP calls, 1 client", "executions/s", "one-postgres.per_second")
    add("  from run to completed, p50", "ms", "one-postgres.p50_ms", digits=2)
    add("REST, 2 HTTP calls, 1 client", "executions/s", "one.per_second")
    add("  from run to completed, p50", "ms", "one.p50_ms", at_most(4, "4"), digits=2)
    add("  from run to completed, p99", "ms", "one.p99_ms", digits=2)
    add("REST, 2 HTTP calls, 1 client with Prefer: wait", "executions/s", "one-waiting.per_second")
    add("  from run to completed, p50", "ms", "one-waiting.p50_ms", at_most(3, "3"), digits=2)
    add("  from run to completed, p99", "ms", "one-waiting.p99_ms", digits=2)
    add("GET /api/v1/flows, 32 clients", "requests/s", "list.per_second", at_least(4000, "4,000"))
    add(
        "a webhook answered with its result, 2 transforms",
        "requests/s",
        "hooks-result.per_second",
        at_least(450, "450"),
    )
    add("  from request to result, p99", "ms", "hooks-result.p99_ms", at_most(150, "150"), digits=1)
    add("a webhook that is accepted", "requests/s", "hooks-accepted.per_second", at_least(600, "600"))
    add("  from request to answer, p99", "ms", "hooks-accepted.p99_ms", digits=1)
    add("a parked execution, young server", "bytes", "parked.bytes_each", at_most(2048, "2 KB"))
    if finished := rounds.get("finished"):
        found += _after_finished(finished[0])
    add("500 of 10,000 schedules due: last start", "s", "schedules.last_start_seconds", at_most(2, "2"), digits=2)
    add("10,000 armed schedules, idle server", "% of a core", "schedules.idle_percent", at_most(1, "1"), digits=2)
    for name, unit, key, bound in (
        ("start to /readyz, fresh data", "s", "startup.fresh_seconds", 1.5),
        ("start to /readyz, existing data", "s", "startup.existing_seconds", 1.5),
        ("flowrunner --help", "× python -c 'import click'", "commands.help_times", 2.5),
        ("flowrunner validate", "× python -c 'import click'", "commands.validate_times", 5.0),
        ("flowrunner executions list", "× python -c 'import click'", "commands.list_times", 4.0),
    ):
        add(name, unit, key, at_most(bound, f"{bound:g}"), digits=2)
    add("JavaScript over 5 KB, one worker", "expressions/s", "javascript.per_second", at_least(2000, "2,000"))
    add("  five accounts in turn", "expressions/s", "javascript.alternating_per_second")
    add("a plain path", "µs", "language.path_us", at_most(5, "5"), digits=2)
    add("a document of 100 nodes checked", "ms", "language.check_ms", at_most(20, "20"), digits=1)
    add("foreach of 100 no-op nodes, one at a time", "ms", "language.loop_ms", at_most(100, "100"), digits=1)
    add("  ten at a time", "ms", "language.wide_loop_ms", digits=1)
    add("REST, 40 light nodes in a row, 1 client, p50", "ms", "light.p50_ms", at_most(50, "50"), digits=1)
    add("  p99", "ms", "light.p99_ms", digits=1)
    add("REST, 10 script nodes, 32 clients", "executions/s", "scripts.per_second", at_least(200, "200"))
    add("a login, processor time of the server", "ms", "floods.login_cpu_ms", at_most(100, "100"), digits=1)
    add("  one that is throttled", "ms", "floods.throttled_cpu_ms", digits=2)
    add("GET /api/v1/flows, 8 clients that rest 20 ms, p99", "ms", "floods.p99_ms", digits=1)
    add("  beside a flood of requests without a token, p99", "ms", "floods.control_p99_ms", digits=1)
    add("  beside a flood of failing logins, p99", "ms", "floods.flooded_p99_ms", digits=1)
    add("  times as long", "", "floods.ratio", at_most(2, "2"), digits=2)
    _add_machines(add)
    return found


# By the executions that the bare loop writes in a second, in the same round: a slow machine slows both.
SHARES: Final = (
    ("noop-2", "engine alone, 2 no-op nodes ÷ bare loop", 0.25, "1/4"),
    ("many", "REST, 2 HTTP calls, 32 clients ÷ bare loop", 0.04, "0.04"),
    ("calls", "REST, 10 HTTP calls, 32 clients ÷ bare loop", 0.008, "0.008"),
)


def _add_shares(rounds: Rounds, found: list[Row]) -> None:
    for step, name, bound, text in SHARES:
        if ratios := _ratios(rounds, step, "limit"):
            found.append(Row(PART_OF[step], name, "", ratios, at_least(bound, text), 3))


def _add_costs(rounds: Rounds, found: list[Row], kept: Mapping[str, KeptCost]) -> None:
    for cost in COSTS:
        before, times = kept.get(cost.name), times_of(cost, rounds)
        if values := cost.values(rounds):
            most = None if before is None or cost.is_time else before.value * cost.most
            required = None if most is None else at_most(most, f"{most:,.0f}")
            unit, digits = ("ms of processor", 3) if cost.is_time else ("bytes", 0)
            found.append(Row("step-costs", cost.name, unit, values, required, digits))
        if times:
            most = None if before is None or before.times is None else before.times * MOST_TIMES
            required = None if most is None else at_most(most, f"{most:.2f}")
            found.append(Row("step-costs", "  times that of the bare loop", "", times, required, 2))


def _add_clients(rounds: Rounds, found: list[Row]) -> None:
    add = _Table(rounds, found).add
    add("REST, 2 HTTP calls, 32 clients", "executions/s", "many.per_second")
    add("  from run to completed, p50", "ms", "many.p50_ms", digits=1)
    add("  from run to completed, p99", "ms", "many.p99_ms", digits=1)
    add("  an execution, the server", "ms of processor", "many.cpu_ms", digits=2)
    add("REST, 10 transforms, 32 clients", "executions/s", "steps.per_second")
    add("  an execution, the server", "ms of processor", "steps.cpu_ms", digits=2)
    add("REST, 10 HTTP calls, 32 clients", "executions/s", "calls.per_second")
    add("  an execution, the server", "ms of processor", "calls.cpu_ms", digits=2)
    add("REST, 2 HTTP calls, 32 clients with Prefer: wait", "executions/s", "waiting.per_second")
    add("  an execution, the server", "ms of processor", "waiting.cpu_ms", digits=2)
    if ratios := _ratios(rounds, "waiting", "many"):
        found.append(Row("rest", "  times as many as with polls", "", ratios, at_least(1.3, "1.3"), 2))


def _add_machines(add: Callable[..., None]) -> None:
    add("an execution of 2 HTTP calls on PostgreSQL, the server", "ms of processor", "costs.server_ms", digits=1)
    add("  PostgreSQL", "ms of processor", "costs.postgres_ms", digits=1)
    add("  stored", "bytes", "costs.stored_bytes")
    add("  written to PostgreSQL's log", "bytes", "costs.log_bytes")
    for workers in WORKERS:
        step = f"temporal-{workers}"
        name = f"on Temporal, {CALLS} HTTP calls of {DELAY_MS} ms, workers: {workers}"
        add(name, "executions/s", f"{step}.per_second", digits=1)
        add("  plain workflows, an activity a call", "workflows/s", f"{step}.plain_per_second", digits=1)
        add("  times as many", "", f"{step}.ratio", at_least(2, "2"), digits=2)
        add("  an execution, in all processes", "ms of processor", f"{step}.cpu_ms", digits=1)
        add("  a plain workflow, in all processes", "ms of processor", f"{step}.plain_cpu_ms", digits=1)
    add("an open WebSocket, 10,000 of them", "bytes", "sockets.bytes_each", at_most(50_000, "50 KB"))
    add("from run to completed, seen live, 8 clients that rest 50 ms, p99", "ms", "deaf.p99_ms", digits=1)
    add("  beside 100 that read nothing, p99", "ms", "deaf.beside_p99_ms", digits=1)
    add("  times as long", "", "deaf.ratio", at_most(1.2, "1.2"), digits=2)
    add("  before and after, without them, times as long", "", "deaf.unrest", digits=2)


def _after_finished(report: Mapping[str, Any]) -> list[Row]:
    points: Sequence[tuple[int, int]] = report["points"]
    (_, start), (half, at_half), (count, at_end) = points[0], points[len(points) // 2], points[-1]
    # Until the database's page caches are full, growth says nothing about what comes after.
    is_full = count >= ENOUGH_FOR_CACHES
    flat = at_most(FLAT_PERCENT, f"{FLAT_PERCENT:g} (flat)") if is_full else None
    found = [
        Row("memory", "memory at the start", "MB", [start / 1e6], None, 1),
        Row("memory", f"memory after {count:,} finished", "MB", [at_end / 1e6], None, 1),
        Row("memory", f"  growth from {half:,} to there", "%", [(at_end / at_half - 1) * 100], flat, 1),
        Row("memory", "light executions, started over REST", "executions/s", [report["per_second"]]),
    ]
    if (then := report["then_parked"]) is not None:
        found.append(
            Row("memory", "a parked execution, after those", "bytes", [then["bytes_each"]], at_most(2048, "2 KB"))
        )
    return found


_COLUMNS: Final = ("", "figure", "unit", "median", "min–max", "required", "")


def table(rows: Sequence[Row]) -> str:
    """Lines of a table in Markdown, which is fit to be read as it is, too."""
    lines = [_COLUMNS] + [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    aligns: Sequence[Callable[[str, int], str]] = (
        str.ljust, str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.ljust,
    )  # fmt: skip
    shown = [
        "| " + " | ".join(align(cell, width) for align, cell, width in zip(aligns, line, widths, strict=True)) + " |"
        for line in lines
    ]
    rules = "|" + "|".join(
        "-" * (width + 1) + (":" if align is str.rjust else "-") for align, width in zip(aligns, widths, strict=True)
    )
    return "\n".join([shown[0], rules + "|", *shown[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float) -> str:
        return f"{value:,.{row.digits}f}"

    spread = f"{number(min(row.values))}–{number(max(row.values))}" if len(row.values) > 1 else ""
    verdict = {None: "", True: "met", False: "MISSED"}[row.is_met]
    required = row.required.text if row.required else ""
    return row.part, row.name, row.unit, number(row.median), spread, required, verdict
