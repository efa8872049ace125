"""What an execution does next, from nothing but its flow and the events so far.

The engine asks after every event, and after a restart it asks the same question about what is
stored: recovery is no separate path.
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeAlias, assert_never

from flowrunner.domain.events import (
    ON_FAILURE,
    ON_FINISH,
    ROOT,
    Cancelled,
    Completed,
    Ending,
    Failed,
    Failure,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    Step,
)
from flowrunner.domain.execution import MAX_HELD_BYTES, ExecutionState, Frame, StepState, StepStatus, budget_of
from flowrunner.domain.flow import DEFAULT_ACTION, MAX_STEPS, Flow, Graph, Node
from flowrunner.domain.values import JSON

__all__ = [
    "MAX_STEPS",
    "Collect",
    "Decision",
    "EvaluateOutputs",
    "Finish",
    "Record",
    "Resume",
    "Start",
    "Wait",
    "cancelled",
    "collected",
    "complete",
    "deadline_of",
    "decide",
    "fail_attempt",
    "failed",
    "graph_of",
    "node_of",
]

# A node whose runs keep ending with the process is the likely cause of it.
MAX_INTERRUPTIONS: Final = 20
# What a loop collects of one run of its nodes, and of all of them, in bytes.
MAX_PART_BYTES: Final = 1024 * 1024
MAX_COLLECTED_BYTES: Final = 64 * 1024 * 1024
# What an execution can give; a list that was collected may be longer.
_MAX_RESULT_BYTES: Final = 2 * 1024 * 1024
# Each handler has at least so many steps, however few the flow itself may take.
_LEAST_STEPS_OF_HANDLER: Final = 1000


@dataclass(frozen=True, slots=True)
class Start:
    """Record ``event``, then run its step."""

    event: NodeStarted


@dataclass(frozen=True, slots=True)
class Resume:
    """Ask the step's node type what follows: what it waited for has come."""

    step: Step


@dataclass(frozen=True, slots=True)
class Record:
    """Record ``event`` and ask again. Whatever runs in a scope that ends is to stop."""

    event: NodeCompleted | NodeFailed | ScopeEnded


@dataclass(frozen=True, slots=True)
class EvaluateOutputs:
    """Work out the flow's outputs, and take what `concluded` makes of them for the next decision."""


@dataclass(frozen=True, slots=True)
class Collect:
    """Work out what a loop collects of a run of its nodes, and take what `collected` makes of it next."""

    scope: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    event: Ending


Decision: TypeAlias = Start | Resume | Record | EvaluateOutputs | Collect | Wait | Finish


def decide(
    flow: Flow, state: ExecutionState, *, running: Container[Step], now: datetime, may_be_cut_off: bool = True
) -> tuple[Decision, ...]:
    """What to do next; empty when all there is to do is being done, or the execution has ended.

    Args:
        running: Steps that this process is running at the moment. A step that is recorded as
            started and is not among them was cut off by a crash.
        may_be_cut_off: Whether there may be such steps.
    """
    if state.ending is not None or state.seq == 0 or state.is_queued:
        return ()
    deadline = deadline_of(flow, state)
    if deadline is not None and now >= deadline:
        message = f"The execution did not end within {flow.limits.timeout_seconds:g} seconds"
        return (failed(flow, state, Failure(type="timeout", message=message)),)
    for step in state.running if may_be_cut_off else ():
        if step not in running:
            return (_cut_off(flow, state, state.at(step)),)
    due = state.next_due
    if due is not None and due.due_at is not None and now >= due.due_at:
        return _due(flow, state, due)
    for scope in state.ready:
        decisions = _in_scope(flow, state, state.frames[scope], running)
        if decisions:
            return decisions
    moments = [at for at in (state.due_at, deadline) if at is not None]
    return (Wait(min(moments)),) if moments else ()


def graph_of(flow: Flow, state: ExecutionState, scope: str) -> Graph:
    """The nodes that a scope runs through."""
    if scope == ROOT:
        return flow
    frame = state.frames[scope]
    if frame.owner is None:
        handler = flow.on_failure if scope == ON_FAILURE else flow.on_finish
        return Graph(start=handler or flow.start, nodes=flow.nodes)
    return node_of(flow, state, frame.owner).scope(frame.key)


def node_of(flow: Flow, state: ExecutionState, step: Step) -> Node:
    if step.scope == ROOT:
        return flow.nodes[step.node]
    return graph_of(flow, state, step.scope).nodes[step.node]


