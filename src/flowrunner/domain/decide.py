"""What an execution does next, from nothing but its flow and the events so far.

The engine asks after every event, and after a restart it asks the same question about what is
stored: recovery is no separate path.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias, assert_never

from flowrunner.domain.execution import (
    Completed,
    Ending,
    ExecutionState,
    Failed,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    Step,
    StepState,
    StepStatus,
)
from flowrunner.domain.flow import DEFAULT_ACTION, RETURN_ACTION, Flow, Node

MAX_STEPS: Final = 10_000
# A node whose runs keep ending with the process is the likely cause of it.
MAX_INTERRUPTIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Start:
    """Record ``event``, then run its step."""

    event: NodeStarted


@dataclass(frozen=True, slots=True)
class Record:
    """Record ``event`` and ask again."""

    event: NodeCompleted | NodeFailed


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    event: Ending


Decision: TypeAlias = Start | Record | Wait | Finish


def decide(flow: Flow, state: ExecutionState, *, running: Container[Step], now: datetime) -> tuple[Decision, ...]:
    """What to do next; empty when all there is to do is being done, or the execution has ended.

    Args:
        running: Steps that this process is running at the moment. A step that is recorded as
            started and is not among them was cut off by a crash.
    """
    if state.ending is not None or state.seq == 0:
        return ()
    if state.cursor is None:
        return (_enter(flow, state, flow.start),)
    current = state.steps[state.cursor]
    match current.status:
        case StepStatus.RUNNING:
            return () if current.step in running else (_resume(flow, current),)
        case StepStatus.RETRYING:
            if current.due_at is not None and now < current.due_at:
                return (Wait(current.due_at),)
            if state.started_tries >= MAX_STEPS:
                return (_too_many(flow.nodes[current.step.node]),)
            return (_try_again(current, interrupted=False),)
        case StepStatus.WAITING:
            if current.due_at is not None and now < current.due_at:
                return (Wait(current.due_at),)
            return (Record(_timer_is_due(current)),)
        case StepStatus.COMPLETED:
            return (_after_success(flow, state, current),)
        case StepStatus.FAILED:
            return (_after_failure(flow, state, current),)
        case _:
            assert_never(current.status)


def failed_try(flow: Flow, current: StepState, error: Failure, *, now: datetime, draw: float) -> NodeFailed:
    """The event for a failed try of a running step, with its next try where one is due.

    Args:
        draw: A uniform sample from [0, 1) for the jitter.
    """
    policy = flow.nodes[current.step.node].retry
    retry_at = None
    if policy is not None and policy.covers(error.type):
        delay = policy.delay_after(
            current.failures + 1,
            draw=draw,
            elapsed=(now - current.started_at).total_seconds(),
            at_least=error.retry_after or 0.0,
        )
        retry_at = None if delay is None else now + timedelta(seconds=delay)
    return NodeFailed(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        error=error,
        retry_at=retry_at,
    )


def _enter(flow: Flow, state: ExecutionState, name: str) -> Decision:
    node = flow.nodes[name]
    if state.started_tries >= MAX_STEPS:
        return _too_many(node)
    before = state.steps.get(name)
    iteration = before.step.iteration + 1 if before else 1
    return Start(NodeStarted(node=name, node_type=node.type, iteration=iteration, attempt=1))


def _too_many(node: Node) -> Finish:
    message = f"The execution has begun {MAX_STEPS} steps, tries counted: its edges seem to lead round for ever"
    return Finish(Failed(error=Failure(type="limit.steps", node=node.name, message=message), node_type=node.type))


def _try_again(current: StepState, *, interrupted: bool) -> Start:
    return Start(
        NodeStarted(
            node=current.step.node,
            node_type=current.node_type,
            iteration=current.step.iteration,
            attempt=current.attempts + 1,
            interrupted=interrupted,
        )
    )


def _resume(flow: Flow, current: StepState) -> Decision:
    """What becomes of a step that a crash cut off."""
    node = flow.nodes[current.step.node]
    if node.repeatable and current.interruptions < MAX_INTERRUPTIONS:
        return _try_again(current, interrupted=True)
    if node.repeatable:
        error = Failure(
            type="worker_crashed",
            node=node.name,
            message=f"The process died {MAX_INTERRUPTIONS + 1} times while this node ran",
        )
    else:
        error = Failure(
            type="interrupted",
            node=node.name,
            message="A crash interrupted this node, and it must not run twice (idempotent: false)",
        )
    return Record(
        NodeFailed(
            node=node.name,
            node_type=node.type,
            iteration=current.step.iteration,
            attempt=current.attempts,
            error=error,
        )
    )


def _timer_is_due(current: StepState) -> NodeCompleted:
    return NodeCompleted(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        action=DEFAULT_ACTION,
        result=current.timer_result,
    )


def _after_success(flow: Flow, state: ExecutionState, current: StepState) -> Decision:
    action = current.action or DEFAULT_ACTION
    target = None if action == RETURN_ACTION else flow.nodes[current.step.node].next.get(action)
    if target is None:
        return Finish(Completed(result=current.result))
    return _enter(flow, state, target)


def _after_failure(flow: Flow, state: ExecutionState, current: StepState) -> Decision:
    assert current.error is not None, "a failed step has its error"
    node = flow.nodes[current.step.node]
    target = node.error_target(current.error.type)
    if target is None:
        return Finish(Failed(error=current.error, node_type=node.type))
    return _enter(flow, state, target)
