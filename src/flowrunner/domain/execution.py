"""One run of a flow: the state that its events add up to."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from heapq import heappop, heappush
from typing import Final, assert_never

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
    Failure,
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
from flowrunner.domain.values import JSON, memory_of

# What the runs of a step's own scopes have given, together, in memory.
MAX_HELD_BYTES: Final = 64 * 1024 * 1024


class Status(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

# Every change of status that is legal. The database refuses to leave a final one by itself.
TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    Status.RUNNING: frozenset({Status.RUNNING, Status.WAITING, *FINAL}),
    Status.WAITING: frozenset({Status.RUNNING, Status.WAITING, *FINAL}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


class IllegalEvent(FlowRunnerError):
    """An event that cannot follow the ones before it: a bug, never a user's fault."""


class StepStatus(StrEnum):
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    # What it waited for has come: its node type is to say what follows.
    RESUMING = "resuming"
    # Its own scopes are under way.
    OPEN = "open"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"


# Every legal change of a step's status; `ExecutionState.apply` rejects any other. An attempt that a crash cut off runs
# again from RUNNING, and a loop opens its next scopes from OPEN.
STEP_TRANSITIONS: Final[Mapping[StepStatus, frozenset[StepStatus]]] = {
    StepStatus.RUNNING: frozenset(set(StepStatus) - {StepStatus.RESUMING}),
    StepStatus.RETRYING: frozenset({StepStatus.RUNNING}),
    StepStatus.WAITING: frozenset({StepStatus.RESUMING, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}),
    StepStatus.RESUMING: frozenset({StepStatus.WAITING, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}),
    StepStatus.OPEN: frozenset({StepStatus.OPEN, StepStatus.RETRYING, StepStatus.COMPLETED, StepStatus.FAILED}),
    StepStatus.COMPLETED: frozenset(),
    StepStatus.SKIPPED: frozenset(),
    StepStatus.FAILED: frozenset(),
}


@dataclass(slots=True)
class ScopeProgress:
    """How far the scopes of a step have come.

    Attributes:
        inputs: What flows into each that has not begun, by key; they begin in this order.
        active: Keys of the ones under way.
        results: What each gave, of the ones that completed, by key.
        errors: Why each failed, of the ones that did.
        failed_at: The step that the last of those failed at.
        parts: What was collected of each, by key; of a loop that opens them one after the other, of all so far.
        part_bytes: Size of the parts together.
        held_bytes: What the results and errors take in memory.
    """

    opened: ScopesOpened
    inputs: dict[str, JSON]
    active: dict[str, None] = field(default_factory=dict)
    results: dict[str, JSON] = field(default_factory=dict)
    errors: dict[str, Failure] = field(default_factory=dict)
    failed_at: "StepState | None" = None
    parts: dict[str, JSON] = field(default_factory=dict)
    part_bytes: int = 0
    held_bytes: int = 0

    @property
    def is_too_much(self) -> bool:
        """Whether the results and errors take more memory than may be kept."""
        return self.held_bytes > MAX_HELD_BYTES

    @property
    def is_enough(self) -> bool:
        """Whether the step goes on, whatever is still under way."""
        ended = len(self.results) + len(self.errors)
        return ended == len(self.opened.keys) or (
            not self.opened.ignore_failures and len(self.results) >= self.opened.needed
        )

    @property
    def fatal(self) -> Failure | None:
        """The error that keeps enough of them from completing."""
        if self.opened.ignore_failures or len(self.errors) <= len(self.opened.keys) - self.opened.needed:
            return None
        return next(reversed(self.errors.values()))

    @property
    def is_active(self) -> bool:
        """Whether a further one may begin."""
        return bool(self.inputs) and len(self.active) < self.opened.concurrency

    @property
    def has_begun(self) -> bool:
        return len(self.inputs) < len(self.opened.keys)


