"""What the metrics count of the events of executions, and how many flows they name."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    Admitted,
    Cancelled,
    Completed,
    ErrorValue,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Started,
)
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.language.error_types import class_of_error
from flowrunner.metrics.database import DatabaseMetrics
from flowrunner.metrics.executions import ExecutionMetrics
from flowrunner.metrics.flow_series import FlowRanking, displayed
from flowrunner.metrics.histograms import Histogram, histogram_family
from flowrunner.metrics.requests import RequestMetrics
from flowrunner.ports.journal import Recorded
from flowrunner.ports.telemetry import ObservedExecution
from support.databases import NOON

STEP: dict[str, Any] = {"node": "a", "node_type": "transform", "iteration": 1, "attempt": 1}
FLOW = ObservedExecution(
    execution_id=ExecutionId("exec-1"),
    workspace_id=WorkspaceId("account-1"),
    flow_id=FlowId("flow-1"),
    flow_name="Orders",
)


def recorded(event: Event, seconds: float | None = None, *, is_kept: bool = False) -> Recorded:
    since = None if seconds is None else NOON - timedelta(seconds=seconds)
    return Recorded(1, NOON, event, b"{}", since, is_kept)


def samples(source: Any) -> dict[tuple[str, ...], float]:
    """All samples, by name and the values of the labels, without those that are 0."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in source.collect()
        for sample in family.samples
        if sample.value
    }


def observed(*records: Recorded, ranking: FlowRanking | None = None) -> dict[tuple[str, ...], float]:
    metrics = ExecutionMetrics({"transform", "http.request"}, ranking or FlowRanking(5))
    metrics.observe(FLOW, records)
    return samples(metrics)


def test_every_event_that_begins_or_ends_something_is_counted_with_its_duration() -> None:
    found = observed(
        recorded(Started(node="a", node_type="transform", input=None, cause=Requested(by=None))),
        recorded(Admitted(), 40.0),
        recorded(NodeStarted(**STEP), 0.3),
        recorded(Logged(level="info", message="x")),
        recorded(NodeCompleted(**STEP, action="default", result=None), 0.02),
        recorded(NodeCompleted(**{**STEP, "node_type": "gone"}, action="default", result=None), 7.0),
        recorded(Completed(result=None), 2.0),
    )

    assert found["flowrunner_executions_started_total",] == 1
    assert found["flowrunner_executions_ended_total", "completed"] == 1
    assert found["flowrunner_steps_started_total", "transform"] == 1
    assert found["flowrunner_execution_queue_seconds_sum", "concurrency"] == 40.0
    assert found["flowrunner_execution_queue_seconds_sum", "active"] == 0.3
    assert found["flowrunner_step_seconds_bucket", "transform", "0.05"] == 1
    assert ("flowrunner_step_seconds_bucket", "transform", "0.01") not in found
    assert found["flowrunner_step_seconds_sum", "other"] == 7.0
    assert found["flowrunner_execution_seconds_sum", "completed"] == 2.0
    assert found["flowrunner_flow_executions_ended_total", "account-1", "flow-1", "Orders", "completed"] == 1


def test_failed_attempts_are_counted_by_type_and_only_the_last_one_ends_the_step() -> None:
    forbidden = ErrorValue(type="egress.forbidden", message="no")
    found = observed(
        *[recorded(NodeFailed(**STEP, error=ErrorValue(type="http.503", message="x"), retry_at=NOON), 1.0)] * 2,
        recorded(NodeFailed(**{**STEP, "node_type": "gone"}, error=forbidden), 3.0),
        recorded(Failed(error=ErrorValue(type="order.4711", message="x")), 4.0),
    )

    assert found["flowrunner_step_retries_total", "transform"] == 2
    assert found["flowrunner_step_errors_total", "transform", "http.5xx"] == 2
    assert found["flowrunner_step_errors_total", "other", "egress.forbidden"] == 1
    assert found["flowrunner_egress_refused_total",] == 1
    assert ("flowrunner_step_seconds_count", "transform") not in found
    assert found["flowrunner_step_seconds_count", "other"] == 1
    assert found["flowrunner_execution_failures_total", "other"] == 1


def test_what_a_rerun_keeps_of_another_execution_is_not_counted_again() -> None:
    kept = [
        recorded(NodeStarted(**STEP), is_kept=True),
        recorded(NodeCompleted(**STEP, action="default", result=None), is_kept=True),
    ]

    assert observed(*kept) == {}


def test_an_end_without_a_known_beginning_is_counted_without_a_duration() -> None:
    found = observed(recorded(Cancelled(reason="x")))

    assert found["flowrunner_executions_ended_total", "cancelled"] == 1
    assert ("flowrunner_execution_seconds_count", "cancelled") not in found


@pytest.mark.parametrize(
    ("type", "label"),
    [
        ("timeout", "timeout"), ("http.404", "http.4xx"), ("http.too_large", "http.too_large"),
        ("http.999", "other"), ("http.4711", "other"), ("", "other"), ("my.own", "other"), ("limit.size", "limit.size"),
    ],
)  # fmt: skip
def test_a_flow_cannot_choose_a_label_by_the_type_of_an_error(type: str, label: str) -> None:
    assert class_of_error(type) == label


