"""Counters of rare events: what each method adds, and the outcomes that are shown before they first occur."""

import ast
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from flowrunner import services
from flowrunner.metrics import Metrics
from flowrunner.metrics.database import DatabaseMetrics

Sample = tuple[str, Mapping[str, str]]
DUE: Final = "flowrunner_due_times_total"
# What is counted, and the sample that grows by what number; nothing else changes.
COUNTED: Final[Mapping[str, tuple[Callable[[Metrics], None], Sample, float]]] = {
    "a refusal": (lambda m: m.refused("logins"), ("flowrunner_requests_refused_total", {"limit": "logins"}), 1),
    "a job": (lambda m: m.job_failed("purge"), ("flowrunner_background_failures_total", {"name": "purge"}), 1),
    "a known job": (lambda m: m.know_jobs(["purge"]), ("flowrunner_background_failures_total", {"name": "purge"}), 0),
    "a message": (
        lambda m: m.callback_attempted("failed"), ("flowrunner_callback_attempts_total", {"outcome": "failed"}), 1,
    ),
    "a request": (
        lambda m: m.hook_requested("skipped"), ("flowrunner_hook_requests_total", {"outcome": "skipped"}), 1,
    ),
    "due times": (lambda m: m.due_time("missed", 500), (DUE, {"outcome": "missed"}), 500),
    "no due time": (lambda m: m.due_time("missed", 0), (DUE, {"outcome": "missed"}), 0),
}  # fmt: skip
# By the module of a service: the counter that its outcomes go to.
OUTCOMES: Final = {
    "callback_deliveries": "flowrunner_callback_attempts_total",
    "hook_starts": "flowrunner_hook_requests_total",
    "hooks": "flowrunner_hook_requests_total",
    "schedules": DUE,
}


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in metrics.collect()
        if family.type == "counter" and not family.name.startswith("process_")
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@pytest.mark.parametrize("what", COUNTED)
def test_a_counter_grows_by_what_was_counted_each_time(what: str) -> None:
    count, (name, labels), number = COUNTED[what]
    metrics = Metrics()
    before, key = samples(metrics), (name, tuple(labels.items()))

    count(metrics)
    once = samples(metrics)
    count(metrics)
    twice = samples(metrics)

    assert (once[key], twice[key]) == (number, 2 * number)
    assert {**before, key: twice[key]} == twice


def test_every_counter_is_among_them() -> None:
    metrics = Metrics()
    for count, _, _ in COUNTED.values():
        count(metrics)
    counters = {family.name for family in metrics.collect() if family.type == "counter"}

    of_requests = {family.name for family in metrics.requests.collect()}
    others = {name for name in counters if name.startswith("process_")} | of_requests
    assert counters - others == {name.removesuffix("_total") for _, (name, _), _ in COUNTED.values()}


def test_each_outcome_is_shown_before_it_first_occurs() -> None:
    """Prometheus sees an increase only after a first value."""
    shown = samples(Metrics())
    counted = {
        (OUTCOMES[path.stem], argument.value)
        for path in Path(services.__file__).parent.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if call.func.attr in ("_count", "_on_attempt") and path.stem in OUTCOMES
        for argument in ast.walk(call.args[0])
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }

    assert len(counted) >= 9
    assert [name for name in counted if (name[0], (("outcome", name[1]),)) not in shown] == []


def test_commits_are_counted_by_their_size_and_work_of_the_database_by_its_time() -> None:
    numbers = DatabaseMetrics()
    numbers.committed(3)
    numbers.committed(20)
    numbers.took("commit", 0.25)
    numbers.took("read", 0.5)
    numbers.took("read", 1.0)

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in numbers.collect()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }

    assert found == {
        ("flowrunner_commit_size_count",): 2, ("flowrunner_commit_size_sum",): 23,
        ("flowrunner_database_seconds_count", "commit"): 1, ("flowrunner_database_seconds_sum", "commit"): 0.25,
        ("flowrunner_database_seconds_count", "read"): 2, ("flowrunner_database_seconds_sum", "read"): 1.5,
    }  # fmt: skip
