"""Observation of executions, for metrics and traces."""

from collections.abc import Sequence
from typing import Protocol

from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.ports.journal import Recorded


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ObservedExecution:
    """The identity of an execution, for observers.

    Attributes:
        flow_name: The name of its flow when it started; empty if its first event could not be read.
    """

    execution_id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    flow_name: str = ""


class ExecutionObserver(Protocol):
    """An observer of the durable events of all executions of this process.

    It is called on the event loop for each append, so it must take microseconds and never raise.
    """

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None: ...


class Unobserved:
    """An observer that does nothing. Implements `ExecutionObserver`."""

    def observe(self, execution: ObservedExecution, records: Sequence[Recorded]) -> None:
        """Do nothing."""
