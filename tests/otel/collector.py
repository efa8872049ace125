"""An OpenTelemetry collector in the tests' process: a real HTTP server that reads OTLP."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any, Final

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.http_servers import QuietHandler, serving

_KINDS: Final[dict[str, Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


class Collector:
    """What has arrived.

    Attributes:
        raw: The bytes of all requests, not compressed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.raw: list[bytes] = []
        self._requests: list[Any] = []

    def take(self, path: str, body: bytes) -> None:
        self.raw.append(body)
        self._requests.append(_KINDS[path].FromString(body))

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self._requests)
            if isinstance(request, ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[Any]:
        return [
            metric
            for request in list(self._requests)
            if isinstance(request, ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    @property
    def logs(self) -> list[Any]:
        return [
            record
            for request in list(self._requests)
            if isinstance(request, ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def services(self) -> set[str]:
        """The names that the processes give themselves."""
        return {
            value.value.string_value
            for request in list(self._requests)
            if isinstance(request, ExportTraceServiceRequest)
            for resource in request.resource_spans
            for value in resource.resource.attributes
            if value.key == "service.name"
        }

    def span(self, name: str, execution_id: str) -> Any:
        """The span of an execution with this name, which there is once; None if it has not arrived."""
        found = [
            s for s in self.spans if s.name == name and attributes(s).get("flowrunner.execution.id") == execution_id
        ]
        assert len(found) <= 1, f"{len(found)} spans {name}"
        return found[0] if found else None


def attributes(one: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in one.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens until the end of the context."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        collector = Collector(url)
        yield collector


@contextmanager
def exporting_to(url: str, **variables: str) -> Iterator[None]:
    """Environment of a server that exports there, soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "100")
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        for name, value in variables.items():
            patch.setenv(name, value)
        yield
