"""Observation of executions, for metrics and traces."""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final, Protocol

from flowrunner.domain.causes import StartCause
from flowrunner.domain.events import Step
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.journal import Recorded

# The trace context of the running task, as a `traceparent` header; empty without traces. A request sets that of its
# client, and an attempt of a step its own.
TRACEPARENT: Final[ContextVar[str]] = ContextVar("TRACEPARENT", default="")


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ObservedExecution:
    """The identity of an execution, for observers.

    Attributes:
        flow_name: The name of its flow when it started; empty if its first event could not be read.
        cause: What started it; None if its first event could not be read.
        traceparent: The recorded trace context of its start; empty without one.
    """

    execution_id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    flow_name: str = ""
    cause: StartCause | None = None
    traceparent: str = ""


class ExecutionObserver(Protocol):
    """An observer of the durable events of all executions of this process.

    It is called on the event loop for each append, so it must take microseconds and never raise.
    """

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None: ...


class Unobserved:
    """An observer that does nothing. Implements `ExecutionObserver`."""

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        """Do nothing."""


class Observers:
    """Several observers as one. Implements `ExecutionObserver`."""

    def __init__(self, *observers: ExecutionObserver) -> None:
        self._observers = observers

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        for observer in self._observers:
            observer.observe(execution, records)


class Traces(Protocol):
    """The traces of executions. They exist only if the process exports them."""

    def of_step(self, execution: ObservedExecution, step: Step) -> str:
        """Return the trace context of a step, as a `traceparent` header."""
        ...

    def of_execution(self, execution: ObservedExecution) -> str:
        """Return the trace context of an execution, as a `traceparent` header."""
        ...
