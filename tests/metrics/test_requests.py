"""Numbers of requests: each has the labels of its route, its method and its status, and no two series are alike."""

from collections import Counter
from typing import Final

import pytest

from flowrunner.metrics.requests import RequestMetrics

COUNT: Final = "flowrunner_http_requests_total"
ROUTE: Final = "/api/v1/flows/{id}"


def shown(metrics: RequestMetrics) -> dict[tuple[str, str, str], float]:
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == COUNT
    }


@pytest.mark.parametrize(
    ("route", "method", "status", "labels"),
    [
        (ROUTE, "GET", 200, (ROUTE, "GET", "200")),
        (ROUTE, "WEBSOCKET", 101, (ROUTE, "WEBSOCKET", "101")),
        (None, "POST", 404, ("other", "POST", "404")),
        (ROUTE, "BREW", 418, (ROUTE, "other", "418")),
        # Flows choose the statuses of answers to webhooks.
        (ROUTE, "POST", 299, (ROUTE, "POST", "other")),
        (ROUTE, "POST", 599, (ROUTE, "POST", "other")),
        # The client went away before the answer.
        (ROUTE, "POST", None, (ROUTE, "POST", "none")),
    ],
)
def test_a_request_is_counted_by_its_labels(
    route: str | None, method: str, status: int | None, labels: tuple[str, str, str]
) -> None:
    metrics = RequestMetrics()

    metrics.count(route, method, status, 0.1)
    metrics.count(route, method, status, 0.1)

    assert shown(metrics) == {labels: 2}


def test_the_number_of_series_is_bounded_and_no_two_are_alike() -> None:
    metrics = RequestMetrics()
    for route in (None, ROUTE):
        for method in ("GET", "BREW", "PROPFIND"):
            for status in (None, 200, *range(600, 900)):
                metrics.count(route, method, status, 0.1)

    # Prometheus rejects all of an answer with a series that is there twice.
    series = Counter(
        (sample.name, *sample.labels.values()) for family in metrics.collect() for sample in family.samples
    )
    assert set(series.values()) == {1}
    assert len(shown(metrics)) == 2 * 2 * 3