@dataclass(slots=True)
class StepState:
    """Where the latest run of a node stands.

    Attributes:
        input: What flowed into it.
        attempts: Tries so far, the present one included.
        failures: Tries that ended with an error; what retries are counted by.
        interruptions: Tries that a crash cut off.
        due_at: When a retry is due, or a wait is over, or its scopes have had their time.
        waiting: What it waits for.
        signal: What came, for a step that resumes.
        open: Its own scopes, while they are under way.
        failed_at: The step inside it whose error is its own, if it failed so.
        before: The run of the node before this one, until this one has ended.
        collected_bytes: Size of the result, if it was collected of the step's scopes; 0 otherwise.
    """

    step: Step
    node_type: str
    status: StepStatus
    started_at: datetime
    input: JSON
    attempts: int = 1
    failures: int = 0
    interruptions: int = 0
    due_at: datetime | None = None
    waiting: NodeWaiting | None = None
    signal: JSON = None
    open: ScopeProgress | None = None
    action: str | None = None
    is_last: bool = False
    result: JSON = None
    error: Failure | None = None
    failed_at: "StepState | None" = None
    before: "StepState | None" = None
    collected_bytes: int = 0

    def collected(self, others: Mapping[str, JSON]) -> JSON:
        """Return the list of what was collected of the step's scopes, in their order.

        Args:
            others: What stands in it for scopes of which nothing was collected, by key.
        """
        parts = {**(self.open.parts if self.open is not None else {}), **others}
        return [parts[key] for key in sorted(parts, key=int)]

    @property
    def waits_for_somebody(self) -> bool:
        """Whether somebody outside has to do something: send a signal, or answer an approval."""
        return self.waiting is not None and self.waiting.is_for_somebody


@dataclass(slots=True)
class Frame:
    """One run of a scope.

    Attributes:
        owner: The step whose scope it is; None for the flow itself and its handlers.
        key: Which of the owner's scopes it is a run of.
        item: What flowed into it.
        cursor: The node whose state decides what happens next in it; None before the first.
        steps: The latest step of each node visited, by node.
        flowing: What flows into the next node: the last result, or the item.
        error: The last failure of a step that had no tries left; what `${error}` reads.
        ended: What it came to.
    """

    scope: str
    owner: Step | None
    key: str
    item: JSON
    flowing: JSON
    cursor: str | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    error: Failure | None = None
    ended: ScopeEnded | None = None

    @property
    def current(self) -> StepState | None:
        return None if self.cursor is None else self.steps[self.cursor]


