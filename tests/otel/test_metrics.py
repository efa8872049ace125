"""Metrics of Prometheus in the form of OpenTelemetry."""

from typing import Any

from opentelemetry.sdk.resources import Resource
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from flowrunner.otel.metrics import converted


def test_each_kind_of_metric_keeps_its_values_with_the_time_that_they_are_of() -> None:
    counter = CounterMetricFamily("requests", "Requests.", labels=("route",))
    counter.add_metric(("/a",), 3, created=1.0)
    gauge = GaugeMetricFamily("ready", "1 while ready.", value=1)
    histogram = HistogramMetricFamily("seconds", "Durations.", labels=("route",))
    histogram.add_metric(("/a",), [("0.1", 2), ("1.0", 5), ("+Inf", 6)], 9.5)
    histogram.add_metric(("/b",), [("0.1", 0), ("1.0", 0), ("+Inf", 1)], 7.0)
    nothing = CounterMetricFamily("none", "Nothing was counted.", labels=("route",))

    data: Any = converted([counter, gauge, histogram, nothing], Resource({"a": "b"}), since=1, at=2)

    ((resource,),) = (data.resource_metrics,)
    assert resource.resource.attributes["a"] == "b"
    of_counter, of_gauge, of_histogram = resource.scope_metrics[0].metrics
    assert [metric.name for metric in (of_counter, of_gauge, of_histogram)] == ["requests", "ready", "seconds"]
    (point,) = of_counter.data.data_points
    assert (point.attributes, point.value, of_counter.data.is_monotonic) == ({"route": "/a"}, 3, True)
    assert [value.value for value in of_gauge.data.data_points] == [1]
    first, second = of_histogram.data.data_points
    assert (first.attributes, first.count, first.sum) == ({"route": "/a"}, 6, 9.5)
    assert (first.bucket_counts, first.explicit_bounds) == ([2, 3, 1], [0.1, 1.0])
    assert (second.attributes, second.count, second.bucket_counts) == ({"route": "/b"}, 1, [0, 0, 1])
    for each in (point, first, second, *of_gauge.data.data_points):
        assert (each.start_time_unix_nano, each.time_unix_nano) == (1, 2)
