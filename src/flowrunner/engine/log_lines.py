"""Log lines about an execution: those that the engine adds to its own log, and those in the server's log."""

from functools import lru_cache

import structlog

from flowrunner.domain.events import (
    Completed,
    Ending,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    Started,
)
from flowrunner.domain.log_levels import LOG_LEVELS, LogLevel
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON, milliseconds, rfc3339
from flowrunner.domain.waits import ApprovalWait
from flowrunner.engine.recorder import MOST_ENCODED, Storable, storable_again
from flowrunner.ports.journal import Recorded
from flowrunner.ports.telemetry import ObservedExecution

logger = structlog.get_logger()


def level_of(level: str) -> LogLevel:
    """Return a level from a node type or script if it is known, else ``info``: stored levels must be readable."""
    return level if level in LOG_LEVELS else "info"


@lru_cache(maxsize=MOST_ENCODED)
def _line_without_values(level: LogLevel, message: str, node: str | None, node_type: str | None) -> Storable:
    return storable_again(Logged(level=level, message=message, node=node, node_type=node_type))


def line_of_start(started: Started) -> Storable:
    message = "Execution queued: the concurrency limit is reached" if started.is_queued else "Execution started"
    return _line_without_values("info", message, started.node, started.node_type)


def line_of_interruption(event: NodeStarted) -> Logged:
    """Return the line about the attempt that another one repeats: nothing else says why there are two."""
    number = event.attempt - 1
    reason = "the process that ran it ended before its result was recorded"
    return Logged(
        level="warn",
        message=f"Attempt {number} was interrupted: {reason}. The step runs again",
        node=event.node,
        node_type=event.node_type,
        data={"type": "interrupted", "attempt": number},
        scope=event.scope,
        iteration=event.iteration,
        attempt=number,
    )


def line_of_failed_attempt(event: NodeFailed) -> Logged:
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
        attempt=event.attempt,
    )


def line_of_answer(current: StepState) -> Logged:
    """Return the line about the last answer to the approval of a step."""
    wait, answer = current.wait_for, current.answers[-1].payload
    assert isinstance(wait, ApprovalWait), "only these steps have answers"
    assert isinstance(answer, dict), "the server builds the answer"
    message = f"{'Approved' if answer['approved'] else 'Rejected'} by {answer['by']}"
    if wait.count is not None and answer["approved"]:
        message += f" ({len(current.answers)} of {wait.needed})"
    return Logged(
        level="info",
        message=message,
        node=current.step.node,
        node_type=current.node_type,
        data={"approved": answer["approved"], "by": answer["by"]},
        scope=current.step.scope,
        iteration=current.step.iteration,
        attempt=current.attempts,
    )


def line_of_end(event: Ending | ScopeEnded, last: StepState | None) -> Logged | Storable:
    """Return the line about the end of the flow at its step ``last``."""
    node = None if last is None else last.step.node
    node_type = None if last is None else last.node_type
    outcome = event.outcome if isinstance(event, ScopeEnded) else None
    if isinstance(event, Completed) or outcome == "completed":
        return _line_without_values("info", "Execution completed", node, node_type)
    if isinstance(event, Failed | ScopeEnded) and event.error is not None:
        message = f"Execution failed: {event.error.message}"
        return Logged(level="error", message=message, node=node, node_type=node_type)
    return _line_without_values("warn", "Execution cancelled", node, node_type)


# Lines about executions in the server's log: names, numbers and error types, never values of users.


def log_step(execution: ObservedExecution, event: NodeCompleted | NodeFailed, recorded: Recorded) -> None:
    """Log a step that has ended or will be retried, once that is durable."""
    if isinstance(event, NodeCompleted):
        state, error_type = StepStatus.SKIPPED if event.skipped else StepStatus.COMPLETED, None
    else:
        state, error_type = StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING, event.error.type
    logger.debug(
        "step.finished",
        execution_id=execution.execution_id,
        workspace_id=execution.workspace_id,
        step=str(event.step),
        node=event.node,
        type=event.node_type,
        attempt=event.attempt,
        duration_ms=_milliseconds(recorded),
        state=state.value,
        **({} if error_type is None else {"error_type": error_type}),
    )


def log_ended(execution: ObservedExecution, ending: Ending, recorded: Recorded) -> None:
    """Log an execution that has ended, once that is durable. The event has the name of its last event."""
    failure = {"node": ending.error.node, "error_type": ending.error.type} if isinstance(ending, Failed) else {}
    logger.info(
        ending.type,
        execution_id=execution.execution_id,
        workspace_id=execution.workspace_id,
        flow_id=execution.flow_id,
        duration_ms=_milliseconds(recorded),
        **failure,
    )


def _milliseconds(recorded: Recorded) -> int | None:
    return None if recorded.since is None else milliseconds(recorded.at - recorded.since)