@dataclass(slots=True)
class ExecutionState:
    """What the events of one execution add up to; `apply` is the only way it changes.

    Attributes:
        seq: Number of the last event; the next is one higher.
        frames: Every run of a scope that has not ended, and the flow itself, by scope.
        ready: Scopes in which something may be decided, in the order they became so.
        running: Steps whose try is recorded as started and not as ended.
        timed: Steps that something happens to by itself at their ``due_at``, or that wait for a signal.
        signals: Signals that no step has taken yet, by key.
        signal_bytes: What those take in memory.
        requests: What was asked with each idempotency key that a signal came with, both as digests.
        vars: What `set` nodes have set.
        dues: When something happens to a step by itself, the earliest first; some of it is out of date.
        started_tries: Tries of steps begun so far, by where they count: `ROOT` for the flow itself, or the handler
            they run for. Loops are bounded by it.
        log_lines: Log events so far; they are capped.
    """

    seq: int = 0
    started_at: datetime | None = None
    input: JSON = None
    parent: JSON = None
    is_queued: bool = False
    flow_name: str = ""
    frames: dict[str, Frame] = field(default_factory=dict)
    ready: dict[str, None] = field(default_factory=dict)
    running: dict[Step, None] = field(default_factory=dict)
    timed: dict[Step, None] = field(default_factory=dict)
    signals: dict[str, list[JSON]] = field(default_factory=dict)
    signal_bytes: int = 0
    requests: dict[str, str] = field(default_factory=dict)
    vars: dict[str, JSON] = field(default_factory=dict)
    dues: list[tuple[datetime, Step]] = field(default_factory=list, compare=False)
    started_tries: Counter[str] = field(default_factory=Counter)
    log_lines: int = 0
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
                waits = self.rests and any(self.at(step).waits_for_somebody for step in self.timed)
                return Status.WAITING if waits else Status.RUNNING
            case _:
                assert_never(self.ending)

    @property
    def rests(self) -> bool:
        """Whether nothing happens before a moment in time, or before something comes from outside."""
        if self.ending is not None:
            return False
        return self.is_queued or (bool(self.timed) and not self.running and not self.ready)

    @property
    def root(self) -> Frame:
        return self.frames[ROOT]

    @property
    def next_due(self) -> StepState | None:
        """The step to which something happens by itself first; None if there is none."""
        while self.dues:
            due_at, step = self.dues[0]
            if step in self.timed and self.at(step).due_at == due_at:
                return self.at(step)
            heappop(self.dues)
        return None

    @property
    def due_at(self) -> datetime | None:
        """When something happens by itself; None for never."""
        current = self.next_due
        return None if current is None else current.due_at

    def at(self, step: Step) -> StepState:
        return self.frames[step.scope].steps[step.node]

    def visible(self, scope: str) -> Iterator[Frame]:
        """The frames whose nodes can be seen from a scope, the innermost first."""
        frame: Frame | None = self.frames[scope]
        while frame is not None:
            yield frame
            if frame.owner is not None:
                frame = self.frames[frame.owner.scope]
            else:
                frame = self.frames[ROOT] if frame.scope else None

    def within(self, scope: str) -> Iterator[Frame]:
        """The frames of a scope and of all the scopes inside it; those of the handlers are inside the flow."""
        if scope == ROOT:
            yield from self.frames.values()
            return
        frame = self.frames[scope]
        yield frame
        for current in frame.steps.values():
            for key in current.open.active if current.open is not None else ():
                yield from self.within(current.step.child_scopes(key))

    def apply(self, event: Event, at: datetime) -> None:
        """Take the next event into account.

        Raises:
            IllegalEvent: If it cannot follow the ones before.
        """
        if self.ending is not None:
            raise IllegalEvent(f"{event.type} after {self.ending.type}")
        if (self.seq == 0) != isinstance(event, Started):
            raise IllegalEvent(f"{event.type} as event {self.seq + 1}")
        match event:
            case Logged():
                self.log_lines += 1
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
                self.started_at, self.input, self.parent = at, event.input, event.parent
                self.is_queued, self.flow_name = event.is_queued, event.flow_name
                self.frames[ROOT] = Frame(ROOT, None, "", event.input, event.input)
                self.ready = {ROOT: None}
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
            # Checked before the scope is entered: an illegal event leaves the state as it was.
            if (event.iteration, event.attempt) != (1, 1):
                raise IllegalEvent(f"{step} out of turn")
            frame = self._enter(event.scope)
        before = frame.steps.get(event.node)
        if before is not None and before.step == step:
            if event.attempt != before.attempts + 1:
                raise IllegalEvent(f"try {event.attempt} of {step} after {before.attempts}")
            expected = StepStatus.RUNNING if event.interrupted else StepStatus.RETRYING
            if before.status is not expected:
                raise IllegalEvent(f"another try of {step}, which is {before.status}")
            before.attempts = event.attempt
            before.interruptions += event.interrupted
            before.status, before.due_at = StepStatus.RUNNING, None
            self.timed.pop(step, None)
        else:
            if event.iteration != (before.step.iteration if before else 0) + 1 or event.attempt != 1:
                raise IllegalEvent(f"{step} out of turn")
            if event.scope not in self.ready:
                raise IllegalEvent(f"{step} while its scope has another under way")
            frame.steps[event.node] = StepState(
                step, event.node_type, StepStatus.RUNNING, at, frame.flowing, before=before
            )
            frame.cursor = event.node
        self.started_tries[budget_of(event.scope)] += 1
        self.running[step] = None
        self.ready.pop(event.scope, None)

    def _enter(self, scope: str) -> Frame:
        """The frame of a scope whose first node starts."""
        if scope in HANDLERS:
            ended = self.root.ended
            if ended is None:
                raise IllegalEvent(f"{scope} before the flow has ended")
            frame = Frame(scope, None, "", self.root.flowing, self.root.flowing, error=ended.error)
            self.ready.pop(ROOT, None)
        else:
            owner, key = self._owner_of(scope)
            scopes = owner.open
            # How many are under way does not count here: in a rerun, elements after the one that it begins
            # at have had their turn already.
            if scopes is None or key not in scopes.inputs:
                raise IllegalEvent(f"{scope} begins out of turn")
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
        self.frames[event.scope].flowing = result
        if event.vars:
            self.vars = {**self.vars, **event.vars}
        self._reconcile_children(current)

    def _fail(self, event: NodeFailed) -> None:
        status = StepStatus.FAILED if event.retry_at is None else StepStatus.RETRYING
        current = self._current(event, status)
        current.status = status
        current.error = event.error
        current.failures += 1
        if event.retry_at is None:
            if current.open is not None and current.open.fatal == event.error:
                current.failed_at = current.open.failed_at
            self.frames[event.scope].error = event.error
            self._reconcile_children(current)
        else:
            current.due_at = event.retry_at
            current.waiting, current.signal = None, None
            self.running.pop(current.step, None)
            self.ready.pop(event.scope, None)
            self._expect(current)

    def _expect(self, current: StepState) -> None:
        """Something happens to a step by itself, or when a signal comes."""
        self.timed[current.step] = None
        if current.due_at is not None:
            heappush(self.dues, (current.due_at, current.step))

    def _reconcile_children(self, current: StepState) -> None:
        """What a step waited for is over, and its scope goes on."""
        current.due_at, current.waiting, current.signal, current.open = None, None, None, None
        current.before = None
        self.running.pop(current.step, None)
        self.timed.pop(current.step, None)
        self.ready[current.step.scope] = None

    def _wait(self, event: NodeWaiting) -> None:
        current = self._current(event, StepStatus.WAITING)
        current.status, current.due_at, current.waiting = StepStatus.WAITING, event.until, event
        self.running.pop(current.step, None)
        self.ready.pop(event.scope, None)
        self._expect(current)
        early = self.signals.get(event.key) if event.key is not None else None
        if early and event.key is not None:
            payload = early.pop(0)
            self.signal_bytes -= memory_of(payload)
            if not early:
                del self.signals[event.key]
            self._signal(current, payload)

    def _receive(self, event: SignalReceived) -> None:
        if event.request is not None:
            key, _, asked = event.request.partition(":")
            self.requests[key] = asked
        for step in self.timed:
            current = self.at(step)
            if current.waiting is not None and current.waiting.key == event.key:
                self._signal(current, event.payload)
                return
        self.signals.setdefault(event.key, []).append(event.payload)
        self.signal_bytes += memory_of(event.payload)

    def _signal(self, current: StepState, payload: JSON) -> None:
        current.status, current.signal, current.due_at = StepStatus.RESUMING, payload, None
        self.timed.pop(current.step)
        self.ready[current.step.scope] = None

    def _open(self, event: ScopesOpened) -> None:
        current = self._current(event, StepStatus.OPEN)
        if current.open is not None and not current.open.is_enough:
            raise IllegalEvent(f"{current.step} opens scopes while others are under way")
        inputs = dict(zip(event.keys, event.inputs, strict=True))
        before, current.open = current.open, ScopeProgress(event, inputs)
        if before is not None:
            current.open.parts, current.open.part_bytes = before.parts, before.part_bytes
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
            raise IllegalEvent(f"{event.scope} ends, and is not under way")
        for child_scopes in list(self.within(event.scope)):
            self._leave(child_scopes)
        if event.scope == ROOT or event.scope in HANDLERS:
            frame.ended = event
            if event.scope == ROOT:
                frame.error = event.error
                frame.flowing = event.result if event.outcome == "completed" else frame.flowing
            self.ready[ROOT] = None
            return
        owner, key = self._owner_of(event.scope)
        assert owner.open is not None, "a scope is under way only while its owner has it open"
        del owner.open.active[key]
        if event.outcome == "completed":
            # A loop that goes by what its run gave opens one at a time; of many the part is all that is kept.
            is_kept = event.part_bytes is None or len(owner.open.opened.keys) == 1
            owner.open.results[key] = kept = frame.flowing if is_kept else None
            owner.open.held_bytes += memory_of(kept)
            if event.part_bytes is not None:
                owner.open.parts[key] = event.result
                owner.open.part_bytes += event.part_bytes
        elif event.outcome == "failed" and event.error is not None:
            owner.open.errors[key] = event.error
            owner.open.held_bytes += memory_of(event.error.data)
            at = frame.current
            owner.open.failed_at = at if at is None or at.failed_at is None else at.failed_at
        self._mark_ready(owner)

    def _leave(self, frame: Frame) -> None:
        """Nothing in a frame goes on; the flow's own and the handlers' stay to be read."""
        for step in frame.steps.values():
            self.running.pop(step.step, None)
            self.timed.pop(step.step, None)
        self.ready.pop(frame.scope, None)
        if frame.owner is not None:
            del self.frames[frame.scope]

    def _mark_ready(self, owner: StepState) -> None:
        """Note whether there is something to decide about a step whose scopes are open."""
        scopes = owner.open
        assert scopes is not None, "asked of steps with open scopes"
        if scopes.is_active or scopes.is_enough or scopes.is_too_much or scopes.fatal is not None:
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
    """Return where the steps of a scope count: the handler that it belongs to, or `ROOT` for the flow itself."""
    outermost = scope.partition("/")[0]
    return outermost if outermost in HANDLERS else ROOT


def replay(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """The state that a stored sequence of events adds up to."""
    state = ExecutionState()
    for event, at in events:
        state.apply(event, at)
    return state
