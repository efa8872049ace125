"""Histograms that cost little to fill: they become metrics only when somebody collects them."""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.samples import Exemplar

EXECUTION_SECONDS: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
STEP_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
SHORT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REQUEST_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class Histogram:
    """Counts of values by upper bound.

    One thread fills it; another one may read it meanwhile and then misses the last value.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        # The last value of each bucket that has a trace, by index.
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count a value.

        Args:
            trace_id: The trace in which it was measured, which is shown as an example of its bucket.
        """
        index = bisect_left(self._bounds, value)
        self._counts[index] += 1
        self._sum += value
        if trace_id is not None:
            self._exemplars[index] = Exemplar({"trace_id": trace_id}, value, time.time())

    @property
    def has_values(self) -> bool:
        return any(self._counts)

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        total, buckets = 0, []
        for index, count in enumerate(self._counts):
            total += count
            bound = "+Inf" if index == len(self._bounds) else str(self._bounds[index])
            exemplar = self._exemplars.get(index)
            buckets.append((bound, total) if exemplar is None else (bound, total, exemplar))
        family.add_metric(labels, buckets, self._sum)


def histogram_family(
    name: str, help: str, labels: Sequence[str], histograms: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    """Return the metric of histograms by the values of their labels."""
    family = HistogramMetricFamily(name, help, labels=labels)
    for values, histogram in histograms.items():
        histogram.add_to(family, values)
    return family
