"""Prometheus metrics of the process."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flowrunner.domain.events import Cancelled, Completed, Failed, NodeStarted, Started
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import Broadcast


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.commit_size = Histogram(
            "flowrunner_commit_size",
            "Write operations in one commit.",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=self._registry,
        )
        self._started = Counter("flowrunner_executions_started", "Executions accepted.", registry=self._registry)
        self._ended = Counter(
            "flowrunner_executions_ended", "Executions ended, by status.", ["status"], registry=self._registry
        )
        self._refused = Counter(
            "flowrunner_requests_refused", "Requests rejected by a limit.", ["limit"], registry=self._registry
        )
        self._failed_jobs = Counter(
            "flowrunner_background_failures",
            "Failed runs of background jobs, by job.",
            ["job"],
            registry=self._registry,
        )
        self._callbacks = Counter(
            "flowrunner_callback_attempts",
            "Attempts to deliver a message of a callback, by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        self._hooks = Counter(
            "flowrunner_hook_requests",
            "Requests to webhook triggers, by outcome.",
            ["outcome"],
            registry=self._registry,
        )
        self._due_times = Counter(
            "flowrunner_due_times",
            "Due times of schedules, by outcome: started, failed, skipped or missed.",
            ["outcome"],
            registry=self._registry,
        )
        self._steps = Counter("flowrunner_steps_started", "Started attempts of steps.", registry=self._registry)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a gauge whose value is read when the metrics are collected."""
        Gauge(name, help, registry=self._registry).set_function(read)

    def refused(self, limit: str) -> None:
        self._refused.labels(limit).inc()

    def job_failed(self, job: str) -> None:
        self._failed_jobs.labels(job).inc()

    def callback_attempted(self, outcome: str) -> None:
        self._callbacks.labels(outcome).inc()

    def hook_requested(self, outcome: str) -> None:
        self._hooks.labels(outcome).inc()

    def due_time(self, outcome: str, count: int) -> None:
        if count:
            self._due_times.labels(outcome).inc(count)

    def count(self, records: Sequence[Recorded]) -> None:
        for recorded in records:
            match recorded.event:
                case NodeStarted():
                    self._steps.inc()
                case Started():
                    self._started.inc()
                case Completed():
                    self._ended.labels("completed").inc()
                case Failed():
                    self._ended.labels("failed").inc()
                case Cancelled():
                    self._ended.labels("cancelled").inc()
                case _:
                    pass

    def text(self) -> bytes:
        return generate_latest(self._registry)


class CountingBroadcast:
    """Counts events and passes them on. Implements `ports.Broadcast`."""

    def __init__(self, inner: Broadcast, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        self._metrics.count(records)
        self._inner.publish(execution_id, records)

    def mark_stale(self, execution_id: ExecutionId) -> None:
        self._inner.mark_stale(execution_id)
