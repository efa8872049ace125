"""The decision on an execution's next actions, from its flow and its events alone.

The engine calls `decide` after every event, and after a restart with the stored events: recovery is not a separate
code path.
"""

from collections.abc import Container, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, assert_never

from flowrunner.domain.counted import counted
from flowrunner.domain.decisions import (
    Decision,
    Evaluate,
    Finish,
    Record,
    Resume,
    Start,
    Wait,
    complete,
    ending_of,
    failed,
)
from flowrunner.domain.events import (
    ON_FAILURE,
    ON_FINISH,
    ROOT,
    ErrorValue,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    Step,
)
from flowrunner.domain.execution import ExecutionState, budget_of
from flowrunner.domain.flow import DEFAULT_ACTION, Flow, Graph, Node
from flowrunner.domain.status import StepStatus
from flowrunner.domain.step_state import MAX_HELD_BYTES, Frame, ScopeProgress, StepState
from flowrunner.domain.values import JSON

# Crashes during one node before it fails: the node is probably the cause.
MAX_INTERRUPTIONS: Final = 20
# Bytes that a loop collects from one run of its nodes, and from all runs together.
MAX_PART_BYTES: Final = 1024 * 1024
MAX_COLLECTED_BYTES: Final = 64 * 1024 * 1024
# Bytes of an execution's result; a collected list may be longer.
_MAX_RESULT_BYTES: Final = 2 * 1024 * 1024
# The least step budget of a handler, even if the flow's own budget is smaller.
_LEAST_STEPS_OF_HANDLER: Final = 1000

_NONE: Final[Mapping[Step, int]] = {}


def decide(
    flow: Flow,
    state: ExecutionState,
    *,
    running: Container[Step],
    now: datetime,
    evaluating: Container[str] = (),
    cut_off: Mapping[Step, int] = _NONE,
    may_be_interrupted: bool = True,
) -> tuple[Decision, ...]:
    """Return the next actions; empty if all are under way, or the execution has ended.

    Args:
        running: Steps that this process is running. A step that is recorded as started and is not among them was
            interrupted by a crash.
        evaluating: Scopes whose value this process is evaluating.
        cut_off: The steps that were about to resume when this process loaded the execution: see `about_to_resume`.
        may_be_interrupted: Whether such steps are possible.
    """
    if state.ending is not None or state.seq == 0 or state.is_queued:
        return ()
    deadline = deadline_of(flow, state)
    if deadline is not None and now >= deadline:
        message = f"The execution did not end within {counted(flow.limits.timeout_seconds or 0, 'second')}"
        return (failed(flow, ErrorValue(type="timeout", message=message)),)
    # All at once: after a crash of ten thousand running steps, a decision about each would search all of them again.
    interrupted = [step for step in state.running if step not in running] if may_be_interrupted else ()
    if interrupted:
        return tuple([_after_interruption(flow, state, state.at(step)) for step in interrupted])
    due = state.next_due
    if due is not None and due.due_at is not None and now >= due.due_at:
        return _due(flow, state, due)
    for scope in state.ready:
        if scope in evaluating:
            continue
        decisions = _in_scope(flow, state, state.frames[scope], running, cut_off)
        if decisions:
            return decisions
    moments = [at for at in (state.due_at, deadline) if at is not None]
    return (Wait(min(moments)),) if moments else ()


def may_decide(flow: Flow, state: ExecutionState) -> bool:
    """Return whether `decide` may return something before the next event, other than about interrupted steps."""
    return bool(state.ready or state.timed) or flow.limits.timeout_seconds is not None


def about_to_resume(state: ExecutionState) -> Mapping[Step, int]:
    """Return the steps that a process resumes which loads the execution, each with its attempts so far.

    The process before may have ended because of them, while it resumed them.
    """
    found: dict[Step, int] = {}
    for scope in state.ready:
        current = state.frames[scope].current
        if current is not None and (
            current.status is StepStatus.RESUMING or (current.open is not None and current.open.may_continue)
        ):
            found[current.step] = current.attempts
    return found


def still_cut_off(found: Mapping[Step, int], before: Mapping[Step, int]) -> Mapping[Step, int]:
    """Return the steps of ``found`` that were about to resume in the same attempt at an earlier load, too."""
    return {step: attempts for step, attempts in found.items() if before.get(step) == attempts}


def graph_of(flow: Flow, state: ExecutionState, scope: str) -> Graph:
    """Return the graph of a scope."""
    if scope == ROOT:
        return flow
    frame = state.frames[scope]
    if frame.owner is not None and (wait := state.at(frame.owner).approval) is not None and wait.notify is not None:
        # The node that an approval notifies is one of the approval's own scope, and runs alone.
        return Graph(start=wait.notify, nodes=graph_of(flow, state, frame.owner.scope).nodes)
    if frame.owner is None:
        handler = flow.on_failure if scope == ON_FAILURE else flow.on_finish
        return Graph(start=handler or flow.start, nodes=flow.nodes)
    return node_of(flow, state, frame.owner).scope(frame.key)


