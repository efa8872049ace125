"""The exporters of a process. The standard variables `OTEL_…` say where to, how often and how much.

Spans, metrics and log events wait in bounded queues for threads of their own. While the collector does not answer, what
does not fit into a queue is dropped, and nothing waits for it.
"""

import contextlib
import logging
import os
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import TraceFlags

from flowrunner import __version__
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.traces import read_traceparent
from flowrunner.otel.collectors import session_for
from flowrunner.otel.metrics import MetricThread
from flowrunner.otel.spans import ExecutionSpans
from flowrunner.ports.telemetry import TRACEPARENT

_CLOSE_SECONDS: Final = 3.0
_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_INTERVAL_SECONDS: Final = 60.0
_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}
_NOT_FIELDS: Final = frozenset({"event", "level", "timestamp", "exc_info"})


@dataclass(slots=True)
class Exporters:
    """The exporters that are switched on.

    Attributes:
        spans: Takes the events of executions; None if traces are off.
        metrics: Takes the metrics; None if they are off.
        metric_seconds: How often it wants them.
        propagates: Outgoing requests carry `traceparent`.
        servers: Host and port of each collector.
    """

    spans: ExecutionSpans | None
    metrics: MetricThread | None
    metric_seconds: float
    propagates: bool
    servers: frozenset[tuple[str, int]]
    _processor: BatchSpanProcessor | None
    _logs: LoggerProvider | None

    def log(self, event: Mapping[str, Any]) -> None:
        """Export an event of the log."""
        if self._logs is not None:
            # What cannot be exported is in the log anyway, and a log line about it would be exported, too.
            with contextlib.suppress(Exception):
                self._logs.get_logger("flowrunner", __version__).emit(_record(event))

    @property
    def has_logs(self) -> bool:
        return self._logs is not None

    def close(self) -> None:
        """Export what waits, for a limited time: the collector may be gone."""

        def shut_down() -> None:
            if self._processor is not None:
                self._processor.shutdown()  # type: ignore[no-untyped-call] # as published
            if self._logs is not None:
                self._logs.shutdown()

        # A daemon, so that the process can end meanwhile.
        closing, until = threading.Thread(target=shut_down, name="otel close", daemon=True), time.monotonic()
        until += _CLOSE_SECONDS
        closing.start()
        if self.metrics is not None:
            self.metrics.close(_CLOSE_SECONDS / 2)
        closing.join(max(0.0, until - time.monotonic()))


def open_exporters(environ: Mapping[str, str] = os.environ) -> Exporters:
    """Start the threads that export. They connect when there is something to export.

    Raises: FlowRunnerError.
    """
    _check(environ)
    # A full queue would otherwise log a line for each thing that it drops. The exporters log why it is full.
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
    resource = Resource.create({"service.version": __version__})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "flowrunner"}))
    processor = spans = metrics = logs = None
    if _is_on("TRACES", environ):
        processor = BatchSpanProcessor(OTLPSpanExporter(session=session_for("TRACES", environ)))
        # Reads `OTEL_TRACES_SAMPLER`.
        sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
        spans = ExecutionSpans(processor, sampler, resource)
    if _is_on("METRICS", environ):
        metrics = MetricThread(OTLPMetricExporter(session=session_for("METRICS", environ)), resource)
    if _is_on("LOGS", environ):
        logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(session=session_for("LOGS", environ))))
    # An empty variable means the same as none.
    propagators = (environ.get("OTEL_PROPAGATORS") or "tracecontext").split(",")
    return Exporters(
        spans=spans,
        metrics=metrics,
        metric_seconds=_interval(environ),
        propagates="tracecontext" in map(str.strip, propagators),
        servers=_servers(environ),
        _processor=processor,
        _logs=logs,
    )


def _check(environ: Mapping[str, str]) -> None:
    """Raise FlowRunnerError for values of the standard variables that would silently have no effect."""
    faults = []
    for signal in ("", "TRACES_", "METRICS_", "LOGS_"):
        name = f"OTEL_EXPORTER_OTLP_{signal}PROTOCOL"
        if environ.get(name, "http/protobuf") not in ("", "http/protobuf"):
            faults.append(f"{name}: must be http/protobuf")
        name = f"OTEL_{signal}EXPORTER"
        if signal and environ.get(name, "otlp") not in ("", "otlp", "none"):
            faults.append(f"{name}: must be otlp or none")
    if faults:
        raise FlowRunnerError("\n".join(faults))


def _is_on(signal: str, environ: Mapping[str, str]) -> bool:
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not is_off and environ.get(f"OTEL_{signal}_EXPORTER") != "none"


def _servers(environ: Mapping[str, str]) -> frozenset[tuple[str, int]]:
    """Return host and port of each collector."""
    names = ("", "TRACES_", "METRICS_", "LOGS_")
    urls = {environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT", "") for name in names} - {""} or {_DEFAULT_ENDPOINT}
    parts = map(urlsplit, urls)
    return frozenset((p.hostname, p.port or (443 if p.scheme == "https" else 80)) for p in parts if p.hostname)


def _interval(environ: Mapping[str, str]) -> float:
    """Return the seconds between two exports of metrics."""
    try:
        milliseconds = float(environ["OTEL_METRIC_EXPORT_INTERVAL"])
    except (KeyError, ValueError):
        return _INTERVAL_SECONDS
    return milliseconds / 1000 if milliseconds > 0 else _INTERVAL_SECONDS


def _record(event: Mapping[str, Any]) -> LogRecord:
    attributes: dict[str, Any] = {
        name: value if isinstance(value, str | int | float | bool) else str(value)
        for name, value in event.items()
        if name not in _NOT_FIELDS and value is not None
    }
    error = event.get("exc_info")
    if isinstance(error, BaseException):
        attributes["exception.type"] = type(error).__name__
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(error))
    level, now = str(event.get("level", "info")), time.time_ns()
    context = read_traceparent(TRACEPARENT.get())
    record: LogRecord = LogRecord(
        timestamp=now,
        observed_timestamp=now,
        trace_id=None if context is None else int(context.trace_id, 16),
        span_id=None if context is None else int(context.span_id, 16),
        trace_flags=None if context is None else TraceFlags(int(context.is_sampled)),
        severity_text=level.upper(),
        severity_number=_SEVERITIES.get(level, SeverityNumber.UNSPECIFIED),
        body=str(event["event"]),
        attributes=attributes,
    )
    return record
