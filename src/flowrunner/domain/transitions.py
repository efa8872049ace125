"""Transitions of the state of an execution, one for each type of event."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from heapq import heappush
from typing import Final, assert_never

from flowrunner.domain.approvals import is_settled
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import (
    HANDLERS,
    LOG_TRUNCATED,
    ROOT,
    Admitted,
    Cancelled,
    Completed,
    Event,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState, budget_of
from flowrunner.domain.memory_use import (
    hold_early_signal,
    hold_end,
    hold_error,
    hold_failure,
    hold_input,
    hold_inputs,
    hold_payload,
    hold_result,
    hold_variables,
    hold_wait,
    release_early_signal,
    release_frame,
    release_scopes,
)
from flowrunner.domain.status import STEP_TRANSITIONS, StepStatus
from flowrunner.domain.step_state import Frame, ScopeProgress, StepState
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import parse_signal_key, signal_key


class IllegalEvent(FlowRunnerError):
    """An event that cannot follow the previous ones: always a bug."""


def replay(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """Return the state after a stored sequence of events."""
    state = ExecutionState()
    apply_all(state, events)
    return state


def apply_all(state: ExecutionState, events: Sequence[tuple[Event, datetime]]) -> None:
    """Change the state by the next events. Raises: IllegalEvent."""
    for event, at in events:
        apply(state, event, at)


def apply(state: ExecutionState, event: Event, at: datetime) -> None:
    """Change the state by the next event.

    Raises:
        IllegalEvent: If it cannot follow the previous ones.
    """
    if state.ending is not None:
        raise IllegalEvent(f"{event.type} after {state.ending.type}")
    if (state.seq == 0) != isinstance(event, Started):
        raise IllegalEvent(f"{event.type} as event {state.seq + 1}")
    match event:
        case Logged():
            state.log_counts[event.level] = state.log_counts.get(event.level, 0) + 1
            if event.node is None and event.message.startswith(LOG_TRUNCATED):
                state.is_log_truncated = True
        case NodeStarted():
            _start(state, event, at)
        case NodeCompleted():
            _complete(state, event)
        case NodeFailed():
            _fail(state, event)
        case NodeWaiting():
            _wait(state, event, at)
        case ScopesOpened():
            _open(state, event)
        case ScopeEnded():
            _end_scope(state, event)
        case SignalReceived():
            _receive(state, event)
        case Started():
            state.started_at, state.input, state.cause = at, event.input, event.cause
            state.is_queued, state.flow_name = event.is_queued, event.flow_name
            state.frames[ROOT] = Frame(ROOT, None, "", event.input, event.input)
            state.ready = {ROOT: None}
            hold_input(state, event.input)
            if event.config:
                state.config = event.config
                hold_input(state, dict(event.config))
        case InputEdited(input=input):
            state.edited[event.step] = input
            hold_input(state, input)
        case Admitted():
            if not state.is_queued:
                raise IllegalEvent("admitted, and not queued")
            state.started_at, state.is_queued = at, False
        case Completed() | Failed() | Cancelled():
            state.ending = event
            state.running, state.timed, state.ready = {}, {}, {}
        case _:
            assert_never(event)
    state.seq += 1


# Steps


def _start(state: ExecutionState, event: NodeStarted, at: datetime) -> None:
    step = Step(event.node, event.iteration, event.scope)
    frame = state.frames.get(event.scope)
    if frame is None:
        # Checked before the scope is entered: an illegal event must not change the state.
        if (event.iteration, event.attempt) != (1, 1):
            raise IllegalEvent(f"{step} out of order")
        frame = _enter(state, event.scope, at)
    before = frame.steps.get(event.node)
    if before is not None and before.step == step:
        if event.attempt != before.attempts + 1:
            raise IllegalEvent(f"attempt {event.attempt} of {step} after {before.attempts}")
        if event.interrupted and before.status in _RESUMABLE:
            _resume_again(state, before, at)
            return
        expected = StepStatus.RUNNING if event.interrupted else StepStatus.RETRYING
        if before.status is not expected:
            raise IllegalEvent(f"another attempt of {step}, which is {before.status}")
        before.attempts = event.attempt
        before.interruptions += event.interrupted
        before.status, before.due_at, before.attempted_at = StepStatus.RUNNING, None, at
        state.timed.pop(step, None)
    else:
        if event.iteration != (before.step.iteration if before else 0) + 1 or event.attempt != 1:
            raise IllegalEvent(f"{step} out of order")
        if event.scope not in state.ready:
            raise IllegalEvent(f"{step} while another step of its scope is running")
        if state.edited and step in state.edited:
            frame.flowing = state.edited.pop(step)
            if frame.cursor is None and frame.owner is not None:
                # The input of the first step of a loop's element is the element.
                frame.item = frame.flowing
        frame.steps[event.node] = StepState(
            step, event.node_type, StepStatus.RUNNING, at, frame.flowing, at, before=before
        )
        frame.cursor = event.node
    budget = budget_of(event.scope)
    state.started_attempts[budget] = state.started_attempts.get(budget, 0) + 1
    state.running[step] = None
    state.ready.pop(event.scope, None)


# Statuses that an interrupted step keeps: it resumes with the signal or the scopes that it has. Those kept for
# a rerun have no signal.
_RESUMABLE: Final = frozenset({StepStatus.WAITING, StepStatus.RESUMING, StepStatus.OPEN})


def _resume_again(state: ExecutionState, current: StepState, at: datetime) -> None:
    current.attempts += 1
    current.interruptions += 1
    current.attempted_at = at
    budget = budget_of(current.step.scope)
    state.started_attempts[budget] = state.started_attempts.get(budget, 0) + 1


def _complete(state: ExecutionState, event: NodeCompleted) -> None:
    status = StepStatus.SKIPPED if event.skipped else StepStatus.COMPLETED
    current = _current(state, event, status)
    current.status = status
    result = event.result if event.collected is None else current.collected(event.collected)
    current.action, current.result, current.is_last = event.action, result, event.is_last
    current.error = None
    current.collected_bytes = current.open.part_bytes if event.collected is not None and current.open else 0
    hold_result(state, current, event)
    state.frames[event.scope].flowing = result
    if event.vars:
        state.vars = {**state.vars, **event.vars}
        hold_variables(state, event.vars)
    _finish_step(state, current)


def _fail(state: ExecutionState, event: NodeFailed) -> None:
    status = StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING
    current = _current(state, event, status)
    current.status = status
    current.error = event.error
    current.failures += 1
    if event.retry_at is None and current.open is not None and current.open.fatal == event.error:
        current.failed_at = current.open.failed_at
    hold_error(state, current, event)
    if event.retry_at is None:
        state.frames[event.scope].error = event.error
        _finish_step(state, current)
    else:
        current.due_at = event.retry_at
        current.waiting, current.signal = None, None
        state.running.pop(current.step, None)
        state.ready.pop(event.scope, None)
        _expect(state, current)


def _finish_step(state: ExecutionState, current: StepState) -> None:
    """Clear the waits of an ended step, and mark its scope as ready."""
    release_scopes(state, current)
    current.due_at, current.waiting, current.signal, current.open = None, None, None, None
    current.before = None
    state.running.pop(current.step, None)
    state.timed.pop(current.step, None)
    state.ready[current.step.scope] = None


def _current(
    state: ExecutionState, event: NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened, to: StepStatus
) -> StepState:
    """Return the step of an event that changes its status to ``to``. Raises: IllegalEvent."""
    frame = state.frames.get(event.scope)
    current = frame.steps.get(event.node) if frame is not None else None
    if current is None or (current.step.iteration, current.attempts) != (event.iteration, event.attempt):
        raise IllegalEvent(f"{event.type} of {event.node}.{event.iteration}, which is not the current step")
    if to not in STEP_TRANSITIONS[current.status]:
        raise IllegalEvent(f"{event.type} of {current.step}, which is {current.status}")
    return current


# Waits and signals


def _wait(state: ExecutionState, event: NodeWaiting, at: datetime) -> None:
    current = _current(state, event, StepStatus.WAITING)
    current.status, current.due_at, current.waiting = StepStatus.WAITING, event.due_at, event
    current.answers, current.wait_seq, current.waits_since = (), state.seq + 1, at
    hold_wait(state, current, event)
    current.is_link_revoked, current.notices, current.noticed_at = False, 0, None
    state.running.pop(current.step, None)
    state.ready.pop(event.scope, None)
    if current.next_notice is not None:
        state.ready[event.scope] = None
    _expect(state, current)
    key = event.signal_key
    early = state.signals.get(key) if key is not None else None
    if early and key is not None:
        payload = early.pop(0)
        release_early_signal(state, payload)
        if not early:
            del state.signals[key]
        _signal(state, current, payload)


def _expect(state: ExecutionState, current: StepState) -> None:
    """Register a step that waits for its ``due_at`` or for a signal."""
    if current.step not in state.timed:
        state.last_timed += 1
        state.timed[current.step] = state.last_timed
    if current.due_at is not None:
        heappush(state.dues, (current.due_at, current.step))
    if current.waits_externally:
        state.external[current.step] = None
    key = None if current.waiting is None else current.waiting.signal_key
    if key is not None:
        heappush(state.awaited.setdefault(key, []), (state.timed[current.step], current.step))


def _receive(state: ExecutionState, event: SignalReceived) -> None:
    if event.request is not None:
        key, _, asked = event.request.partition(":")
        state.requests[key] = asked
    kind, name = parse_signal_key(event.key)
    if kind == "link":
        _revoke_link(state, name)
        return
    current = state.waiting_for(event.key)
    if current is None:
        state.signals.setdefault(event.key, []).append(event.payload)
        hold_early_signal(state, event.payload)
        return
    if (wait := current.approval) is not None:
        current.answers = (*current.answers, event)
        hold_payload(state, current, event.payload)
        if not is_settled(wait, [answer.payload for answer in current.answers]):
            return
    _signal(state, current, event.payload)


def _signal(state: ExecutionState, current: StepState, payload: JSON) -> None:
    current.status, current.signal, current.due_at = StepStatus.RESUMING, payload, None
    if not current.answers:
        hold_payload(state, current, payload)
    state.timed.pop(current.step)
    state.ready[current.step.scope] = None


def _revoke_link(state: ExecutionState, name: str) -> None:
    current = state.waiting_for(signal_key("approval", name))
    if current is not None and current.waiting is not None:
        current.is_link_revoked, current.due_at = True, current.waiting.due_at
        _expect(state, current)
        if current.status is StepStatus.WAITING:
            state.ready.pop(current.step.scope, None)


# Scopes


def _open(state: ExecutionState, event: ScopesOpened) -> None:
    current = _current(state, event, StepStatus.OPEN)
    if current.open is not None and not current.open.may_continue:
        raise IllegalEvent(f"{current.step} opens scopes while others are running")
    inputs = dict(zip(event.keys, event.inputs, strict=True))
    before, current.open = current.open, ScopeProgress(event, inputs, details=event.details)
    if before is not None:
        # It has got further since they were counted.
        current.interruptions = 0
        current.open.parts, current.open.part_bytes = before.parts, before.part_bytes
        if event.keeps_results:
            current.open.kept_results = {**before.kept_results, **before.results}
            current.open.kept_errors = {**before.kept_errors, **before.errors}
            if event.details is None:
                current.open.details = before.details
    hold_inputs(state, current, event, current.open, before)
    current.status = StepStatus.OPEN
    current.due_at = min((at for at in (event.not_before, event.until) if at is not None), default=None)
    state.running.pop(current.step, None)
    if current.due_at is not None:
        _expect(state, current)
    if event.not_before is None:
        state.ready[event.scope] = None
    else:
        state.ready.pop(event.scope, None)


def _enter(state: ExecutionState, scope: str, at: datetime) -> Frame:
    """Create the frame of a scope whose first node starts."""
    if scope in HANDLERS:
        ended = state.root.ended
        if ended is None:
            raise IllegalEvent(f"{scope} before the flow has ended")
        frame = Frame(scope, None, "", state.root.flowing, state.root.flowing, error=ended.error)
        state.ready.pop(ROOT, None)
    else:
        owner, key = _owner_of(state, scope)
        if owner.next_notice == scope:
            return _enter_notice(state, owner, key, at)
        scopes = owner.open
        # The number of running scopes is not checked: in a rerun, elements after the one that it starts at may have
        # run before.
        if scopes is None or key not in scopes.inputs:
            raise IllegalEvent(f"{scope} starts out of order")
        item = scopes.inputs.pop(key)
        scopes.active[key] = None
        owner.due_at = scopes.opened.until
        if owner.due_at is None:
            state.timed.pop(owner.step, None)
        else:
            _expect(state, owner)
        frame = Frame(scope, owner.step, key, item, item)
        _mark_ready(state, owner)
    state.frames[scope] = frame
    state.ready[scope] = None
    return frame


def _enter_notice(state: ExecutionState, owner: StepState, key: str, at: datetime) -> Frame:
    """Create the frame of the node that an approval notifies."""
    assert owner.waiting is not None, "checked by the caller"
    scope = owner.step.child_scope(key)
    owner.notices, owner.noticed_at, owner.notice = owner.notices + 1, at, scope
    # The next reminder counts from the end of this one.
    owner.due_at = owner.waiting.due_at
    _expect(state, owner)
    state.ready.pop(owner.step.scope, None)
    frame = state.frames[scope] = Frame(scope, owner.step, key, owner.input, owner.input)
    state.ready[scope] = None
    return frame


def _end_scope(state: ExecutionState, event: ScopeEnded) -> None:
    frame = state.frames.get(event.scope)
    if frame is None or frame.ended is not None:
        raise IllegalEvent(f"{event.scope} ends, but is not running")
    for inner in list(state.within(event.scope)):
        _leave(state, inner)
    if event.scope == ROOT or event.scope in HANDLERS:
        frame.ended = event
        if event.scope == ROOT:
            frame.error = event.error
            frame.flowing = event.result if event.outcome == "completed" else frame.flowing
        state.ready[ROOT] = None
        return
    owner, key = _owner_of(state, event.scope)
    if owner.notice == event.scope:
        _end_notice(state, owner)
        return
    assert owner.open is not None, "a scope runs only while its owner has it open"
    del owner.open.active[key]
    if event.outcome == "completed":
        # A loop that reads its run's result opens one scope at a time. Of many scopes, only the parts are kept.
        is_kept = event.part_bytes is None or len(owner.open.opened.keys) == 1
        owner.open.results[key] = frame.flowing if is_kept else None
        if event.part_bytes is not None:
            owner.open.parts[key] = event.result
            owner.open.part_bytes += event.part_bytes
        hold_end(state, owner.open, event, frame.current if is_kept else None)
    elif event.outcome == "failed" and event.error is not None:
        owner.open.errors[key] = event.error
        last = frame.current
        owner.open.failed_at = last if last is None or last.failed_at is None else last.failed_at
        hold_failure(state, owner.open, event.error, owner.open.failed_at)
    _mark_ready(state, owner)


def _end_notice(state: ExecutionState, owner: StepState) -> None:
    owner.notice = None
    wait = owner.approval
    if wait is None or wait.remind_seconds is None or owner.noticed_at is None or owner.waiting is None:
        return
    if owner.next_notice is not None:
        remind_at = owner.noticed_at + timedelta(seconds=wait.remind_seconds)
        deadline = owner.waiting.due_at
        owner.due_at = remind_at if deadline is None else min(remind_at, deadline)
        _expect(state, owner)


def _owner_of(state: ExecutionState, scope: str) -> tuple[StepState, str]:
    path, bracket, key = scope.rpartition("[")
    outer, _, name = path.rpartition("/")
    node, _, iteration = name.rpartition(".")
    frame = state.frames.get(outer)
    owner = frame.steps.get(node) if frame is not None else None
    if not bracket or owner is None or str(owner.step.iteration) != iteration:
        raise IllegalEvent(f"no step has a scope {scope}")
    return owner, key.removesuffix("]")


def _leave(state: ExecutionState, frame: Frame) -> None:
    """Stop all steps of a frame, and drop it unless it is the flow's own or a handler's."""
    for step in frame.steps.values():
        state.running.pop(step.step, None)
        state.timed.pop(step.step, None)
    state.ready.pop(frame.scope, None)
    if frame.owner is not None:
        release_frame(state, frame)
        del state.frames[frame.scope]


def _mark_ready(state: ExecutionState, owner: StepState) -> None:
    """Mark the owner's scope as ready if there is a decision to make about its open scopes."""
    scopes = owner.open
    assert scopes is not None, "the owner has open scopes"
    if scopes.may_start_more or scopes.may_continue or scopes.is_over_limit or scopes.fatal is not None:
        state.ready[owner.step.scope] = None
    else:
        state.ready.pop(owner.step.scope, None)