def node_of(flow: Flow, state: ExecutionState, step: Step) -> Node:
    if step.scope == ROOT:
        return flow.nodes[step.node]
    return graph_of(flow, state, step.scope).nodes[step.node]


def deadline_of(flow: Flow, state: ExecutionState) -> datetime | None:
    """Return the moment at which the execution times out; None without a timeout, or once the flow has ended."""
    if flow.limits.timeout_seconds is None or state.started_at is None or state.is_queued:
        return None
    if state.root.ended is not None:
        return None
    return state.started_at + timedelta(seconds=flow.limits.timeout_seconds)


def fail_attempt(
    flow: Flow, state: ExecutionState, current: StepState, error: ErrorValue, *, now: datetime, draw: float
) -> NodeFailed:
    """Return the event for a failed attempt of a step, with the time of the next attempt if there is one.

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


def evaluated(flow: Flow, state: ExecutionState, ended: ScopeEnded) -> tuple[Record | Finish, ...]:
    """Return the decisions for the end of a scope whose value is known: the flow's outputs, or a loop's part."""
    if ended.scope != ROOT:
        return _collected(state, ended)
    if ended.error is not None:
        return (failed(flow, ended.error, state.root.current),)
    return (complete(flow, ended.result),)


def _collected(state: ExecutionState, ended: ScopeEnded) -> tuple[Record, ...]:
    step = state.frames[ended.scope].owner
    assert step is not None, "a scope of a loop has the loop's step as its owner"
    owner = state.at(step)
    if ended.part_bytes is None or owner.open is None:
        return (Record(ended),)
    if ended.part_bytes > MAX_PART_BYTES:
        size = f"'collect' has {ended.part_bytes} bytes for one round; the limit is {MAX_PART_BYTES}"
        error = ErrorValue(type="limit.collect", node=step.node, message=f"{size}. Collect only the part that you need")
        return (Record(ScopeEnded(scope=ended.scope, outcome="failed", error=error)),)
    if owner.open.part_bytes + ended.part_bytes > MAX_COLLECTED_BYTES:
        rounds = counted(len(owner.open.parts) + 1, "round")
        size = f"'collect' has more than {MAX_COLLECTED_BYTES} bytes for {rounds} together"
        message = f"{size}. Collect less of each round, or process the data within the loop"
        error = ErrorValue(type="limit.collect", node=step.node, message=message)
        return _fail_with_scopes(owner, error)
    return (Record(ended),)


def _after_flow(flow: Flow, state: ExecutionState, ended: ScopeEnded) -> tuple[Decision, ...]:
    """Return the decisions after the end of the flow: its handlers one by one, then the execution's own end."""
    for handler, scope, is_wanted in (
        (flow.on_failure, ON_FAILURE, ended.outcome == "failed"),
        (flow.on_finish, ON_FINISH, True),
    ):
        if handler is None or not is_wanted:
            continue
        frame = state.frames.get(scope)
        if frame is None:
            return (_start(flow.nodes[handler], scope),)
        if frame.ended is None:
            return ()
    return (Finish(ending_of(state, ended)),)


# Decisions within one scope.


def _in_scope(
    flow: Flow, state: ExecutionState, frame: Frame, running: Container[Step], cut_off: Mapping[Step, int]
) -> tuple[Decision, ...]:
    if frame.scope == ROOT and frame.ended is not None:
        return _after_flow(flow, state, frame.ended)
    current = frame.current
    if current is None:
        return (_enter(flow, state, frame.scope, graph_of(flow, state, frame.scope).start),)
    match current.status:
        case StepStatus.COMPLETED | StepStatus.SKIPPED:
            return (_after_success(flow, state, frame, current),)
        case StepStatus.FAILED:
            return (_after_failure(flow, state, frame, current),)
        case StepStatus.RESUMING:
            return () if current.step in running else (*_cancel_notice(current), _resume(flow, state, current, cut_off))
        case StepStatus.OPEN:
            return () if current.step in running else _with_open_scopes(flow, state, current, cut_off)
        case StepStatus.WAITING:
            return _notify(flow, state, current)
        case StepStatus.RUNNING | StepStatus.RETRYING:
            return ()
        case _:
            assert_never(current.status)


def _resume(flow: Flow, state: ExecutionState, current: StepState, cut_off: Mapping[Step, int]) -> Decision:
    if cut_off.get(current.step) != current.attempts:
        return Resume(current.step)
    node = node_of(flow, state, current.step)
    if not (node.repeatable or node.resumes_purely):
        # The process before may have resumed it, and no event shows that.
        return Record(_node_failed(current, _interrupted(node)))
    # Recorded as another attempt, so that a step that ends the process each time it resumes is given up.
    if current.interruptions < MAX_INTERRUPTIONS:
        return _next_attempt(current, interrupted=True)
    return Record(_node_failed(current, _crashed(current)))


