"""Spans of executions, steps and outgoing requests, made of the recorded events when each of them ends.

The identities are derived: see `domain.traces`. So a restart does not change the trace of an execution.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from flowrunner import __version__
from flowrunner.domain.causes import Chained, ChildOf, Rerun, StartCause
from flowrunner.domain.errors import RedactionLimit, Unavailable
from flowrunner.domain.events import Cancelled, Completed, Failed, NodeCompleted, NodeFailed, Step
from flowrunner.domain.traces import TraceContext, read_traceparent, span_id_of, trace_id_of
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.http import SentRequest
from flowrunner.ports.journal import Recorded
from flowrunner.ports.secrets import Redactor
from flowrunner.ports.telemetry import TRACEPARENT, ObservedExecution

logger = structlog.get_logger()

_SCOPE: Final = InstrumentationScope("flowrunner", __version__)
_HIDDEN: Final = "***"
_MOST_CHARACTERS: Final = 256
# Executions whose trace is kept in memory, because finding it costs several digests.
_MOST_KEPT: Final = 4096


class _Trace(NamedTuple):
    """The trace of an execution.

    Attributes:
        root: The span of the execution.
        parent: The span of what has started it, in the same trace; None if it begins the trace.
        link: The execution that has called it, or whose end has started it.
    """

    root: TraceContext
    parent: TraceContext | None
    link: TraceContext | None


class _Origin(NamedTuple):
    """The execution that has started another one, as its parent or by its end."""

    execution_id: ExecutionId
    is_parent: bool


class ExecutionSpans:
    """Implements `ports.ExecutionObserver` and `ports.Traces`.

    Args:
        processor: Takes the spans; it must return at once.
        sampler: Decides once for each trace.
    """

    def __init__(self, processor: SpanProcessor, sampler: Sampler, resource: Resource) -> None:
        self._processor = processor
        self._sampler = sampler
        self._resource = resource
        self._trace = lru_cache(_MOST_KEPT)(self._find_trace)

    def of_execution(self, execution: ObservedExecution) -> str:
        return str(self._trace_of(execution).root)

    def of_step(self, execution: ObservedExecution, step: Step) -> str:
        root = self._trace_of(execution).root
        return str(root._replace(span_id=span_id_of(execution.execution_id, step)))

    def trace_id_of(self, execution: ObservedExecution) -> str | None:
        """Return the trace of an execution if it is sampled."""
        root = self._trace_of(execution).root
        return root.trace_id if root.is_sampled else None

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        try:
            self._end_all(execution, records)
        except Exception as error:
            # A trace must not fail an execution.
            logger.error("telemetry.failed", execution_id=execution.execution_id, exc_info=error)

    def _end_all(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        for recorded in records:
            if recorded.since is None:
                continue
            match recorded.event:
                case NodeCompleted() | NodeFailed() as event:
                    self._end_step(execution, recorded, recorded.since, event)
                case Completed() | Failed() | Cancelled() as ending:
                    self._end(execution, recorded, recorded.since, ending)
                case _:
                    pass

    def _trace_of(self, execution: ObservedExecution) -> _Trace:
        return self._trace(execution.execution_id, execution.traceparent, _origin_of(execution.cause))

    def _find_trace(self, id: ExecutionId, traceparent: str, origin: _Origin | None) -> _Trace:
        given = read_traceparent(traceparent)
        # An execution that the end of another one has started begins a trace.
        parent = given if origin is None or origin.is_parent else None
        link = None if given is None or origin is None else given._replace(span_id=span_id_of(origin.execution_id))
        trace_id = trace_id_of(id) if parent is None else parent.trace_id
        context = None if parent is None else set_span_in_context(NonRecordingSpan(_remote(parent)))
        sampled = self._sampler.should_sample(context, int(trace_id, 16), "execution").decision
        root = TraceContext(trace_id, span_id_of(id), sampled is Decision.RECORD_AND_SAMPLE)
        return _Trace(root, parent, link)

    def _end_step(
        self, execution: ObservedExecution, recorded: Recorded, since: datetime, event: NodeCompleted | NodeFailed
    ) -> None:
        root = self._trace_of(execution).root
        if not root.is_sampled:
            return
        step = event.step
        own = root._replace(span_id=span_id_of(execution.execution_id, step))
        attributes = {
            **_of_execution(execution),
            "flowrunner.step": _short(str(step)),
            "flowrunner.node": event.node,
            "flowrunner.node.type": event.node_type,
            "flowrunner.attempt": event.attempt,
        }
        if isinstance(event, NodeCompleted):
            attributes["flowrunner.skipped"] = event.skipped
            self._emit(f"step {event.node}", own, root, since, recorded.at, attributes=attributes)
            return
        attributes["error.type"] = _short(event.error.type)
        if event.retry_at is None:
            self._emit(f"step {event.node}", own, root, since, recorded.at, attributes=attributes, has_failed=True)
        else:
            # The span of the step ends with its last attempt.
            attempt = own._replace(span_id=_random_span_id())
            self._emit(
                f"attempt {event.node}", attempt, own, since, recorded.at, attributes=attributes, has_failed=True
            )

    def _end(
        self, execution: ObservedExecution, recorded: Recorded, since: datetime, ending: Completed | Failed | Cancelled
    ) -> None:
        trace = self._trace_of(execution)
        if not trace.root.is_sampled:
            return
        attributes = {**_of_execution(execution), "flowrunner.status": ending.type.removeprefix("execution.")}
        if isinstance(execution.cause, Rerun):
            attributes["flowrunner.rerun_of"] = execution.cause.of
        if isinstance(ending, Failed):
            attributes["error.type"] = _short(ending.error.type)
        self._emit(
            _short(f"flow {execution.flow_name}".rstrip()),
            trace.root,
            trace.parent,
            since,
            recorded.at,
            attributes=attributes,
            links=() if trace.link is None else (Link(_remote(trace.link)),),
            has_failed=isinstance(ending, Failed),
        )

    def _emit(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext | None,
        began_at: datetime,
        ended_at: datetime,
        *,
        attributes: dict[str, Any],
        links: Sequence[Link] = (),
        kind: SpanKind = SpanKind.INTERNAL,
        has_failed: bool = False,
    ) -> None:
        self._processor.on_end(
            ReadableSpan(
                name=name,
                context=_context(context),
                parent=None if parent is None else _remote(parent),
                resource=self._resource,
                attributes=attributes,
                links=links,
                kind=kind,
                status=Status(StatusCode.ERROR if has_failed else StatusCode.UNSET),
                start_time=_nanoseconds(began_at),
                end_time=_nanoseconds(ended_at),
                instrumentation_scope=_SCOPE,
            )
        )

    def end_request(self, request: SentRequest, parent: TraceContext, context: TraceContext, host: str) -> None:
        """Emit the span of a request that a step has sent."""
        attributes: dict[str, Any] = {
            "http.request.method": request.method,
            "server.address": host,
            "server.port": request.port,
        }
        if request.status is not None:
            attributes["http.response.status_code"] = request.status
        if request.error_type is not None:
            attributes["error.type"] = request.error_type
        self._emit(
            request.method,
            context,
            parent,
            request.began_at,
            request.ended_at,
            attributes=attributes,
            kind=SpanKind.CLIENT,
            has_failed=request.error_type is not None or (request.status or 0) >= 400,
        )


class RequestSpans:
    """Spans of outgoing requests, and their `traceparent` headers. Implements `ports.RequestTracer`.

    Args:
        redactor_of: Returns the redactor of a workspace: the name of a host may contain a secret.
        propagates: The headers are sent.
    """

    def __init__(
        self, spans: ExecutionSpans, redactor_of: Callable[[WorkspaceId], Awaitable[Redactor]], *, propagates: bool
    ) -> None:
        self._spans = spans
        self._redactor_of = redactor_of
        self._propagates = propagates

    def begin(self, request: SentRequest) -> str | None:
        parent = read_traceparent(TRACEPARENT.get())
        if parent is None:
            return None
        request.context = parent._replace(span_id=_random_span_id())
        return str(request.context) if self._propagates else None

    async def end(self, request: SentRequest) -> None:
        parent = read_traceparent(TRACEPARENT.get())
        if parent is None or request.context is None or not parent.is_sampled:
            return
        try:
            host = str((await self._redactor_of(request.workspace_id)).redact(request.host))
        except (RedactionLimit, Unavailable):
            host = _HIDDEN
        self._spans.end_request(request, parent, request.context, host)


def _origin_of(cause: StartCause | None) -> _Origin | None:
    match cause:
        case ChildOf(execution_id=id):
            return _Origin(id, is_parent=True)
        case Chained(of=id):
            return _Origin(id, is_parent=False)
        case _:
            return None


def _of_execution(execution: ObservedExecution) -> dict[str, Any]:
    return {
        "flowrunner.execution.id": execution.execution_id,
        "flowrunner.workspace.id": execution.workspace_id,
        "flowrunner.flow.id": execution.flow_id,
        "flowrunner.flow.name": _short(execution.flow_name),
    }


def _short(text: str) -> str:
    """Return a text that a flow has chosen, of a bounded length."""
    return text[:_MOST_CHARACTERS]


def _context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote, flags)


def _remote(context: TraceContext) -> SpanContext:
    return _context(context, is_remote=True)


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND: Final = timedelta(microseconds=1)
_random: Final = RandomIdGenerator()


def _random_span_id() -> str:
    return f"{_random.generate_span_id():016x}"


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND * 1000
