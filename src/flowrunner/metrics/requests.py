"""Numbers of HTTP requests by route and status."""

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric

from flowrunner.metrics.flow_series import OTHER
from flowrunner.metrics.histograms import REQUEST_SECONDS, Histogram, histogram_family

# Clients choose methods, and flows the statuses of answers to webhooks: the number of each is bounded.
_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET"})
_STATUSES: Final = {int(status): str(int(status)) for status in HTTPStatus}


class RequestMetrics:
    """The answered requests of this server, with the template of their route in place of the path."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str | None, str, int | None]] = Counter()
        self._seconds: dict[tuple[str | None, str], Histogram] = {}

    def count(self, route: str | None, method: str, status: int | None, seconds: float) -> None:
        """Count a request.

        Args:
            route: The template of its route; None if none serves it.
            status: The status of the answer; None if the client went away before.
        """
        if method not in _METHODS:
            method = OTHER
        if status is not None and status not in _STATUSES:
            status = 0
        self._counts[route, method, status] += 1
        histogram = self._seconds.get((route, method))
        if histogram is None:
            histogram = self._seconds[route, method] = Histogram(REQUEST_SECONDS)
        histogram.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "flowrunner_http_requests",
            "Requests, by the template of their route, method and status.",
            labels=("route", "method", "status"),
        )
        for (route, method, status), count in self._counts.items():
            shown = "none" if status is None else _STATUSES.get(status, OTHER)
            family.add_metric((route or OTHER, method, shown), count)
        yield family
        yield histogram_family(
            "flowrunner_http_request_seconds",
            "Durations of requests until the end of the answer, by the template of their route and method.",
            ("route", "method"),
            {(route or OTHER, method): histogram for (route, method), histogram in self._seconds.items()},
        )