def _with_open_scopes(
    flow: Flow, state: ExecutionState, current: StepState, cut_off: Mapping[Step, int]
) -> tuple[Decision, ...]:
    scopes = current.open
    assert scopes is not None, "an open step has scopes"
    if scopes.fatal is not None:
        return _fail_with_scopes(current, scopes.fatal)
    if scopes.is_over_limit:
        return _fail_with_scopes(current, _over_limit(node_of(flow, state, current.step), scopes))
    if scopes.may_continue:
        return (*_cancel_scopes(current), _resume(flow, state, current, cut_off))
    if not scopes.has_begun and scopes.opened.not_before is not None:
        return ()
    return _begin_scopes(flow, state, current)


def _over_limit(node: Node, scopes: ScopeProgress) -> ErrorValue:
    """Return the error of a step whose scopes have given more than is kept in memory."""
    most = f"take more than {MAX_HELD_BYTES // 1024**2} MiB of memory together"
    if scopes.opened.keeps_results:
        message = f"The answers and the results of tools {most}: let tools return less with 'output'"
        return ErrorValue(type=f"{node.type}.too_long", node=node.name, message=message)
    results = counted(len(scopes.results) + len(scopes.errors), "round or branch", "rounds or branches")
    advice = "Return only the part that you need from each, or collect it with 'collect'"
    return ErrorValue(type="limit.collect", node=node.name, message=f"The results of {results} {most}. {advice}")


