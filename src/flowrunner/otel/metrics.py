"""The metrics of the process in the form of OpenTelemetry, exported by a thread."""

import queue
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import structlog
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    MetricExporter,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Metric as OtelMetric
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from flowrunner import __version__

logger = structlog.get_logger()

_SCOPE: Final = InstrumentationScope("flowrunner", __version__)
_CUMULATIVE: Final = AggregationTemporality.CUMULATIVE


class MetricThread:
    """A thread that converts and exports metrics, one set at a time: sets that come meanwhile are dropped."""

    def __init__(self, exporter: MetricExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource
        self._began = time.time_ns()
        self._sets: queue.Queue[Sequence[Metric] | None] = queue.Queue(maxsize=1)
        self._thread = threading.Thread(target=self._run, name="otel metrics", daemon=True)
        self._thread.start()

    def put(self, metrics: Sequence[Metric]) -> None:
        if self._sets.empty():
            self._sets.put_nowait(metrics)

    def close(self, seconds: float) -> None:
        """Export what is left, for a limited time."""
        try:
            self._sets.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        while (metrics := self._sets.get()) is not None:
            try:
                self._exporter.export(converted(metrics, self._resource, since=self._began, at=time.time_ns()))
            except Exception as error:
                # The next set may be exported.
                logger.error("telemetry.failed", exc_info=error)


def converted(metrics: Iterable[Metric], resource: Resource, *, since: int, at: int) -> MetricsData:
    """Return metrics of Prometheus in the form of OpenTelemetry. Args: since, at: Nanoseconds since 1970."""
    found = [OtelMetric(m.name, m.documentation, m.unit, _data(m, since, at)) for m in metrics if m.samples]
    scope = ScopeMetrics(scope=_SCOPE, metrics=found, schema_url="")
    return MetricsData([ResourceMetrics(resource=resource, scope_metrics=[scope], schema_url="")])


def _data(metric: Metric, since: int, at: int) -> Sum | Gauge | Histogram:
    if metric.type == "histogram":
        return Histogram(_histograms(metric.samples, since, at), _CUMULATIVE)
    points = [
        NumberDataPoint(dict(sample.labels), since, at, sample.value)
        for sample in metric.samples
        if not sample.name.endswith("_created")
    ]
    return Sum(points, _CUMULATIVE, True) if metric.type == "counter" else Gauge(points)


def _histograms(samples: Sequence[Sample], since: int, at: int) -> list[HistogramDataPoint]:
    """Return the histograms in the samples of one metric, which has cumulative buckets in the order of their bounds."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = _without_bound(sample.labels)
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    return [_point(dict(labels), found, sums.get(labels, 0.0), since, at) for labels, found in buckets.items()]


def _without_bound(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in labels.items() if name != "le")


def _point(
    labels: Mapping[str, Any], buckets: Sequence[tuple[float, float]], total: float, since: int, at: int
) -> HistogramDataPoint:
    counts = [int(count) for _, count in buckets]
    return HistogramDataPoint(
        attributes=labels,
        start_time_unix_nano=since,
        time_unix_nano=at,
        count=counts[-1],
        sum=total,
        bucket_counts=[count - before for before, count in zip([0, *counts], counts, strict=False)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # They are not known.
        min=float("inf"),
        max=float("-inf"),
    )
