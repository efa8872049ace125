"""The metrics of a running program: the values that are read when they are collected, and their readers."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from datetime import datetime
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from flowrunner.bootstrap.ownership import is_shared
from flowrunner.clock import SystemClock
from flowrunner.dispatch.processes.engine_processes import EngineProcesses, ProcessReport
from flowrunner.domain.errors import FlowRunnerError, Unavailable
from flowrunner.metrics import Metrics
from flowrunner.metrics.database import Gauges
from flowrunner.metrics.executions import ExecutionMetrics
from flowrunner.metrics.flow_series import FlowRanking, RunningFlows
from flowrunner.ports.dispatch import Advancing, OpenDispatcher
from flowrunner.ports.http import RequestTracer
from flowrunner.ports.secrets import SecretReader
from flowrunner.ports.system import Backlog, DatabaseInspector, RunningExecutions
from flowrunner.ports.telemetry import ExecutionObserver, Observers
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.settings import Settings
from flowrunner.storage.database import Database
from flowrunner.storage.system import SqlInspector
from flowrunner.tasks import alongside

if TYPE_CHECKING:
    # The packages need not be installed.
    from flowrunner.otel.export import Exporters as Exporters  # noqa: PLC0414 # for serving

logger = structlog.get_logger()

T = TypeVar("T")

# The database and Temporal are asked at most once in this time.
_BACKLOG_SECONDS: Final = 10.0
_LONGEST_WAIT_SECONDS: Final = 1.0
# Longer, because a lasting outage of Temporal is critical, and one answer that is late is none.
_LONGEST_WAIT_FOR_TEMPORAL_SECONDS: Final = 3.0
_KEYS: Final = ("master", "signing")


def open_exporters(settings: Settings) -> "Exporters | None":
    """Start the export to an OpenTelemetry collector, if it is switched on. Raises: FlowRunnerError."""
    if settings.otel == "off":
        return None
    try:
        # Never imported otherwise.
        from flowrunner.otel.export import open_exporters as start
    except ImportError as error:
        raise FlowRunnerError(
            f"The packages for OpenTelemetry are not installed ({error}). Install them in the clone that contains "
            "FlowRunner: .venv/bin/pip install --require-hashes --requirement requirements/otel.txt"
        ) from None
    return start()


@contextlib.asynccontextmanager
async def exporting_metrics(exporters: "Exporters | None", metrics: Metrics) -> AsyncIterator[None]:
    """Export the metrics periodically until the end of the context."""
    if exporters is None or exporters.metrics is None:
        yield
        return
    thread, seconds = exporters.metrics, exporters.metric_seconds

    async def export() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await metrics.refresh()
                thread.put(metrics.collect())
            except Exception as error:
                # The next ones may succeed.
                logger.error("telemetry.failed", exc_info=error)

    try:
        async with alongside(export(), name="otel metrics"):
            yield
    finally:
        thread.put(metrics.collect())


def request_tracer(exporters: "Exporters | None", vault: SecretReader) -> RequestTracer | None:
    """Return the tracer of outgoing requests, if traces are exported."""
    if exporters is None or exporters.spans is None:
        return None
    from flowrunner.otel.spans import RequestSpans

    return RequestSpans(exporters.spans, vault.redactor, propagates=exporters.propagates)


class StoredBacklog:
    """The backlog in the database, as last read; None before the first reading, and while it cannot be read.

    Waits are those at the time of the reading: what was due afterwards may have been started on time.

    Attributes:
        running: The running executions, in the same way. They have a time limit of their own, because a slow count of
            many must not hide the rest, which alerts read.
    """

    def __init__(self, inspector: DatabaseInspector, clock: SystemClock, *, most_flows: int = 0) -> None:
        self._inspector = inspector
        self._most_flows = most_flows
        self._clock = clock
        self._read_at = clock.now()
        self._asked_at = -_BACKLOG_SECONDS
        self.last: Backlog | None = None
        self.running: RunningExecutions | None = None

    async def refresh(self) -> None:
        """Read it again, unless it was read a moment ago."""
        now = time.monotonic()
        if now - self._asked_at < _BACKLOG_SECONDS:
            return
        self._asked_at = now
        found = await _read_in_time(self._inspector.backlog())
        if found is not None:
            self._read_at = self._clock.now()
        # Each at its end: others collect the metrics meanwhile.
        self.last = found
        running = None
        # A database that has just not answered is not asked again.
        if found is not None:
            running = await _read_in_time(self._inspector.running(most_flows=self._most_flows))
        self.running = running

    def seconds_since(self, began_at: datetime | None) -> float:
        """Return how long ago this was at the last reading; 0 if it was not yet, or for None."""
        return 0.0 if began_at is None else max(0.0, (self._read_at - began_at).total_seconds())


async def _read_in_time(reading: Awaitable[T]) -> T | None:
    """Return what is read; None if the database does not answer in time."""
    try:
        async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
            return await reading
    except (TimeoutError, Unavailable):
        return None


def observe_executions(
    metrics: Metrics, settings: Settings, node_types: Collection[str], exporters: "Exporters | None"
) -> ExecutionObserver:
    """Return the observer of executions: their numbers become metrics, and their ends spans."""
    ranking, spans = FlowRanking(_most_flows(settings)), None if exporters is None else exporters.spans
    if spans is None:
        numbers = ExecutionMetrics(node_types, ranking)
        metrics.add(numbers)
        return numbers
    numbers = ExecutionMetrics(node_types, ranking, trace_id_of=spans.trace_id_of)
    metrics.add(numbers)
    return Observers(numbers, spans)


def _most_flows(settings: Settings) -> int:
    # Without a token the metrics are public, so they name no flow.
    return 0 if settings.metrics_token is None else settings.metrics_flows or 0


def add_gauges(
    metrics: Metrics,
    *,
    dispatcher: OpenDispatcher,
    advancing: Advancing,
    database: Database,
    sandbox: JailedSandbox,
    processes: EngineProcesses | None,
    settings: Settings,
    clock: SystemClock,
) -> None:
    """Add the gauges of the parts of the program."""
    backlog = StoredBacklog(SqlInspector(database), clock, most_flows=_most_flows(settings))
    metrics.gauge("flowrunner_executions_active", "Executions in memory.", lambda: advancing.active)
    metrics.gauge(
        "flowrunner_executions_queued",
        "Executions that wait for an active slot; with Temporal: of all processes, or not yet started by a worker.",
        lambda: dispatcher.queued if dispatcher.is_queue_known else float("nan"),
    )

    _add_connections(metrics, database)
    metrics.add(
        Gauges(
            "flowrunner_script_workers",
            "Processes for JavaScript: the most and the busy ones; and requests that wait for one.",
            "state",
            lambda: _script_workers(settings, sandbox, processes),
        )
    )
    _add_data_dir(metrics, settings)
    _add_processes(metrics, processes)
    _add_backlog(metrics, backlog, dispatcher)
    metrics.before_collecting(backlog.refresh)
    if is_shared(settings):
        _add_temporal(metrics, dispatcher)


def add_readiness(metrics: Metrics, readiness: Callable[[], Awaitable[str | None]]) -> None:
    """Add the gauge of the readiness, which is checked when the metrics are collected.

    Args:
        readiness: Returns the reason why the program is not ready, or None.
    """
    is_ready = False

    async def check() -> None:
        nonlocal is_ready
        is_ready = await readiness() is None

    metrics.before_collecting(check)
    metrics.gauge("flowrunner_ready", "1 while /readyz answers 200.", lambda: is_ready)


def _add_connections(metrics: Metrics, database: Database) -> None:
    """Add the gauge of the connections to the database."""

    def connections() -> dict[str, float]:
        use = database.connections()
        return {"most": use.most, "open": use.open, "used": use.used, "waiting": use.waiting}

    metrics.add(
        Gauges(
            "flowrunner_database_connections",
            "Connections for reads: the most, the open and the used ones; and reads that wait for one.",
            "state",
            connections,
        )
    )


def _add_data_dir(metrics: Metrics, settings: Settings) -> None:
    """Add the gauges of the disk and the keys of the data directory."""
    data_dir = settings.data_dir
    if settings.database_url is None:
        # With PostgreSQL, only the keys are there, and a disk of some megabytes is enough for them.
        metrics.gauge(
            "flowrunner_disk_free_bytes", "Free space on the disk of the data directory.", lambda: _free(data_dir)
        )
    metrics.add(
        Gauges(
            "flowrunner_key_changed_timestamp_seconds",
            "Time at which the file of a key was written.",
            "kind",
            lambda: _key_times(data_dir),
        )
    )


def _script_workers(settings: Settings, sandbox: JailedSandbox, processes: EngineProcesses | None) -> dict[str, float]:
    reports = () if processes is None else processes.reports
    return {
        "most": settings.script_workers,
        "busy": sandbox.busy + sum(report.busy_scripts for report in reports),
        "waiting": sandbox.waiting + sum(report.waiting_scripts for report in reports),
    }


def _add_processes(metrics: Metrics, processes: EngineProcesses | None) -> None:
    """Add the gauges of the engine processes, which report every few seconds."""

    def count(read: Callable[[EngineProcesses], int]) -> Callable[[], int]:
        return lambda: 0 if processes is None else read(processes)

    metrics.gauge("flowrunner_engine_processes", "Engine processes that run.", count(attrgetter("running")))
    metrics.gauge(
        "flowrunner_engine_process_restarts",
        "Engine processes that were started again since the start of the server.",
        count(attrgetter("restarts")),
    )
    for name, help, read in (
        ("cpu_seconds", "Processor time of each engine process since its start.", attrgetter("cpu_seconds")),
        ("memory_bytes", "Memory of each engine process.", attrgetter("memory")),
    ):
        metrics.add(Gauges(f"flowrunner_engine_process_{name}", help, "process", partial(_by_process, processes, read)))


def _by_process(processes: EngineProcesses | None, read: Callable[[ProcessReport], float]) -> dict[str, float]:
    if processes is None:
        return {}
    return {str(number): read(report) for number, report in enumerate(processes.reports, start=1)}


def _add_backlog(metrics: Metrics, backlog: StoredBacklog, dispatcher: OpenDispatcher) -> None:
    """Add the gauges of the backlog in the database, which are left out while it does not answer."""

    def oldest() -> dict[str, float]:
        seconds = {"active": [dispatcher.oldest_queued_seconds] if dispatcher.is_queue_known else []}
        if (last := backlog.last) is not None:
            seconds["active"].append(backlog.seconds_since(last.waiting_for_slot_since))
            seconds["concurrency"] = [backlog.seconds_since(last.waiting_for_concurrency_since)]
        return {queue: max(known) for queue, known in seconds.items() if known}

    def late() -> float:
        return float("nan") if backlog.last is None else backlog.seconds_since(backlog.last.due_since)

    metrics.add(
        Gauges(
            "flowrunner_oldest_queued_seconds",
            "Longest wait so far of an execution that still waits, for an active slot or a concurrency slot.",
            "queue",
            oldest,
        )
    )
    metrics.add(RunningFlows(lambda: backlog.running))
    metrics.gauge("flowrunner_schedule_lag_seconds", "How late the next schedule is.", late)
    metrics.gauge(
        "flowrunner_paused",
        "1 while the installation starts no executions.",
        lambda: float("nan" if backlog.last is None else backlog.last.is_paused),
    )
    metrics.gauge(
        "flowrunner_callbacks_pending",
        "Messages of callbacks that wait to be delivered, up to 100,000.",
        lambda: float("nan") if backlog.last is None else backlog.last.callbacks,
    )
    metrics.add(
        Gauges(
            "flowrunner_background_last_run_timestamp_seconds",
            "End of the last run of each background job that one of all processes runs.",
            "name",
            lambda: {} if backlog.last is None else {j: at.timestamp() for j, at in backlog.last.job_runs.items()},
        )
    )


def _add_temporal(metrics: Metrics, dispatcher: OpenDispatcher) -> None:
    """Add the gauge of Temporal, which is asked when the metrics are collected."""
    is_reachable, asked_at = True, -_BACKLOG_SECONDS

    async def ask() -> None:
        nonlocal is_reachable, asked_at
        now = time.monotonic()
        if now - asked_at < _BACKLOG_SECONDS:
            return
        asked_at = now
        try:
            async with asyncio.timeout(_LONGEST_WAIT_FOR_TEMPORAL_SECONDS):
                is_reachable = await dispatcher.can_assign()
        except TimeoutError:
            is_reachable = False

    metrics.before_collecting(ask)
    metrics.gauge("flowrunner_temporal_reachable", "1 while Temporal answers.", lambda: is_reachable)


def _free(data_dir: Path) -> float:
    try:
        found = os.statvfs(data_dir)
    except OSError:
        return float("nan")
    return float(found.f_bavail * found.f_frsize)


def _key_times(data_dir: Path) -> dict[str, float]:
    times = {}
    for kind in _KEYS:
        with contextlib.suppress(OSError):
            times[kind] = (data_dir / "keys" / f"{kind}.key").stat().st_mtime
    return times
