"""Prometheus metrics of the process."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from flowrunner import __version__
from flowrunner.metrics.database import DatabaseMetrics
from flowrunner.metrics.requests import RequestMetrics

# Any client may ask, and the answer takes milliseconds.
_SHORTEST_SECONDS: Final = 0.2
_OPENMETRICS: Final = "application/openmetrics-text"


class MetricSource(Protocol):
    """A source of metrics that are made when somebody collects them."""

    def collect(self) -> Iterator[Metric]: ...


class Metrics:
    """The registry of all metrics, and the counters of rare events."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._writing = asyncio.Lock()
        # The last answers: when each was made, for OpenMetrics and for older clients.
        self._texts: dict[bool, tuple[float, bytes]] = {}
        self._refreshes: list[Callable[[], Awaitable[None]]] = []
        self.requests = RequestMetrics()
        self.add(self.requests)
        self.database = DatabaseMetrics()
        self.add(self.database)
        ProcessCollector(registry=self._registry)
        Gauge("flowrunner_build_info", "1, with the versions.", ["version", "python"], registry=self._registry).labels(
            __version__, platform.python_version()
        ).set(1)
        self._refused = self._counter(
            "flowrunner_requests_refused", "Requests rejected by a limit.", "limit", ["connections"]
        )
        self._failed_jobs = self._counter(
            "flowrunner_background_failures",
            "Failed runs of background jobs, by the name of the job.",
            # Not `job`, which is Prometheus' own label.
            "name",
        )
        self._callbacks = self._counter(
            "flowrunner_callback_attempts",
            "Attempts to deliver a message of a callback, by outcome.",
            "outcome",
            ["delivered", "failed"],
        )
        self._hooks = self._counter(
            "flowrunner_hook_requests",
            "Requests to webhook triggers, by outcome.",
            "outcome",
            ["started", "skipped", "repeated", "failed", "refused"],
        )
        self._due_times = self._counter(
            "flowrunner_due_times",
            "Due times of schedules, by outcome: started, failed, skipped or missed.",
            "outcome",
            ["started", "failed", "skipped", "missed"],
        )

    def _counter(self, name: str, help: str, label: str, values: Iterable[str] = ()) -> Counter:
        """Return a counter. Args: values: Values of its label that are shown from the start."""
        counter = Counter(name, help, [label], registry=self._registry)
        for value in values:
            # An increase is an increase only after a first value.
            counter.labels(value)
        return counter

    def add(self, source: MetricSource) -> None:
        """Add a source whose metrics are made when they are collected."""
        self._registry.register(source)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a gauge whose value is read when the metrics are collected."""
        Gauge(name, help, registry=self._registry).set_function(read)

    def before_collecting(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Add a function that reads what takes longer, shortly before the metrics are collected."""
        self._refreshes.append(refresh)

    async def refresh(self) -> None:
        """Read what takes longer."""
        await asyncio.gather(*(refresh() for refresh in self._refreshes))

    def collect(self) -> Sequence[Metric]:
        """Return the metrics as they are now."""
        return list(self._registry.collect())

    def refused(self, limit: str) -> None:
        self._refused.labels(limit).inc()

    def know_jobs(self, jobs: Iterable[str]) -> None:
        """Show these background jobs from now on: the first failure of one not shown before is no increase."""
        for job in jobs:
            self._failed_jobs.labels(job)

    def job_failed(self, job: str) -> None:
        self._failed_jobs.labels(job).inc()

    def callback_attempted(self, outcome: str) -> None:
        self._callbacks.labels(outcome).inc()

    def hook_requested(self, outcome: str) -> None:
        self._hooks.labels(outcome).inc()

    def due_time(self, outcome: str, count: int) -> None:
        if count:
            self._due_times.labels(outcome).inc(count)

    async def text(self, media_type: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type; for a moment after that, the same ones again.

        Args:
            media_type: That of OpenMetrics, if the client takes it.
        """
        is_open = media_type == _OPENMETRICS
        # One answer for all who ask meanwhile.
        async with self._writing:
            made_at, text = self._texts.get(is_open, (0.0, b""))
            if not text or time.monotonic() - made_at >= _SHORTEST_SECONDS:
                await self.refresh()
                # The numbers are read between two changes; writing them takes longer, and can be done meanwhile.
                text = await asyncio.to_thread(_write, _Collected(self.collect()), is_open=is_open)
                self._texts[is_open] = time.monotonic(), text
        return text, openmetrics.CONTENT_TYPE_LATEST if is_open else CONTENT_TYPE_PLAIN_0_0_4


class _Collected(Collector):
    """Metrics that are collected already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _write(metrics: _Collected, *, is_open: bool) -> bytes:
    encode: Callable[[Collector], bytes] = openmetrics.generate_latest if is_open else generate_latest
    return encode(metrics)
