"""What the engine itself says in the log of an execution, and the levels of what others say."""

from flowrunner.domain.events import (
    LOG_LEVELS,
    Completed,
    Ending,
    Failed,
    Logged,
    LogLevel,
    NodeFailed,
    ScopeEnded,
    Started,
)
from flowrunner.domain.execution import StepState
from flowrunner.domain.values import JSON, rfc3339


def level_of(said: str) -> LogLevel:
    """The level of a line by anybody's node type or script: what is stored has to be read again."""
    return said if said in LOG_LEVELS else "info"


def line_of_start(started: Started) -> Logged:
    message = "Execution queued: too many of its flow are under way" if started.is_queued else "Execution started"
    return Logged(level="info", message=message, node=started.node, node_type=started.node_type)


def line_of_failure(event: NodeFailed) -> Logged:
    data: dict[str, JSON] = {"type": event.error.type, "attempt": event.attempt}
    if event.retry_at is not None:
        data["retry_at"] = rfc3339(event.retry_at)
    return Logged(
        level="error" if event.retry_at is None else "warn",
        message=event.error.message,
        node=event.node,
        node_type=event.node_type,
        data=data,
        scope=event.scope,
        iteration=event.iteration,
    )


def line_of_end(event: Ending | ScopeEnded, last: StepState | None) -> Logged:
    """How the flow itself has ended, at its step ``last``."""
    node = None if last is None else last.step.node
    node_type = None if last is None else last.node_type
    outcome = event.outcome if isinstance(event, ScopeEnded) else None
    if isinstance(event, Completed) or outcome == "completed":
        return Logged(level="info", message="Execution completed", node=node, node_type=node_type)
    if isinstance(event, Failed | ScopeEnded) and event.error is not None:
        message = f"Execution failed: {event.error.message}"
        return Logged(level="error", message=message, node=node, node_type=node_type)
    return Logged(level="warn", message="Execution cancelled", node=node, node_type=node_type)
