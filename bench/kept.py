"""The table of what a step costs in `docs/performance.md`: written by a whole run, and the measure of later runs."""

import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
_BLOCK: Final = re.compile(r"(?<=<!-- steps -->\n).*?(?=<!-- /steps -->)", re.DOTALL)
_ROW: Final = re.compile(r"^\| (?P<name>[^|]+?) \| (?P<value>[\d.,]+) [^|]*\| (?P<times>[\d.,]*) *\|$", re.MULTILINE)
# How many times the kept processor time a later run may take, each by that of the bare loop in its own run.
MOST_TIMES: Final = 1.25


@dataclass(frozen=True, slots=True)
class Cost:
    """A figure of the table.

    Attributes:
        source: The step that is measured, and which of its figures.
        is_time: It is processor time, and not bytes.
        steps: The number of steps that the figure is for.
        most: How many times the kept bytes a later run may take.
    """

    name: str
    source: str
    is_time: bool = False
    steps: int = 1
    most: float = 1.05

    def values(self, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[float]:
        step, field = self.source.split(".")
        return [one[field] / self.steps for one in rounds.get(step, ()) if field in one]


BARE: Final = Cost("a step of the bare loop, 2 no-op nodes", "limit.cpu_ms", is_time=True)
COSTS: Final = (
    BARE,
    Cost("a step of the engine alone, 10 no-op nodes", "noop-10.cpu_ms", is_time=True),
    Cost("a step of ten calls over REST, 32 clients that poll", "calls.cpu_ms", is_time=True, steps=10),
    Cost("a step of four over REST: two calls, `transform`, `switch`", "step-costs.cpu_ms", is_time=True),
    # The fewer executions share a commit, the more pages are written.
    Cost("written to disk by such a step", "step-costs.written_bytes", most=1.25),
    Cost("kept of an execution of four such steps", "step-costs.all_bytes"),
    Cost("its events", "step-costs.events_bytes"),
    Cost("its row", "step-costs.executions_bytes"),
    Cost("indexes of its row", "step-costs.executions_index_bytes"),
    Cost("its entry in the audit log, with indexes", "step-costs.audit_bytes"),
)


@dataclass(frozen=True, slots=True)
class KeptCost:
    """A row of the table. Args: times: The value by that of the bare loop; None for bytes."""

    value: float
    times: float | None


def times_of(cost: Cost, rounds: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[float]:
    """Return the processor time by that of the bare loop, in each round that has both."""
    if not cost.is_time or cost is BARE:
        return []
    return [value / bare for value, bare in zip(cost.values(rounds), BARE.values(rounds), strict=False)]


def read(page: str) -> dict[str, KeptCost]:
    """Return the rows of the table by name. Raises: ValueError if there is no table."""
    found = _BLOCK.search(page)
    if found is None:
        raise ValueError("the page has no <!-- steps --> block")
    return {
        row["name"]: KeptCost(_number(row["value"]), _number(row["times"]) if row["times"] else None)
        for row in _ROW.finditer(found[0])
    }


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def replaced(page: str, rounds: Mapping[str, Sequence[Mapping[str, Any]]], measured_at: str) -> str:
    """Return the page with a new table. Raises: ValueError if it has no place for one."""
    if _BLOCK.search(page) is None:
        raise ValueError("the page has no <!-- steps --> block")
    lines = ["| figure | measured (median, min–max) | by the bare loop |", "| --- | --- | --- |"]
    for cost in COSTS:
        if values := cost.values(rounds):
            times = times_of(cost, rounds)
            lines.append(f"| {cost.name} | {_shown(cost, values)} | {_median(times, 2) if times else ''} |")
    return _BLOCK.sub(lambda _: "\n".join(lines) + f"\n\n{measured_at}\n", page)


def _shown(cost: Cost, values: Sequence[float]) -> str:
    digits, unit = (3, "ms of processor time") if cost.is_time else (0, "bytes")
    return f"{_median(values, digits)} {unit} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def _median(values: Sequence[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f}"


def commit() -> str:
    """Return the commit of the working tree, and whether it has changes."""
    run = ["git", "-C", str(PAGE.parent), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
