"""Numbers of executions by flow, for a bounded number of flows."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from flowrunner.domain.values import FlowId
from flowrunner.metrics.histograms import EXECUTION_SECONDS, Histogram
from flowrunner.ports.system import RunningExecutions
from flowrunner.ports.telemetry import ObservedExecution

OTHER: Final = "other"
_LABELS: Final = ("workspace", "flow_id", "flow")
# How often flows with few executions make room for those with more.
_RANKING_SECONDS: Final = 300.0
# Flows whose executions are counted for the next ranking, for each one that has series.
_CANDIDATES: Final = 10
_MOST_CHARACTERS: Final = 64


class FlowSeries:
    """The numbers of one flow, or of all flows that have none of their own."""

    def __init__(self, labels: tuple[str, str, str]) -> None:
        self.labels = labels
        self.ended: Counter[str] = Counter()
        self.seconds = Histogram(EXECUTION_SECONDS)


class FlowRanking:
    """The flows with the most executions, each with series of its own; the others share series named `other`.

    A flow takes a free place at once. Afterwards, every few minutes the flows with the most recent executions replace
    those with the fewest, whose series end.

    Args:
        most: The number of flows with series of their own. 0 names none.
        seconds: Returns the time, which tests set.
    """

    def __init__(self, most: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._series: dict[FlowId, FlowSeries] = {}
        self._others = FlowSeries((OTHER, OTHER, OTHER))
        # Executions since the last ranking.
        self._recent: dict[FlowId, int] = {}
        self._ranked_at = seconds()

    def series_of(self, execution: ObservedExecution) -> FlowSeries:
        """Return the series for an execution that has ended, and count it for the ranking."""
        if not self._most:
            return self._others
        flow_id = execution.flow_id
        self._count(flow_id)
        series = self._series.get(flow_id)
        if series is None:
            # The name is unknown if the events of the execution could not be read.
            if len(self._series) >= self._most or not execution.flow_name:
                return self._others
            labels = execution.workspace_id, flow_id, displayed(execution.flow_name)
            series = self._series[flow_id] = FlowSeries(labels)
        return series

    def _count(self, flow_id: FlowId) -> None:
        """Count an execution in bounded memory.

        Source: J. Misra, D. Gries, "Finding repeated elements", 1982: a flow that is frequent is never forgotten.
        """
        recent = self._recent
        if flow_id in recent or len(recent) < self._most * _CANDIDATES:
            recent[flow_id] = recent.get(flow_id, 0) + 1
        else:
            self._recent = {id: count - 1 for id, count in recent.items() if count > 1}

    def all(self) -> Iterator[FlowSeries]:
        """Yield all series, after a ranking if one is due."""
        if self._seconds() - self._ranked_at >= _RANKING_SECONDS:
            self._rank()
        yield from self._series.values()
        yield self._others

    def _rank(self) -> None:
        recent, self._recent, self._ranked_at = self._recent, {}, self._seconds()
        first = sorted(recent, key=recent.__getitem__, reverse=True)[: self._most]
        newcomers = sum(id not in self._series for id in first)
        idlest = sorted(self._series, key=lambda flow_id: recent.get(flow_id, 0))
        # The places that stay free are taken by the next executions.
        for id in idlest[: max(0, newcomers - (self._most - len(self._series)))]:
            del self._series[id]

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        ended = CounterMetricFamily(
            "flowrunner_flow_executions_ended", "Executions ended, by flow and status.", labels=(*_LABELS, "status")
        )
        seconds = HistogramMetricFamily(
            "flowrunner_flow_execution_seconds", "Durations of executions, by flow.", labels=_LABELS
        )
        for series in self.all():
            for status, count in series.ended.items():
                ended.add_metric((*series.labels, status), count)
            if series.ended:
                series.seconds.add_to(seconds, series.labels)
        yield ended
        yield seconds


class RunningFlows:
    """The running executions of the flows with the most of them, and those of all others together.

    Args:
        last: Returns what was last read; None if it is not known.
    """

    def __init__(self, last: Callable[[], RunningExecutions | None]) -> None:
        self._last = last

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "flowrunner_flow_executions_running",
            "Executions that run or wait for an active slot, by flow; up to 100,000 in all.",
            labels=_LABELS,
        )
        if (last := self._last()) is not None:
            for flow in last.flows:
                family.add_metric((flow.workspace_id, flow.id, displayed(flow.name)), flow.number)
            others = last.number - sum(flow.number for flow in last.flows)
            family.add_metric((OTHER, OTHER, OTHER), others)
        yield family


def displayed(name: str) -> str:
    """Return a name that people have chosen as the value of a label: short, and on one line."""
    cut = name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 1]}…"
    return "".join(character if character.isprintable() else "_" for character in cut)