# Flows with series of their own


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def ends(ranking: FlowRanking, flows: Iterable[str]) -> None:
    for flow in flows:
        ranking.series_of(replace(FLOW, flow_id=FlowId(flow), flow_name=flow)).ended["completed"] += 1


def named(ranking: FlowRanking) -> dict[str, float]:
    return {
        labels[2]: value
        for (name, *labels), value in samples(ranking).items()
        if name == "flowrunner_flow_executions_ended_total"
    }


def test_no_more_flows_than_allowed_have_series_and_the_others_share_theirs() -> None:
    ranking = FlowRanking(2)

    ends(ranking, ["a", "b", *(f"flow-{n}" for n in range(1000)), "a"])

    assert named(ranking) == {"a": 2, "b": 1, "other": 1000}


def test_flows_that_run_more_take_the_places_of_those_that_run_least() -> None:
    ranking = FlowRanking(2, time := Time())
    ends(ranking, ["a", "b", "c", "c", "c", "a", "a"])

    time.now = 300.0
    assert named(ranking) == {"a": 3, "other": 3}, "b has made room"
    ends(ranking, ["c", "b"])

    assert named(ranking) == {"a": 3, "c": 1, "other": 4}


def test_no_flow_makes_room_while_places_are_free() -> None:
    ranking = FlowRanking(3, time := Time())
    ends(ranking, ["a", "b"])
    # Its executions count, although it cannot be named.
    ends(ranking, [""] * 5)

    time.now = 300.0

    assert named(ranking) == {"a": 1, "b": 1, "other": 5}


def test_a_flow_that_is_frequent_is_found_among_any_number_of_others() -> None:
    ranking = FlowRanking(1, time := Time())
    ends(ranking, ["first"])
    for n in range(500):
        ends(ranking, [f"flow-{n}", "often"])

    time.now = 300.0
    named(ranking)
    ends(ranking, ["often"])

    assert named(ranking)["often"] == 1


def test_a_flow_that_was_frequent_once_is_forgotten_among_many_others() -> None:
    ranking = FlowRanking(1, time := Time())
    ends(ranking, ["twice", "twice", *(f"flow-{n}" for n in range(500)), *["often"] * 5])

    time.now = 300.0
    named(ranking)
    ends(ranking, ["often"])

    assert named(ranking)["often"] == 1


def test_nothing_is_named_if_no_flow_may_be() -> None:
    ranking = FlowRanking(0)

    ends(ranking, ["a", "b"])

    assert named(ranking) == {"other": 2}


def test_a_flow_whose_name_is_not_known_is_not_named() -> None:
    ranking = FlowRanking(5)

    ranking.series_of(replace(FLOW, flow_name="")).ended["failed"] += 1

    assert named(ranking) == {"other": 1}


def test_a_name_is_one_short_line() -> None:
    assert displayed("Orders of\nParis\x1b[2J\u202e") == "Orders of_Paris_[2J_"
    assert displayed("x" * 100) == "x" * 63 + "…"


def test_executions_of_before_the_last_ranking_keep_no_place() -> None:
    ranking = FlowRanking(1, time := Time())
    ends(ranking, ["was busy"] * 9)
    time.now = 300.0
    named(ranking)

    ends(ranking, ["is busy"] * 3)
    time.now = 600.0
    named(ranking)
    ends(ranking, ["is busy"])

    assert named(ranking) == {"is busy": 1, "other": 3}


def test_a_bound_of_a_histogram_is_part_of_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)

    (family,) = [histogram_family("name", "help", (), {(): histogram})]
    buckets = {sample.labels["le"]: sample.value for sample in family.samples if sample.name == "name_bucket"}
    assert buckets == {"1.0": 2, "2.0": 4, "+Inf": 5}


def test_every_histogram_has_buckets_for_what_it_measures() -> None:
    executions, requests, database = (
        ExecutionMetrics({"transform"}, FlowRanking(5)),
        RequestMetrics(),
        DatabaseMetrics(),
    )
    step = NodeCompleted(**STEP, action="default", result=None)
    executions.observe(FLOW, [recorded(event, 1.0) for event in (NodeStarted(**STEP), step, Completed(result=None))])
    requests.count("/", "GET", 200, 1.0)
    bounds: dict[tuple[str, ...], list[str]] = {}
    for source in (executions, requests, database):
        for family in source.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    *series, bound = sample.labels.values()
                    bounds.setdefault((family.name, *series), []).append(bound)
    of_families: dict[str, set[tuple[str, str]]] = {}
    for (name, *_), found in bounds.items():
        of_families.setdefault(name, set()).add((found[0], found[-2]))

    assert {name: tuple(*found) for name, found in of_families.items()} == {
        "flowrunner_execution_seconds": ("0.01", "3600.0"),
        "flowrunner_execution_queue_seconds": ("0.01", "3600.0"),
        "flowrunner_flow_execution_seconds": ("0.01", "3600.0"),
        "flowrunner_step_seconds": ("0.001", "300.0"),
        "flowrunner_http_request_seconds": ("0.001", "10.0"),
        "flowrunner_database_seconds": ("0.0005", "10.0"),
        "flowrunner_commit_size": ("1.0", "1000.0"),
    }