def fail_attempt(
    flow: Flow, state: ExecutionState, current: StepState, error: Failure, *, now: datetime, draw: float
) -> NodeFailed:
    """The event for a failed try of a step under way, with its next try where one is due.

    Args:
        draw: A uniform sample from [0, 1) for the jitter.
    """
    policy = node_of(flow, state, current.step).retry
    retry_at = None
    if policy is not None and policy.covers(error.type):
        delay = policy.delay_after(
            current.failures + 1,
            draw=draw,
            elapsed=(now - current.started_at).total_seconds(),
            at_least=error.retry_after or 0.0,
        )
        retry_at = None if delay is None else now + timedelta(seconds=delay)
    return _node_failed(current, error, retry_at)


# How the flow itself ends: at once, or after its handlers.


def failed(flow: Flow, state: ExecutionState, error: Failure, at: StepState | None = None) -> Decision:
    """The flow fails, at the step ``at`` where there is one."""
    if flow.on_failure is not None or flow.on_finish is not None:
        return Record(ScopeEnded(scope=ROOT, outcome="failed", error=error))
    return Finish(_failure(state, error, at))


def cancelled(flow: Flow, state: ExecutionState, reason: str, *, force: bool = False) -> Decision | None:
    """Return what a cancellation leads to; None if the flow has ended before, and its handlers go on.

    Args:
        force: The execution ends at once: without its handlers, or in the middle of them.
    """
    ended = state.root.ended
    if ended is not None:
        return Finish(_ending(state, ended)) if force else None
    if flow.on_finish is not None and not state.is_queued and not force:
        return Record(ScopeEnded(scope=ROOT, outcome="cancelled", reason=reason))
    return Finish(Cancelled(reason=reason))


def complete(flow: Flow, result: JSON) -> Decision:
    """The flow has come to its end with ``result``."""
    if flow.on_finish is not None:
        return Record(ScopeEnded(scope=ROOT, outcome="completed", result=result))
    return Finish(Completed(result=result))


def collected(state: ExecutionState, ended: ScopeEnded) -> tuple[Decision, ...]:
    """Return what follows from the end of a run of a loop's nodes, with the part that is collected of it."""
    step = state.frames[ended.scope].owner
    assert step is not None, "what a loop holds has it as its owner"
    owner = state.at(step)
    if ended.part_bytes is None or owner.open is None:
        return (Record(ended),)
    if ended.part_bytes > MAX_PART_BYTES:
        size = f"What 'collect' gives for one run has {ended.part_bytes} bytes; {MAX_PART_BYTES} can be kept"
        error = Failure(type="limit.collect", node=step.node, message=f"{size}. Collect only the part that you need")
        return (Record(ScopeEnded(scope=ended.scope, outcome="failed", error=error)),)
    if owner.open.part_bytes + ended.part_bytes > MAX_COLLECTED_BYTES:
        size = f"What 'collect' gives for {len(owner.open.parts) + 1} runs together has more than {MAX_COLLECTED_BYTES}"
        message = f"{size} bytes. Collect less of each, or work on it in the loop"
        error = Failure(type="limit.collect", node=step.node, message=message)
        return (*_cancel_scopes(owner), Record(_node_failed(owner, error)))
    return (Record(ended),)


def _after_the_flow(flow: Flow, state: ExecutionState, ended: ScopeEnded) -> tuple[Decision, ...]:
    """Its handlers run one after the other; then the execution ends as the flow did."""
    for handler, scope, is_wanted in (
        (flow.on_failure, ON_FAILURE, ended.outcome == "failed"),
        (flow.on_finish, ON_FINISH, True),
    ):
        if handler is None or not is_wanted:
            continue
        frame = state.frames.get(scope)
        if frame is None:
            node = flow.nodes[handler]
            return (Start(NodeStarted(node=handler, node_type=node.type, iteration=1, attempt=1, scope=scope)),)
        if frame.ended is None:
            return ()
    return (Finish(_ending(state, ended)),)


def _ending(state: ExecutionState, ended: ScopeEnded) -> Ending:
    match ended.outcome:
        case "completed":
            return Completed(result=ended.result)
        case "cancelled":
            return Cancelled(reason=ended.reason or "")
        case "failed":
            assert ended.error is not None, "what failed has its error"
            return _failure(state, ended.error, state.root.current)
        case _:
            assert_never(ended.outcome)


