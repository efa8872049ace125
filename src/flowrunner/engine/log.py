"""The engine's own lines in the log of an execution, and the levels of other lines."""

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


def level_of(level: str) -> LogLevel:
    """Return a level from a node type or script if it is known, else ``info``: stored levels must be readable."""
    return level if level in LOG_LEVELS else "info"


def line_of_start(started: Started) -> Logged:
    message = "Execution queued: the concurrency limit is reached" if started.is_queued else "Execution started"
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
    """Return the line about the end of the flow at its step ``last``."""
    node = None if last is None else last.step.node
    node_type = None if last is None else last.node_type
    outcome = event.outcome if isinstance(event, ScopeEnded) else None
    if isinstance(event, Completed) or outcome == "completed":
        return Logged(level="info", message="Execution completed", node=node, node_type=node_type)
    if isinstance(event, Failed | ScopeEnded) and event.error is not None:
        message = f"Execution failed: {event.error.message}"
        return Logged(level="error", message=message, node=node, node_type=node_type)
    return Logged(level="warn", message="Execution cancelled", node=node, node_type=node_type)
