"""Decisions about an execution, and those that end its flow."""

from datetime import datetime
from typing import TypeAlias, assert_never

from flowrunner.domain.events import (
    ROOT,
    Cancelled,
    Completed,
    Ending,
    ErrorValue,
    Failed,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Flow
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON


@static_dataclass(frozen=True, slots=True)
class Start:
    """Record ``event``, then run the step."""

    event: NodeStarted


@static_dataclass(frozen=True, slots=True)
class Resume:
    """Call the step's node type with the signal, or with the scopes that have ended."""

    step: Step


@static_dataclass(frozen=True, slots=True)
class Record:
    """Record ``event`` and decide again. Steps that run in an ended scope are stopped."""

    event: NodeCompleted | NodeFailed | ScopeEnded


@static_dataclass(frozen=True, slots=True)
class Evaluate:
    """Evaluate the value of the scope that ends with ``step``, and continue with `evaluated`.

    It is the flow's outputs, or the part that a loop collects from a run of its nodes.
    """

    step: Step


@static_dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing before ``until``."""

    until: datetime


@static_dataclass(frozen=True, slots=True)
class Finish:
    event: Ending


# What the engine does at once.
Action: TypeAlias = Start | Resume | Record | Evaluate | Finish
Decision: TypeAlias = Action | Wait


# The end of the flow itself, followed by its handlers if it has any.


def failed(flow: Flow, error: ErrorValue, at: StepState | None = None) -> Record | Finish:
    """Return the decision that fails the flow, at the step ``at`` if there is one."""
    if flow.on_failure is not None or flow.on_finish is not None:
        return Record(ScopeEnded(scope=ROOT, outcome="failed", error=error))
    return Finish(_failure(error, at))


def cancelled(flow: Flow, state: ExecutionState, reason: str, *, force: bool = False) -> Record | Finish | None:
    """Return the decision for a cancellation; None if the flow has already ended and its handlers continue.

    Args:
        force: End the execution immediately, without its handlers or in the middle of them.
    """
    ended = state.root.ended
    if ended is not None:
        return Finish(ending_of(state, ended)) if force else None
    if flow.on_finish is not None and not state.is_queued and not force:
        return Record(ScopeEnded(scope=ROOT, outcome="cancelled", reason=reason))
    return Finish(Cancelled(reason=reason))


def complete(flow: Flow, result: JSON) -> Record | Finish:
    """Return the decision that completes the flow with ``result``."""
    if flow.on_finish is not None:
        return Record(ScopeEnded(scope=ROOT, outcome="completed", result=result))
    return Finish(Completed(result=result))


def ending_of(state: ExecutionState, ended: ScopeEnded) -> Ending:
    """Return the end of an execution after its flow has ended."""
    match ended.outcome:
        case "completed":
            return Completed(result=ended.result)
        case "cancelled":
            return Cancelled(reason=ended.reason or "")
        case "failed":
            assert ended.error is not None, "a failed scope has an error"
            return _failure(ended.error, state.root.current)
        case _:
            assert_never(ended.outcome)


def _failure(error: ErrorValue, at: StepState | None) -> Failed:
    if at is None:
        return Failed(error=error)
    at = at.failed_at or at
    return Failed(error=error, node_type=at.node_type, step=str(at.step), attempt=at.attempts, input=at.input)
