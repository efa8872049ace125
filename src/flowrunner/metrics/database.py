"""Numbers of the database connections of the process."""

from collections.abc import Callable, Iterator
from typing import Literal

from prometheus_client.core import GaugeMetricFamily, Metric

from flowrunner.metrics.histograms import SHORT_SECONDS, SIZES, Histogram, histogram_family


class DatabaseMetrics:
    """Sizes and durations of commits, and durations of reads by a connection of their own."""

    def __init__(self) -> None:
        self._sizes = Histogram(SIZES)
        self._seconds: dict[tuple[str, ...], Histogram] = {
            ("commit",): Histogram(SHORT_SECONDS),
            ("read",): Histogram(SHORT_SECONDS),
        }

    def committed(self, size: int) -> None:
        self._sizes.observe(size)

    def took(self, kind: Literal["commit", "read"], seconds: float) -> None:
        self._seconds[kind,].observe(seconds)

    def collect(self) -> Iterator[Metric]:
        yield histogram_family("flowrunner_commit_size", "Write operations in one commit.", (), {(): self._sizes})
        yield histogram_family(
            "flowrunner_database_seconds",
            "Durations of commits, and of reads that take a connection of their own, with the wait for it.",
            ("operation",),
            self._seconds,
        )


class Gauges:
    """A gauge with one label, whose values are read when the metrics are collected."""

    def __init__(self, name: str, help: str, label: str, values: Callable[[], dict[str, float]]) -> None:
        self._name, self._help, self._label, self._values = name, help, label, values

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=(self._label,))
        for value, number in self._values().items():
            family.add_metric((value,), number)
        yield family
