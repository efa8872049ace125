"""One run of a flow: the events that make it up, and the state they add up to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final, Literal, TypeAlias, assert_never, get_args

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import JSON

LogLevel: TypeAlias = Literal["debug", "info", "warn", "error"]
LOG_LEVELS: Final[frozenset[LogLevel]] = frozenset(get_args(LogLevel))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a node or an execution failed.

    Attributes:
        type: Dotted type: `http.500`, `timeout`, `connection.refused`, `expression`.
        node: The node it came from, where one did.
        retry_after: Seconds the other side asked to wait before another try.
    """

    type: str
    message: str
    node: str | None = None
    data: JSON = None
    retry_after: float | None = None

    def as_json(self) -> JSON:
        return {"type": self.type, "message": self.message, "node": self.node, "data": self.data}


@dataclass(frozen=True, slots=True)
class Step:
    """A run of a node within one execution; ``iteration`` counts the visits, from 1."""

    node: str
    iteration: int

    def __str__(self) -> str:
        return f"{self.node}.{self.iteration}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The execution exists. ``node`` is the one it starts at."""

    type: ClassVar[str] = "execution.started"
    node: str
    node_type: str
    input: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted:
    """A try of a step begins. ``interrupted``: the try before it was cut off by a crash."""

    type: ClassVar[str] = "node.started"
    node: str
    node_type: str
    iteration: int
    attempt: int
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCompleted:
    type: ClassVar[str] = "node.completed"
    node: str
    node_type: str
    iteration: int
    attempt: int
    action: str
    result: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed:
    """A try of a step failed. ``retry_at``: when the next one is due; None when none is."""

    type: ClassVar[str] = "node.failed"
    node: str
    node_type: str
    iteration: int
    attempt: int
    error: Failure
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerSet:
    """A step waits until ``until`` and then completes with ``result``."""

    type: ClassVar[str] = "timer.set"
    node: str
    node_type: str
    iteration: int
    attempt: int
    until: datetime
    result: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    type: ClassVar[str] = "log"
    level: LogLevel
    message: str
    node: str | None = None
    node_type: str | None = None
    data: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    type: ClassVar[str] = "execution.completed"
    result: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    type: ClassVar[str] = "execution.failed"
    error: Failure
    node_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    type: ClassVar[str] = "execution.cancelled"
    reason: str


Ending: TypeAlias = Completed | Failed | Cancelled
Event: TypeAlias = Started | NodeStarted | NodeCompleted | NodeFailed | TimerSet | Logged | Ending

EVENT_TYPES: Final[Mapping[str, type[Event]]] = {
    kind.type: kind
    for kind in (
        Started, NodeStarted, NodeCompleted, NodeFailed, TimerSet, Logged, Completed, Failed, Cancelled
    )
}  # fmt: skip


class StepStatus(StrEnum):
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"


@dataclass(slots=True)
class StepState:
    """Where the latest run of a node stands.

    Attributes:
        input: What flowed into it.
        attempts: Tries so far, the present one included.
        failures: Tries that ended with an error; what retries are counted by.
        interruptions: Tries that a crash cut off.
        due_at: When a retry or a timer is due.
        timer_result: What the step completes with when its timer is due.
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
    timer_result: JSON = None
    action: str | None = None
    result: JSON = None
    error: Failure | None = None


@dataclass(slots=True)
class ExecutionState:
    """What the events of one execution add up to; `apply` is the only way it changes.

    Attributes:
        seq: Number of the last event; the next is one higher.
        cursor: The node whose state decides what happens next; None before the first.
        steps: The latest step of each node visited, by node.
        started_tries: Tries of steps begun so far; loops are bounded by it.
        flowing: What flows into the next node: the last result, or the input.
        error: The last failure of a step that had no tries left; what `${error}` reads.
        log_lines: Log events so far; they are capped.
    """

    seq: int = 0
    status: Status = Status.RUNNING
    started_at: datetime | None = None
    input: JSON = None
    cursor: str | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    started_tries: int = 0
    flowing: JSON = None
    error: Failure | None = None
    log_lines: int = 0
    ending: Ending | None = None

    def apply(self, event: Event, at: datetime) -> None:
        """Take the next event into account.

        Raises:
            IllegalEvent: If it cannot follow the ones before.
        """
        if self.ending is not None:
            raise IllegalEvent(f"{event.type} after {self.ending.type}")
        if (self.seq == 0) != isinstance(event, Started):
            raise IllegalEvent(f"{event.type} as event {self.seq + 1}")
        before = self.status
        match event:
            case Logged():
                self.log_lines += 1
            case NodeStarted():
                self._start(event, at)
            case NodeCompleted():
                current = self._current(event, StepStatus.RUNNING, StepStatus.WAITING)
                current.status = StepStatus.COMPLETED
                current.action, current.result, current.error, current.due_at = event.action, event.result, None, None
                self.status, self.flowing = Status.RUNNING, event.result
            case NodeFailed():
                current = self._current(event, StepStatus.RUNNING)
                current.error, current.due_at = event.error, event.retry_at
                current.failures += 1
                retries = event.retry_at is not None
                current.status = StepStatus.RETRYING if retries else StepStatus.FAILED
                self.status = Status.WAITING if retries else Status.RUNNING
                self.error = self.error if retries else event.error
            case TimerSet():
                current = self._current(event, StepStatus.RUNNING)
                current.status = StepStatus.WAITING
                current.due_at, current.timer_result = event.until, event.result
                self.status = Status.WAITING
            case Started():
                self.started_at, self.input, self.flowing = at, event.input, event.input
            case Completed():
                self.status, self.ending = Status.COMPLETED, event
            case Failed():
                self.status, self.ending = Status.FAILED, event
            case Cancelled():
                self.status, self.ending = Status.CANCELLED, event
            case _:
                assert_never(event)
        if self.status not in TRANSITIONS[before]:
            raise IllegalEvent(f"{event.type} makes {before} {self.status}")
        self.seq += 1

    def _start(self, event: NodeStarted, at: datetime) -> None:
        step = Step(event.node, event.iteration)
        before = self.steps.get(event.node)
        if before is not None and before.step == step:
            if event.attempt != before.attempts + 1:
                raise IllegalEvent(f"try {event.attempt} of {step} after {before.attempts}")
            expected = StepStatus.RUNNING if event.interrupted else StepStatus.RETRYING
            if before.status is not expected:
                raise IllegalEvent(f"another try of {step}, which is {before.status}")
            before.attempts = event.attempt
            before.interruptions += event.interrupted
            before.status, before.due_at = StepStatus.RUNNING, None
        else:
            if event.iteration != (before.step.iteration if before else 0) + 1 or event.attempt != 1:
                raise IllegalEvent(f"{step} out of turn")
            self.steps[event.node] = StepState(step, event.node_type, StepStatus.RUNNING, at, self.flowing)
        self.started_tries += 1
        self.cursor, self.status = event.node, Status.RUNNING

    def _current(self, event: NodeCompleted | NodeFailed | TimerSet, *allowed: StepStatus) -> StepState:
        state = self.steps.get(event.node)
        if state is None or (state.step.iteration, state.attempts) != (event.iteration, event.attempt):
            raise IllegalEvent(f"{event.type} of {event.node}.{event.iteration}, which is not the current step")
        if state.status not in allowed:
            raise IllegalEvent(f"{event.type} of {state.step}, which is {state.status}")
        return state


def replay(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """The state that a stored sequence of events adds up to."""
    state = ExecutionState()
    for event, at in events:
        state.apply(event, at)
    return state