def _failure(state: ExecutionState, error: Failure, at: StepState | None) -> Failed:
    if at is None:
        return Failed(error=error)
    at = at.failed_at or at
    return Failed(error=error, node_type=at.node_type, step=str(at.step), attempt=at.attempts, input=at.input)


# What happens in one scope.


def _in_scope(flow: Flow, state: ExecutionState, frame: Frame, running: Container[Step]) -> tuple[Decision, ...]:
    if frame.scope == ROOT and frame.ended is not None:
        return _after_the_flow(flow, state, frame.ended)
    current = frame.current
    if current is None:
        return (_enter(flow, state, frame.scope, graph_of(flow, state, frame.scope).start),)
    match current.status:
        case StepStatus.COMPLETED | StepStatus.SKIPPED:
            return (_after_success(flow, state, frame, current),)
        case StepStatus.FAILED:
            return (_after_failure(flow, state, frame, current),)
        case StepStatus.RESUMING:
            return () if current.step in running else (Resume(current.step),)
        case StepStatus.OPEN:
            return () if current.step in running else _with_open_scopes(flow, state, current)
        case StepStatus.RUNNING | StepStatus.RETRYING | StepStatus.WAITING:
            return ()
        case _:
            assert_never(current.status)


def _with_open_scopes(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    scopes = current.open
    assert scopes is not None, "an open step has scopes"
    if scopes.fatal is not None:
        return (*_cancel_scopes(current), Record(_node_failed(current, scopes.fatal)))
    if scopes.is_too_much:
        ended = len(scopes.results) + len(scopes.errors)
        size = f"What {ended} runs have given takes more than {MAX_HELD_BYTES // 1024**2} MiB of memory together"
        message = f"{size}. Have each give only the part that you need, or collect that with 'collect'"
        error = Failure(type="limit.collect", node=current.step.node, message=message)
        return (*_cancel_scopes(current), Record(_node_failed(current, error)))
    if scopes.is_enough:
        return (*_cancel_scopes(current), Resume(current.step))
    if not scopes.has_begun and scopes.opened.not_before is not None:
        return ()
    return _begin_scopes(flow, state, current)


def _begin_scopes(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    scopes = current.open
    assert scopes is not None, "an open step has scopes"
    room = scopes.opened.concurrency - len(scopes.active)
    node = node_of(flow, state, current.step)
    starts: list[Decision] = []
    for key in islice(scopes.inputs, room):
        graph = node.scope(key)
        first = graph.nodes[graph.start]
        if _step_budget_exceeded(flow, state, current.step.scope, beyond=len(starts)):
            starts.append(_too_many(flow, state, current.step.scope, current))
            break
        event = NodeStarted(
            node=first.name, node_type=first.type, iteration=1, attempt=1, scope=current.step.child_scopes(key)
        )
        starts.append(Start(event))
    return tuple(starts)


def _cancel_scopes(current: StepState) -> tuple[Decision, ...]:
    active = current.open.active if current.open is not None else ()
    return tuple(Record(ScopeEnded(scope=current.step.child_scopes(key), outcome="cancelled")) for key in active)


def _enter(flow: Flow, state: ExecutionState, scope: str, name: str) -> Decision:
    frame = state.frames[scope]
    before = frame.steps.get(name)
    if _step_budget_exceeded(flow, state, scope):
        return _too_many(flow, state, scope, frame.current)
    node = graph_of(flow, state, scope).nodes[name]
    iteration = before.step.iteration + 1 if before else 1
    return Start(NodeStarted(node=name, node_type=node.type, iteration=iteration, attempt=1, scope=scope))


def _step_budget_exceeded(flow: Flow, state: ExecutionState, scope: str, *, beyond: int = 0) -> bool:
    """Args: beyond: Steps that are about to begin besides the ones that are recorded."""
    budget = budget_of(scope)
    return state.started_tries[budget] + beyond >= _most_steps(flow, budget)


def _most_steps(flow: Flow, budget: str) -> int:
    return flow.limits.max_steps if budget == ROOT else max(flow.limits.max_steps, _LEAST_STEPS_OF_HANDLER)


def _too_many(flow: Flow, state: ExecutionState, scope: str, at: StepState | None) -> Decision:
    budget = budget_of(scope)
    what = "The execution" if budget == ROOT else f"The handler {budget}"
    message = (
        f"{what} has begun {_most_steps(flow, budget)} steps, tries counted: its edges seem to lead round for"
        " ever. Where so many are right, raise 'limits.max_steps'"
    )
    error = Failure(type="limit.steps", message=message, node=None if at is None else at.step.node)
    if budget == ROOT:
        return failed(flow, state, error, at)
    # The other handler still has its steps.
    return Record(ScopeEnded(scope=budget, outcome="failed", error=error))


def _try_again(current: StepState, *, interrupted: bool) -> Decision:
    return Start(
        NodeStarted(
            node=current.step.node,
            node_type=current.node_type,
            iteration=current.step.iteration,
            attempt=current.attempts + 1,
            interrupted=interrupted,
            scope=current.step.scope,
        )
    )


def _cut_off(flow: Flow, state: ExecutionState, current: StepState) -> Decision:
    """What becomes of a step that a crash cut off."""
    node = node_of(flow, state, current.step)
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
    return Record(_node_failed(current, error))


def _due(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    """What happens when the moment has come that a step waited for."""
    if current.status is StepStatus.RETRYING:
        if _step_budget_exceeded(flow, state, current.step.scope):
            return (_too_many(flow, state, current.step.scope, current),)
        return (_try_again(current, interrupted=False),)
    if current.open is not None:
        opened = current.open.opened
        is_over = opened.until is not None and opened.not_before is not None and opened.until <= opened.not_before
        if not current.open.has_begun and opened.not_before is not None and not is_over:
            return _begin_scopes(flow, state, current)
        return (*_cancel_scopes(current), Record(_node_failed(current, _overdue(current))))
    waiting = current.waiting
    assert waiting is not None, "a step that is due and neither retries nor has scopes has waited"
    if waiting.fail_at_deadline:
        return (Record(_node_failed(current, _overdue(current))),)
    return (Record(_node_completed(current, waiting.action, waiting.result)),)


def _overdue(current: StepState) -> Failure:
    return Failure(type="timeout", node=current.step.node, message="The node did not end in the time it has")


def _after_success(flow: Flow, state: ExecutionState, frame: Frame, current: StepState) -> Decision:
    node = graph_of(flow, state, frame.scope).nodes[current.step.node]
    target = None
    if not current.is_last:
        target = node.target(current.action or DEFAULT_ACTION, skipped=current.status is StepStatus.SKIPPED)
    if target is not None:
        return _enter(flow, state, frame.scope, target)
    if frame.scope != ROOT:
        if frame.owner is not None and node_of(flow, state, frame.owner).collect is not None:
            return Collect(frame.scope)
        return Record(ScopeEnded(scope=frame.scope, outcome="completed"))
    # What a flow gives expressly goes before what it gives by the way.
    if flow.outputs is not None and not current.is_last:
        return EvaluateOutputs()
    if current.collected_bytes > _MAX_RESULT_BYTES:
        message = (
            f"The list that '{node.name}' has collected has {current.collected_bytes} bytes; an execution can give"
            f" {_MAX_RESULT_BYTES}. Say in 'outputs' which part of it the flow gives"
        )
        return failed(flow, state, Failure(type="node.result_too_large", node=node.name, message=message), current)
    return complete(flow, current.result)


def _after_failure(flow: Flow, state: ExecutionState, frame: Frame, current: StepState) -> Decision:
    assert current.error is not None, "a failed step has its error"
    node = graph_of(flow, state, frame.scope).nodes[current.step.node]
    target = node.error_target(current.error.type)
    if target is not None:
        return _enter(flow, state, frame.scope, target)
    if frame.scope != ROOT:
        return Record(ScopeEnded(scope=frame.scope, outcome="failed", error=current.error))
    return failed(flow, state, current.error, current)


def deadline_of(flow: Flow, state: ExecutionState) -> datetime | None:
    """When the execution has had its time, if that is limited and it has not ended by then."""
    if flow.limits.timeout_seconds is None or state.started_at is None or state.is_queued:
        return None
    if state.root.ended is not None:
        return None
    return state.started_at + timedelta(seconds=flow.limits.timeout_seconds)


def _node_completed(current: StepState, action: str, result: JSON) -> NodeCompleted:
    return NodeCompleted(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        action=action,
        result=result,
        scope=current.step.scope,
    )


def _node_failed(current: StepState, error: Failure, retry_at: datetime | None = None) -> NodeFailed:
    return NodeFailed(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        error=error,
        retry_at=retry_at,
        scope=current.step.scope,
    )
