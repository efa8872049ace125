"""Numbers of executions and steps, from their durable events."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, Metric

from flowrunner.domain.events import (
    Admitted,
    Cancelled,
    Completed,
    Failed,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Started,
)
from flowrunner.language.error_types import class_of_error
from flowrunner.metrics.flow_series import OTHER, FlowRanking
from flowrunner.metrics.histograms import EXECUTION_SECONDS, STEP_SECONDS, Histogram, histogram_family
from flowrunner.ports.journal import Recorded
from flowrunner.ports.telemetry import ObservedExecution

_EGRESS_REFUSED: Final = "egress.forbidden"
_STATUS: Final[Mapping[type, str]] = {Completed: "completed", Failed: "failed", Cancelled: "cancelled"}


class ExecutionMetrics:
    """Implements `ports.ExecutionObserver`.

    An event costs a few additions to dictionaries; metrics are made of them only when somebody collects them.

    Args:
        node_types: The installed node types. Steps of others, which older flows may have, are counted together.
        flows: The flows with numbers of their own.
        trace_id_of: Returns the trace of an execution, if there is one.
    """

    def __init__(
        self,
        node_types: Collection[str],
        flows: FlowRanking,
        *,
        trace_id_of: Callable[[ObservedExecution], str | None] | None = None,
    ) -> None:
        self._types = {name: name for name in node_types}
        self._steps = {name: Histogram(STEP_SECONDS) for name in (*node_types, OTHER)}
        self._flows = flows
        self._trace_id_of = trace_id_of
        self._started = 0
        self._ended: Counter[str] = Counter({"completed": 0, "failed": 0, "cancelled": 0})
        self._seconds: dict[tuple[str, ...], Histogram] = {
            (status,): Histogram(EXECUTION_SECONDS) for status in self._ended
        }
        self._queued: dict[tuple[str, ...], Histogram] = {
            (queue,): Histogram(EXECUTION_SECONDS) for queue in ("active", "concurrency")
        }
        self._failures: Counter[str] = Counter()
        self._attempts: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._errors: Counter[tuple[str, ...]] = Counter()
        self._egress_refused = 0
        self._handlers: Mapping[type, Callable[[ObservedExecution, Recorded, Any], None]] = {
            Started: self._start,
            Admitted: self._admit,
            NodeStarted: self._start_step,
            NodeCompleted: self._complete_step,
            NodeFailed: self._fail_step,
            Completed: self._end,
            Failed: self._end,
            Cancelled: self._end,
        }

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        handlers = self._handlers
        for recorded in records:
            event = recorded.event
            handler = handlers.get(type(event))
            if handler is not None and not recorded.is_kept:
                handler(execution, recorded, event)

    def _start(self, execution: ObservedExecution, recorded: Recorded, event: Started) -> None:
        self._started += 1

    def _admit(self, execution: ObservedExecution, recorded: Recorded, event: Admitted) -> None:
        if recorded.since is not None:
            self._queued["concurrency",].observe((recorded.at - recorded.since).total_seconds())

    def _start_step(self, execution: ObservedExecution, recorded: Recorded, event: NodeStarted) -> None:
        self._attempts[self._types.get(event.node_type, OTHER)] += 1
        if recorded.since is not None:
            self._queued["active",].observe((recorded.at - recorded.since).total_seconds())

    def _complete_step(self, execution: ObservedExecution, recorded: Recorded, event: NodeCompleted) -> None:
        since, trace_id_of = recorded.since, self._trace_id_of
        if since is not None:
            histogram = self._steps.get(event.node_type) or self._steps[OTHER]
            seconds = (recorded.at - since).total_seconds()
            histogram.observe(seconds, None if trace_id_of is None else trace_id_of(execution))

    def _fail_step(self, execution: ObservedExecution, recorded: Recorded, event: NodeFailed) -> None:
        type = self._types.get(event.node_type, OTHER)
        self._errors[type, class_of_error(event.error.type)] += 1
        if event.error.type == _EGRESS_REFUSED:
            self._egress_refused += 1
        if event.retry_at is not None:
            self._retries[type] += 1
        elif recorded.since is not None:
            self._steps[type].observe((recorded.at - recorded.since).total_seconds(), self._trace_of(execution))

    def _end(self, execution: ObservedExecution, recorded: Recorded, event: Completed | Failed | Cancelled) -> None:
        status = _STATUS[type(event)]
        series = self._flows.series_of(execution)
        self._ended[status] += 1
        series.ended[status] += 1
        if isinstance(event, Failed):
            self._failures[class_of_error(event.error.type)] += 1
        if recorded.since is not None:
            seconds, trace_id = (recorded.at - recorded.since).total_seconds(), self._trace_of(execution)
            self._seconds[status,].observe(seconds, trace_id)
            series.seconds.observe(seconds, trace_id)

    def _trace_of(self, execution: ObservedExecution) -> str | None:
        return None if self._trace_id_of is None else self._trace_id_of(execution)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("flowrunner_executions_started", "Executions accepted.", value=self._started)
        yield _counters("flowrunner_executions_ended", "Executions ended, by status.", ("status",), self._ended)
        yield _counters(
            "flowrunner_execution_failures", "Failed executions, by class of error.", ("error_type",), self._failures
        )
        yield histogram_family(
            "flowrunner_execution_seconds", "Durations of executions, by status.", ("status",), self._seconds
        )
        yield histogram_family(
            "flowrunner_execution_queue_seconds",
            "Waits of executions: for their first step, and for a concurrency slot.",
            ("queue",),
            self._queued,
        )
        yield from self._flows.collect()
        yield _counters(
            "flowrunner_steps_started", "Started attempts of steps, by node type.", ("node_type",), self._attempts
        )
        yield histogram_family(
            "flowrunner_step_seconds",
            "Durations of steps with all their attempts and waits, by node type.",
            ("node_type",),
            {(type,): histogram for type, histogram in self._steps.items() if histogram.has_values},
        )
        yield _counters(
            "flowrunner_step_retries", "Failed attempts that are retried, by node type.", ("node_type",), self._retries
        )
        yield _counters(
            "flowrunner_step_errors",
            "Failed attempts, by node type and class of error.",
            ("node_type", "error_type"),
            self._errors,
        )
        yield CounterMetricFamily(
            "flowrunner_egress_refused", "Connections of steps that were refused.", value=self._egress_refused
        )


def _counters(
    name: str, help: str, labels: Sequence[str], counts: Mapping[str, int] | Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    """Return the metric of counts by the values of their labels."""
    family = CounterMetricFamily(name, help, labels=labels)
    for values, count in counts.items():
        family.add_metric((values,) if isinstance(values, str) else values, count)
    return family
