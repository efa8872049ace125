"""The state of an execution, derived from its events."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import assert_never

from flowrunner.domain.approvals import is_settled
from flowrunner.domain.causes import StartCause
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import (
    HANDLERS,
    ROOT,
    Admitted,
    Cancelled,
    Completed,
    Ending,
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
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.status import STEP_TRANSITIONS, Status, StepStatus
from flowrunner.domain.step_state import Frame, ScopeProgress, StepState
from flowrunner.domain.values import JSON, memory_of
from flowrunner.domain.waits import parse_signal_key, signal_key


class IllegalEvent(FlowRunnerError):
    """An event that cannot follow the previous ones: always a bug."""


@dataclass(slots=True)
class ExecutionState:
    """The state of one execution after its events; only `apply` changes it.

    Attributes:
        seq: Number of the last event.
        frames: The flow's own frame, and the frames of all open scopes, by scope.
        ready: Scopes with a decision to make, in the order they became ready.
        running: Steps with an attempt that is recorded as started but not as ended.
        timed: Steps that wait for their ``due_at`` or for a signal, each with a number that gives their order.
        last_timed: The last of these numbers.
        external: Steps that wait for somebody outside; some may have gone on.
        awaited: Heaps of the steps that wait for a signal, by its key; entries may be outdated.
        signals: Signals that no step has taken yet, by key.
        signal_bytes: Memory of those signals.
        held_bytes: Memory of the input, the variables, and the values of all steps that later ones can read.
        measured_bytes: Memory of all values that have been measured, which takes time.
        edited: Inputs that replace those of steps that have not started.
        requests: Digest of the request for each digest of an idempotency key that came with a signal.
        vars: Variables set by `set` nodes.
        var_bytes: Memory of each.
        dues: Heap of due moments of steps; entries may be outdated.
        started_attempts: Attempts started so far, by budget: `ROOT` for the flow itself, or the handler. This bounds
            loops.
        log_counts: Number of log events by level.
    """

    seq: int = 0
    started_at: datetime | None = None
    input: JSON = None
    cause: StartCause | None = None
    is_queued: bool = False
    flow_name: str = ""
    frames: dict[str, Frame] = field(default_factory=dict)
    ready: dict[str, None] = field(default_factory=dict)
    running: dict[Step, None] = field(default_factory=dict)
    timed: dict[Step, int] = field(default_factory=dict)
    last_timed: int = 0
    external: dict[Step, None] = field(default_factory=dict, compare=False)
    awaited: dict[str, list[tuple[int, Step]]] = field(default_factory=dict, compare=False)
    signals: dict[str, list[JSON]] = field(default_factory=dict)
    signal_bytes: int = 0
    held_bytes: int = 0
    measured_bytes: int = 0
    edited: dict[Step, JSON] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    vars: dict[str, JSON] = field(default_factory=dict)
    var_bytes: dict[str, int] = field(default_factory=dict)
    dues: list[tuple[datetime, Step]] = field(default_factory=list, compare=False)
    started_attempts: dict[str, int] = field(default_factory=dict)
    log_counts: dict[LogLevel, int] = field(default_factory=dict)
    ending: Ending | None = None

    @property
    def status(self) -> Status:
        match self.ending:
            case Completed():
                return Status.COMPLETED
            case Failed():
                return Status.FAILED
            case Cancelled():
                return Status.CANCELLED
            case None:
                return Status.WAITING if self.is_idle and self._waits_externally() else Status.RUNNING
            case _:
                assert_never(self.ending)

    def _waits_externally(self) -> bool:
        while self.external:
            step = next(iter(self.external))
            if step in self.timed and self.at(step).waits_externally:
                return True
            del self.external[step]
        return False

    @property
    def is_idle(self) -> bool:
        """Return whether the execution is idle until a moment in time or an event from outside."""
        if self.ending is not None:
            return False
        return self.is_queued or (bool(self.timed) and not self.running and not self.ready)

    @property
    def log_lines(self) -> int:
        """Return the number of log events, which is limited."""
        return sum(self.log_counts.values())

    @property
    def root(self) -> Frame:
        return self.frames[ROOT]

    @property
    def next_due(self) -> StepState | None:
        """Return the step that is due first; None if there is none."""
        while self.dues:
            due_at, step = self.dues[0]
            if step in self.timed and self.at(step).due_at == due_at:
                return self.at(step)
            heappop(self.dues)
        return None

    @property
    def due_at(self) -> datetime | None:
        """Return the moment at which the first step is due; None if there is none."""
        current = self.next_due
        return None if current is None else current.due_at

    def waiting_for(self, key: str) -> StepState | None:
        """Return the first step that waits for the signal with this key; None if none does."""
        entries = self.awaited.get(key)
        while entries:
            number, step = entries[0]
            if self.timed.get(step) == number:
                current = self.at(step)
                if current.waiting is not None and current.waiting.signal_key == key:
                    return current
            heappop(entries)
        self.awaited.pop(key, None)
        return None

    def at(self, step: Step) -> StepState:
        return self.frames[step.scope].steps[step.node]

    def visible(self, scope: str) -> Iterator[Frame]:
        """Yield the frames whose nodes are visible from a scope, the innermost first."""
        frame: Frame | None = self.frames[scope]
        while frame is not None:
            yield frame
            if frame.owner is not None:
                frame = self.frames[frame.owner.scope]
            else:
                frame = self.frames[ROOT] if frame.scope else None

    def within(self, scope: str) -> Iterator[Frame]:
        """Yield the frames of a scope and of all scopes inside it; the handlers are inside the flow."""
        if scope == ROOT:
            yield from self.frames.values()
            return
        frame = self.frames[scope]
        yield frame
        for current in frame.steps.values():
            for key in current.open.active if current.open is not None else ():
                yield from self.within(current.step.child_scope(key))
            if current.notice is not None:
                yield from self.within(current.notice)

    def apply(self, event: Event, at: datetime) -> None:
        """Apply the next event.

        Raises:
            IllegalEvent: If it cannot follow the previous ones.
        """
        if self.ending is not None:
            raise IllegalEvent(f"{event.type} after {self.ending.type}")
        if (self.seq == 0) != isinstance(event, Started):
            raise IllegalEvent(f"{event.type} as event {self.seq + 1}")
        match event:
            case Logged():
                self.log_counts[event.level] = self.log_counts.get(event.level, 0) + 1
            case NodeStarted():
                self._start(event, at)
            case NodeCompleted():
                self._complete(event)
            case NodeFailed():
                self._fail(event)
            case NodeWaiting():
                self._wait(event)
            case ScopesOpened():
                self._open(event)
            case ScopeEnded():
                self._end_scope(event)
            case SignalReceived():
                self._receive(event)
            case Started():
                self.started_at, self.input, self.cause = at, event.input, event.cause
                self.is_queued, self.flow_name = event.is_queued, event.flow_name
                self.frames[ROOT] = Frame(ROOT, None, "", event.input, event.input)
                self.ready = {ROOT: None}
                self.held_bytes = self._measure(event.input)
            case InputEdited(input=input):
                self.edited[event.step] = input
                self.held_bytes += self._measure(input)
            case Admitted():
                if not self.is_queued:
                    raise IllegalEvent("admitted, and not queued")
                self.started_at, self.is_queued = at, False
            case Completed() | Failed() | Cancelled():
                self.ending = event
                self.running, self.timed, self.ready = {}, {}, {}
            case _:
                assert_never(event)
        self.seq += 1

    def _start(self, event: NodeStarted, at: datetime) -> None:
        step = Step(event.node, event.iteration, event.scope)
        frame = self.frames.get(event.scope)
        if frame is None:
            # Checked before the scope is entered: an illegal event must not change the state.
            if (event.iteration, event.attempt) != (1, 1):
                raise IllegalEvent(f"{step} out of order")
            frame = self._enter(event.scope, at)
        before = frame.steps.get(event.node)
        if before is not None and before.step == step:
            if event.attempt != before.attempts + 1:
                raise IllegalEvent(f"attempt {event.attempt} of {step} after {before.attempts}")
            expected = StepStatus.RUNNING if event.interrupted else StepStatus.RETRYING
            if before.status is not expected:
                raise IllegalEvent(f"another attempt of {step}, which is {before.status}")
            before.attempts = event.attempt
            before.interruptions += event.interrupted
            before.status, before.due_at, before.attempted_at = StepStatus.RUNNING, None, at
            self.timed.pop(step, None)
        else:
            if event.iteration != (before.step.iteration if before else 0) + 1 or event.attempt != 1:
                raise IllegalEvent(f"{step} out of order")
            if event.scope not in self.ready:
                raise IllegalEvent(f"{step} while another step of its scope is running")
            if self.edited and step in self.edited:
                frame.flowing = self.edited.pop(step)
                if frame.cursor is None and frame.owner is not None:
                    # The input of the first step of a loop's element is the element.
                    frame.item = frame.flowing
            frame.steps[event.node] = StepState(
                step, event.node_type, StepStatus.RUNNING, at, frame.flowing, at, before=before
            )
            frame.cursor = event.node
        budget = budget_of(event.scope)
        self.started_attempts[budget] = self.started_attempts.get(budget, 0) + 1
        self.running[step] = None
        self.ready.pop(event.scope, None)

    def _enter(self, scope: str, at: datetime) -> Frame:
        """Create the frame of a scope whose first node starts."""
        if scope in HANDLERS:
            ended = self.root.ended
            if ended is None:
                raise IllegalEvent(f"{scope} before the flow has ended")
            frame = Frame(scope, None, "", self.root.flowing, self.root.flowing, error=ended.error)
            self.ready.pop(ROOT, None)
        else:
            owner, key = self._owner_of(scope)
            if owner.next_notice == scope:
                return self._enter_notice(owner, key, at)
            scopes = owner.open
            # The number of running scopes is not checked: in a rerun, elements after the one that it starts at may
            # have run before.
            if scopes is None or key not in scopes.inputs:
                raise IllegalEvent(f"{scope} starts out of order")
            item = scopes.inputs.pop(key)
            scopes.active[key] = None
            owner.due_at = scopes.opened.until
            if owner.due_at is None:
                self.timed.pop(owner.step, None)
            else:
                self._expect(owner)
            frame = Frame(scope, owner.step, key, item, item)
            self._mark_ready(owner)
        self.frames[scope] = frame
        self.ready[scope] = None
        return frame

    def _enter_notice(self, owner: StepState, key: str, at: datetime) -> Frame:
        """Create the frame of the node that an approval notifies."""
        assert owner.waiting is not None, "checked by the caller"
        scope = owner.step.child_scope(key)
        owner.notices, owner.noticed_at, owner.notice = owner.notices + 1, at, scope
        # The next reminder counts from the end of this one.
        owner.due_at = owner.waiting.due_at
        self._expect(owner)
        self.ready.pop(owner.step.scope, None)
        frame = self.frames[scope] = Frame(scope, owner.step, key, owner.input, owner.input)
        self.ready[scope] = None
        return frame

    def _end_notice(self, owner: StepState) -> None:
        owner.notice = None
        wait = owner.approval
        if wait is None or wait.remind_seconds is None or owner.noticed_at is None or owner.waiting is None:
            return
        if owner.next_notice is not None:
            remind_at = owner.noticed_at + timedelta(seconds=wait.remind_seconds)
            deadline = owner.waiting.due_at
            owner.due_at = remind_at if deadline is None else min(remind_at, deadline)
            self._expect(owner)

    def _owner_of(self, scope: str) -> tuple[StepState, str]:
        path, bracket, key = scope.rpartition("[")
        outer, _, name = path.rpartition("/")
        node, _, iteration = name.rpartition(".")
        frame = self.frames.get(outer)
        owner = frame.steps.get(node) if frame is not None else None
        if not bracket or owner is None or str(owner.step.iteration) != iteration:
            raise IllegalEvent(f"no step has a scope {scope}")
        return owner, key.removesuffix("]")

    def _complete(self, event: NodeCompleted) -> None:
        status = StepStatus.SKIPPED if event.skipped else StepStatus.COMPLETED
        current = self._current(event, status)
        current.status = status
        result = event.result if event.collected is None else current.collected(event.collected)
        current.action, current.result, current.is_last = event.action, result, event.is_last
        current.error = None
        current.collected_bytes = current.open.part_bytes if event.collected is not None and current.open else 0
        size = self._measure(event.result if event.collected is None else event.collected)
        if event.collected is not None and current.open is not None:
            size += current.open.held_part_bytes
        self._hold(current, size)
        self.frames[event.scope].flowing = result
        if event.vars:
            self._set(event.vars)
        self._finish_step(current)

    def _set(self, vars: Mapping[str, JSON]) -> None:
        self.vars = {**self.vars, **vars}
        for name, value in vars.items():
            size = self._measure(value)
            self.held_bytes += size - self.var_bytes.get(name, 0)
            self.var_bytes[name] = size

    def _fail(self, event: NodeFailed) -> None:
        status = StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING
        current = self._current(event, status)
        current.status = status
        current.error = event.error
        current.failures += 1
        size = self._measure(event.error.data)
        if event.retry_at is None and current.open is not None and current.open.fatal == event.error:
            current.failed_at = current.open.failed_at
            size += current.open.failed_bytes
        self._hold(current, size)
        if event.retry_at is None:
            self.frames[event.scope].error = event.error
            self._finish_step(current)
        else:
            current.due_at = event.retry_at
            current.waiting, current.signal = None, None
            self.running.pop(current.step, None)
            self.ready.pop(event.scope, None)
            self._expect(current)

    def _expect(self, current: StepState) -> None:
        """Register a step that waits for its ``due_at`` or for a signal."""
        if current.step not in self.timed:
            self.last_timed += 1
            self.timed[current.step] = self.last_timed
        if current.due_at is not None:
            heappush(self.dues, (current.due_at, current.step))
        if current.waits_externally:
            self.external[current.step] = None
        key = None if current.waiting is None else current.waiting.signal_key
        if key is not None:
            heappush(self.awaited.setdefault(key, []), (self.timed[current.step], current.step))

    def _finish_step(self, current: StepState) -> None:
        """Clear the waits of an ended step, and mark its scope as ready."""
        self.held_bytes -= current.all_held_bytes - current.held_bytes
        current.due_at, current.waiting, current.signal, current.open = None, None, None, None
        current.before = None
        self.running.pop(current.step, None)
        self.timed.pop(current.step, None)
        self.ready[current.step.scope] = None

    def _wait(self, event: NodeWaiting) -> None:
        current = self._current(event, StepStatus.WAITING)
        current.status, current.due_at, current.waiting = StepStatus.WAITING, event.due_at, event
        current.answers, current.wait_seq = (), self.seq + 1
        details = event.wait_for.describe()
        self._hold(current, self._measure(event.result) + self._measure(details))
        current.is_link_revoked, current.notices, current.noticed_at = False, 0, None
        self.running.pop(current.step, None)
        self.ready.pop(event.scope, None)
        if current.next_notice is not None:
            self.ready[event.scope] = None
        self._expect(current)
        key = event.signal_key
        early = self.signals.get(key) if key is not None else None
        if early and key is not None:
            payload = early.pop(0)
            self.signal_bytes -= memory_of(payload)
            if not early:
                del self.signals[key]
            self._signal(current, payload)

    def _receive(self, event: SignalReceived) -> None:
        if event.request is not None:
            key, _, asked = event.request.partition(":")
            self.requests[key] = asked
        kind, name = parse_signal_key(event.key)
        if kind == "link":
            self._revoke_link(name)
            return
        current = self.waiting_for(event.key)
        if current is None:
            self.signals.setdefault(event.key, []).append(event.payload)
            self.signal_bytes += memory_of(event.payload)
            return
        if (wait := current.approval) is not None:
            current.answers = (*current.answers, event)
            self._hold(current, current.held_bytes + self._measure(event.payload))
            if not is_settled(wait, [answer.payload for answer in current.answers]):
                return
        self._signal(current, event.payload)

    def _revoke_link(self, name: str) -> None:
        current = self.waiting_for(signal_key("approval", name))
        if current is not None and current.waiting is not None:
            current.is_link_revoked, current.due_at = True, current.waiting.due_at
            self._expect(current)
            if current.status is StepStatus.WAITING:
                self.ready.pop(current.step.scope, None)

    def _signal(self, current: StepState, payload: JSON) -> None:
        current.status, current.signal, current.due_at = StepStatus.RESUMING, payload, None
        if not current.answers:
            self._hold(current, current.held_bytes + self._measure(payload))
        self.timed.pop(current.step)
        self.ready[current.step.scope] = None

    def _open(self, event: ScopesOpened) -> None:
        current = self._current(event, StepStatus.OPEN)
        if current.open is not None and not current.open.may_continue:
            raise IllegalEvent(f"{current.step} opens scopes while others are running")
        inputs = dict(zip(event.keys, event.inputs, strict=True))
        before, current.open = current.open, ScopeProgress(event, inputs)
        if before is not None:
            current.open.parts, current.open.part_bytes = before.parts, before.part_bytes
            current.open.held_part_bytes = before.held_part_bytes
            self.held_bytes -= before.held_bytes + before.failed_bytes
        self._hold(current, self._measure(event.inputs))
        current.status = StepStatus.OPEN
        current.due_at = min((at for at in (event.not_before, event.until) if at is not None), default=None)
        self.running.pop(current.step, None)
        if current.due_at is not None:
            self._expect(current)
        if event.not_before is None:
            self.ready[event.scope] = None
        else:
            self.ready.pop(event.scope, None)

    def _end_scope(self, event: ScopeEnded) -> None:
        frame = self.frames.get(event.scope)
        if frame is None or frame.ended is not None:
            raise IllegalEvent(f"{event.scope} ends, but is not running")
        for inner in list(self.within(event.scope)):
            self._leave(inner)
        if event.scope == ROOT or event.scope in HANDLERS:
            frame.ended = event
            if event.scope == ROOT:
                frame.error = event.error
                frame.flowing = event.result if event.outcome == "completed" else frame.flowing
            self.ready[ROOT] = None
            return
        owner, key = self._owner_of(event.scope)
        if owner.notice == event.scope:
            self._end_notice(owner)
            return
        assert owner.open is not None, "a scope runs only while its owner has it open"
        del owner.open.active[key]
        if event.outcome == "completed":
            # A loop that reads its run's result opens one scope at a time. Of many scopes, only the parts are kept.
            is_kept = event.part_bytes is None or len(owner.open.opened.keys) == 1
            owner.open.results[key] = frame.flowing if is_kept else None
            last = frame.current
            self._keep(owner.open, last.held_bytes if is_kept and last is not None else 0)
            if event.part_bytes is not None:
                owner.open.parts[key] = event.result
                owner.open.part_bytes += event.part_bytes
                size = self._measure(event.result)
                owner.open.held_part_bytes += size
                self.held_bytes += size
        elif event.outcome == "failed" and event.error is not None:
            owner.open.errors[key] = event.error
            self._keep(owner.open, self._measure(event.error.data))
            at = frame.current
            at = at if at is None or at.failed_at is None else at.failed_at
            size = 0 if at is None else self._measure(at.input)
            self.held_bytes += size - owner.open.failed_bytes
            owner.open.failed_at, owner.open.failed_bytes = at, size
        self._mark_ready(owner)

    def _measure(self, value: JSON) -> int:
        size = memory_of(value)
        self.measured_bytes += size
        return size

    def _hold(self, current: StepState, size: int) -> None:
        """Count the values of a step's last event in place of those of the one before."""
        self.held_bytes += size - current.held_bytes
        current.held_bytes = size

    def _keep(self, scopes: ScopeProgress, size: int) -> None:
        scopes.held_bytes += size
        self.held_bytes += size

    def _leave(self, frame: Frame) -> None:
        """Stop all steps of a frame, and drop it unless it is the flow's own or a handler's."""
        for step in frame.steps.values():
            self.running.pop(step.step, None)
            self.timed.pop(step.step, None)
        self.ready.pop(frame.scope, None)
        if frame.owner is not None:
            self.held_bytes -= sum(step.all_held_bytes for step in frame.steps.values())
            del self.frames[frame.scope]

    def _mark_ready(self, owner: StepState) -> None:
        """Mark the owner's scope as ready if there is a decision to make about its open scopes."""
        scopes = owner.open
        assert scopes is not None, "the owner has open scopes"
        if scopes.may_start_more or scopes.may_continue or scopes.is_over_limit or scopes.fatal is not None:
            self.ready[owner.step.scope] = None
        else:
            self.ready.pop(owner.step.scope, None)

    def _current(self, event: NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened, to: StepStatus) -> StepState:
        """Return the step of an event that changes its status to ``to``. Raises: IllegalEvent."""
        frame = self.frames.get(event.scope)
        state = frame.steps.get(event.node) if frame is not None else None
        if state is None or (state.step.iteration, state.attempts) != (event.iteration, event.attempt):
            raise IllegalEvent(f"{event.type} of {event.node}.{event.iteration}, which is not the current step")
        if to not in STEP_TRANSITIONS[state.status]:
            raise IllegalEvent(f"{event.type} of {state.step}, which is {state.status}")
        return state


def budget_of(scope: str) -> str:
    """Return the step budget of a scope: the handler that it belongs to, or `ROOT` for the flow itself."""
    if not scope:
        return ROOT
    outermost = scope.partition("/")[0]
    return outermost if outermost in HANDLERS else ROOT


def replay(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """Return the state after a stored sequence of events."""
    state = ExecutionState()
    for event, at in events:
        state.apply(event, at)
    return state