def _begin_scopes(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    scopes = current.open
    assert scopes is not None, "an open step has scopes"
    free = scopes.opened.concurrency - len(scopes.active)
    node = node_of(flow, state, current.step)
    starts: list[Decision] = []
    for key in islice(scopes.inputs, free):
        first = scopes.first_node(key, node.scope(key))
        if _step_budget_exceeded(flow, state, current.step.scope, beyond=len(starts)):
            starts.append(_fail_over_budget(flow, state, current.step.scope, current))
            break
        starts.append(_start(first, current.step.child_scope(key)))
    return tuple(starts)


def _cancel_scopes(current: StepState) -> tuple[Record, ...]:
    active = current.open.active if current.open is not None else ()
    return tuple(Record(ScopeEnded(scope=current.step.child_scope(key), outcome="cancelled")) for key in active)


def _fail_with_scopes(current: StepState, error: ErrorValue) -> tuple[Record, ...]:
    return (*_cancel_scopes(current), Record(_node_failed(current, error)))


def _notify(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    """Return the start of the node that the approval of a step notifies, if that has to run now."""
    scope, wait = current.next_notice, current.approval
    if scope is None or wait is None or wait.notify is None:
        return ()
    node = graph_of(flow, state, current.step.scope).nodes[wait.notify]
    if _step_budget_exceeded(flow, state, current.step.scope):
        return (_fail_over_budget(flow, state, current.step.scope, current),)
    return (_start(node, scope),)


def _cancel_notice(current: StepState) -> tuple[Decision, ...]:
    return () if current.notice is None else (Record(ScopeEnded(scope=current.notice, outcome="cancelled")),)


def _enter(flow: Flow, state: ExecutionState, scope: str, name: str) -> Decision:
    frame = state.frames[scope]
    before = frame.steps.get(name)
    if _step_budget_exceeded(flow, state, scope):
        return _fail_over_budget(flow, state, scope, frame.current)
    node = graph_of(flow, state, scope).nodes[name]
    return _start(node, scope, iteration=before.step.iteration + 1 if before else 1)


def _start(node: Node, scope: str, *, iteration: int = 1) -> Start:
    return Start(NodeStarted(node=node.name, node_type=node.type, iteration=iteration, attempt=1, scope=scope))


def _step_budget_exceeded(flow: Flow, state: ExecutionState, scope: str, *, beyond: int = 0) -> bool:
    """Return whether the scope's budget of attempts is used up.

    Args:
        beyond: Attempts that are about to start and not recorded yet.
    """
    budget = budget_of(scope)
    return state.started_attempts.get(budget, 0) + beyond >= _most_steps(flow, budget)


def _most_steps(flow: Flow, budget: str) -> int:
    return flow.limits.max_steps if budget == ROOT else max(flow.limits.max_steps, _LEAST_STEPS_OF_HANDLER)


def _fail_over_budget(flow: Flow, state: ExecutionState, scope: str, at: StepState | None) -> Decision:
    budget = budget_of(scope)
    subject = "The execution" if budget == ROOT else f"The handler {budget}"
    message = (
        f"{subject} has started {counted(_most_steps(flow, budget), 'step')}, retries and those in loops included. "
        "Raise 'limits.max_steps' if it needs more, and see whether its edges form an endless loop"
    )
    error = ErrorValue(type="limit.steps", message=message, node=None if at is None else at.step.node)
    if budget == ROOT:
        return failed(flow, error, at)
    # Only this handler fails: the other one has a budget of its own.
    return Record(ScopeEnded(scope=budget, outcome="failed", error=error))


def _next_attempt(current: StepState, *, interrupted: bool) -> Decision:
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


def _after_interruption(flow: Flow, state: ExecutionState, current: StepState) -> Decision:
    """Return the decision for a step that a crash interrupted: another attempt, or its failure."""
    node = node_of(flow, state, current.step)
    if node.repeatable and current.interruptions < MAX_INTERRUPTIONS:
        return _next_attempt(current, interrupted=True)
    error = _crashed(current) if node.repeatable else _interrupted(node)
    return Record(_node_failed(current, error))


def _interrupted(node: Node) -> ErrorValue:
    return ErrorValue(
        type="interrupted",
        node=node.name,
        message="A crash interrupted this node, and it must not run twice (idempotent: false)",
    )


def _crashed(current: StepState) -> ErrorValue:
    message = f"The process died {MAX_INTERRUPTIONS + 1} times while this node ran"
    return ErrorValue(type="worker_crashed", node=current.step.node, message=message)


def _due(flow: Flow, state: ExecutionState, current: StepState) -> tuple[Decision, ...]:
    """Return the decisions for a step whose ``due_at`` has passed."""
    if current.status is StepStatus.RETRYING:
        if _step_budget_exceeded(flow, state, current.step.scope):
            return (_fail_over_budget(flow, state, current.step.scope, current),)
        return (_next_attempt(current, interrupted=False),)
    if current.open is not None:
        opened = current.open.opened
        is_over = opened.until is not None and opened.not_before is not None and opened.until <= opened.not_before
        if not current.open.has_begun and opened.not_before is not None and not is_over:
            return _begin_scopes(flow, state, current)
        return _fail_with_scopes(current, _overdue(current))
    waiting = current.waiting
    assert waiting is not None, "a step that is due and neither retries nor has scopes has waited"
    if current.due_at != waiting.due_at:
        return _notify(flow, state, current)
    ended = _node_completed(current, waiting.action, waiting.result)
    if waiting.fails_when_due:
        return (*_cancel_notice(current), Record(_node_failed(current, _overdue(current))))
    return (*_cancel_notice(current), Record(ended))


def _overdue(current: StepState) -> ErrorValue:
    return ErrorValue(type="timeout", node=current.step.node, message="The node did not end within its timeout")


def _after_success(flow: Flow, state: ExecutionState, frame: Frame, current: StepState) -> Decision:
    node = graph_of(flow, state, frame.scope).nodes[current.step.node]
    target = None
    if not current.is_last:
        target = node.target(current.action or DEFAULT_ACTION, skipped=current.status is StepStatus.SKIPPED)
    if target is not None:
        return _enter(flow, state, frame.scope, target)
    if frame.scope != ROOT:
        if frame.owner is not None and node_of(flow, state, frame.owner).collect is not None:
            return Evaluate(current.step)
        return Record(ScopeEnded(scope=frame.scope, outcome="completed"))
    # Declared outputs take precedence over the last node's result.
    if flow.outputs is not None and not current.is_last:
        return Evaluate(current.step)
    if current.collected_bytes > _MAX_RESULT_BYTES:
        message = (
            f"The list that '{node.name}' collected has {current.collected_bytes} bytes; the limit of an execution's"
            f" result is {_MAX_RESULT_BYTES}. Select the part to return in 'outputs'"
        )
        error = ErrorValue(type="node.result_too_large", node=node.name, message=message)
        return failed(flow, error, current)
    return complete(flow, current.result)


def _after_failure(flow: Flow, state: ExecutionState, frame: Frame, current: StepState) -> Decision:
    assert current.error is not None, "a failed step has its error"
    node = graph_of(flow, state, frame.scope).nodes[current.step.node]
    target = node.error_target(current.error.type)
    if target is not None:
        return _enter(flow, state, frame.scope, target)
    if frame.scope != ROOT:
        return Record(ScopeEnded(scope=frame.scope, outcome="failed", error=current.error))
    return failed(flow, current.error, current)


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


def _node_failed(current: StepState, error: ErrorValue, retry_at: datetime | None = None) -> NodeFailed:
    return NodeFailed(
        node=current.step.node,
        node_type=current.node_type,
        iteration=current.step.iteration,
        attempt=current.attempts,
        error=error,
        retry_at=retry_at,
        scope=current.step.scope,
    )
