"""The events of an execution, as they are recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias, assert_never

from flowrunner.domain.causes import StartCause
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import ApprovalWait, ChildWait, SignalWait, TimeWait, WaitFor, child_signal_key, signal_key

ROOT: Final = ""
ON_FAILURE: Final = "on_failure"
ON_FINISH: Final = "on_finish"
HANDLERS: Final = frozenset({ON_FAILURE, ON_FINISH})


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ErrorValue:
    """An error as flows read it: of a node, or of the execution itself.

    Attributes:
        type: Dotted type: `http.500`, `timeout`, `connection.refused`, `expression`.
        node: The node that raised it; None if no node did.
        retry_after: Seconds that the server asked to wait before another attempt.
    """

    type: str
    message: str
    node: str | None = None
    data: JSON = None
    retry_after: float | None = None

    def as_json(self) -> JSON:
        return {"type": self.type, "message": self.message, "node": self.node, "data": self.data}


class Step(NamedTuple):
    """A run of a node within one execution.

    Attributes:
        iteration: Number of the visit of the node within its scope, from 1.
        scope: The run of a scope that the step belongs to: "" is the flow itself, `each.1[4]` the fifth element of
            the first run of the node `each`, `each.1[4]/both.1[left]` a branch in it.
    """

    node: str
    iteration: int
    scope: str = ROOT

    def __str__(self) -> str:
        name = f"{self.node}.{self.iteration}"
        return f"{self.scope}/{name}" if self.scope else name

    def child_scope(self, key: str) -> str:
        """Return the scope ``key`` of this step."""
        return f"{self}[{key}]"


class _OfStep:
    """The part of the events that belong to a step."""

    __slots__ = ()
    node: str
    iteration: int
    scope: str

    @property
    def step(self) -> Step:
        return Step(self.node, self.iteration, self.scope)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The creation of an execution. ``node`` is its first node.

    Attributes:
        cause: What has started it. The kept events of a rerun follow this event.
        is_queued: The execution waits for a concurrency slot of its flow.
        flow_name: The flow's name, if it differs from the metadata of the revision.
        labels: Names and values that lists select executions by.
        config: The configuration values that the flow names, as they are at the start; those that there are not are
            missing.
        traceparent: The trace context of what has started it, as a `traceparent` header; empty without traces.
    """

    type: ClassVar[str] = "execution.started"
    node: str
    node_type: str
    input: JSON
    cause: StartCause
    is_queued: bool = False
    flow_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    traceparent: str = ""


# The beginning of the line after which those of a log that is full are dropped.
LOG_TRUNCATED: Final = "Log truncated: "


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The admission of a queued execution: it has a concurrency slot now."""

    type: ClassVar[str] = "execution.admitted"


@static_dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted(_OfStep):
    """The start of an attempt of a step.

    Attributes:
        interrupted: The attempt before it was interrupted: by a crash, or because the execution left memory for another
            reason before the step could end.
    """

    type: ClassVar[str] = "node.started"
    node: str
    node_type: str
    iteration: int
    attempt: int
    interrupted: bool = False
    scope: str = ROOT


@static_dataclass(frozen=True, slots=True, kw_only=True)
class NodeCompleted(_OfStep):
    """The completion of a step.

    Attributes:
        skipped: The node did not run because its condition was false.
        is_last: The scope ends with this step, even if the node has edges.
        vars: Variables of the flow that the step sets.
        collected: Values for scopes without a collected part, by key. If it is not None, the result is the list of
            collected parts, which the events of the scopes' ends hold, and ``result`` is null.
    """

    type: ClassVar[str] = "node.completed"
    node: str
    node_type: str
    iteration: int
    attempt: int
    action: str
    result: JSON
    scope: str = ROOT
    skipped: bool = False
    is_last: bool = False
    vars: Mapping[str, JSON] | None = None
    collected: Mapping[str, JSON] | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class NodeFailed(_OfStep):
    """The end of an attempt with an error. ``retry_at``: the time of the next attempt; None if there is none."""

    type: ClassVar[str] = "node.failed"
    node: str
    node_type: str
    iteration: int
    attempt: int
    error: ErrorValue
    retry_at: datetime | None = None
    scope: str = ROOT


@static_dataclass(frozen=True, slots=True, kw_only=True)
class NodeWaiting(_OfStep):
    """The start of a step's wait.

    Attributes:
        deadline: The moment at which the step no longer waits; None for never.
        result: The result after a `TimeWait`, or at the deadline; ``action`` is its action.
        fail_at_deadline: The step fails with `timeout` at the deadline instead of continuing.
    """

    type: ClassVar[str] = "node.waiting"
    node: str
    node_type: str
    iteration: int
    attempt: int
    wait_for: WaitFor
    deadline: datetime | None = None
    result: JSON = None
    action: str = "default"
    fail_at_deadline: bool = False
    scope: str = ROOT

    @property
    def signal_key(self) -> str | None:
        """Return the stored key of the signal that ends the wait; None if no signal does."""
        match self.wait_for:
            case SignalWait(key=key):
                return signal_key("signal", key)
            case ApprovalWait():
                return signal_key("approval", str(self.step))
            case ChildWait(execution_id=execution_id):
                return child_signal_key(execution_id)
            case TimeWait():
                return None
            case _:
                assert_never(self.wait_for)

    @property
    def due_at(self) -> datetime | None:
        """Return the moment at which the wait ends without a signal; None for never."""
        if not isinstance(self.wait_for, TimeWait):
            return self.deadline
        return self.wait_for.moment if self.deadline is None else min(self.wait_for.moment, self.deadline)

    @property
    def fails_when_due(self) -> bool:
        """Return whether the step fails at ``due_at``: a `TimeWait` may be over before its deadline."""
        return self.fail_at_deadline and self.due_at == self.deadline

    @property
    def is_external(self) -> bool:
        """Return whether the step waits for a signal from outside, not for a sub-flow or the clock."""
        return isinstance(self.wait_for, SignalWait | ApprovalWait)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ScopesOpened(_OfStep):
    """The opening of a step's own scopes; the step continues when enough of them have ended.

    Attributes:
        keys: Their keys, in the order of their starts.
        inputs: The input of each.
        concurrency: The number that may run at the same time.
        needed: The number that have to complete; the ones still running are cancelled then.
        ignore_failures: A failed scope counts as ended and does not fail the step.
        not_before: The earliest start of the first one; None for immediately.
        until: The moment at which the step fails if they have not ended; None for never.
        details: Data that the node type needs when they have ended.
        starts: The node that each begins with; empty if all begin with the first node.
        keeps_results: What the scopes before them have given is kept, too, and so are their details.
    """

    type: ClassVar[str] = "scopes.opened"
    node: str
    node_type: str
    iteration: int
    attempt: int
    keys: Sequence[str]
    inputs: Sequence[JSON]
    concurrency: int
    needed: int
    ignore_failures: bool = False
    not_before: datetime | None = None
    until: datetime | None = None
    details: JSON = None
    starts: tuple[str, ...] = ()
    keeps_results: bool = False
    scope: str = ROOT


ScopeOutcome: TypeAlias = Literal["completed", "failed", "cancelled"]


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ScopeEnded:
    """The end of one run of a scope; its running steps stop.

    Attributes:
        scope: "" for the flow itself, if handlers run before the execution ends.
        reason: Reason of a cancellation.
        result: The execution's result, if the flow itself has completed; or the part that a loop collects.
        part_bytes: Size of the collected part; None if nothing is collected.
    """

    type: ClassVar[str] = "scope.ended"
    scope: str
    outcome: ScopeOutcome
    error: ErrorValue | None = None
    reason: str | None = None
    result: JSON = None
    part_bytes: int | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """The receipt of a signal, for the step that waits for it, or else for the next step that will.

    Attributes:
        key: A key of `signal_key`.
        request: Digests of the request's idempotency key and content, as `key:content`; None without a key.
    """

    type: ClassVar[str] = "signal.received"
    key: str
    payload: JSON
    by: str | None = None
    request: str | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class InputEdited(_OfStep):
    """The replacement of a step's input, by the request for a rerun that begins at the step.

    Attributes:
        by: The account that has asked for it.
    """

    type: ClassVar[str] = "input.edited"
    node: str
    iteration: int
    input: JSON
    by: str | None = None
    scope: str = ROOT


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line of the log.

    Attributes:
        iteration: That of the step that wrote it; None if no step did.
        attempt: The attempt of that step.
    """

    type: ClassVar[str] = "log"
    level: LogLevel
    message: str
    node: str | None = None
    node_type: str | None = None
    data: JSON = None
    scope: str = ROOT
    iteration: int | None = None
    attempt: int = 1

    @property
    def step(self) -> str | None:
        """Return the name of the step that wrote the line, if one did."""
        if self.node is None or self.iteration is None:
            return None
        return str(Step(self.node, self.iteration, self.scope))


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    type: ClassVar[str] = "execution.completed"
    result: JSON


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The failure of an execution: the error that ended it, and its place.

    Attributes:
        step: The failed step, if there is one; with its attempt and input.
    """

    type: ClassVar[str] = "execution.failed"
    error: ErrorValue
    node_type: str | None = None
    step: str | None = None
    attempt: int | None = None
    input: JSON = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    type: ClassVar[str] = "execution.cancelled"
    reason: str


Ending: TypeAlias = Completed | Failed | Cancelled
StepEvent: TypeAlias = NodeStarted | NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened
Event: TypeAlias = Started | Admitted | StepEvent | ScopeEnded | SignalReceived | InputEdited | Logged | Ending

EVENT_TYPES: Final[Mapping[str, type[Event]]] = {
    kind.type: kind
    for kind in (
        Started, Admitted, NodeStarted, NodeCompleted, NodeFailed, NodeWaiting, ScopesOpened, ScopeEnded,
        SignalReceived, InputEdited, Logged, Completed, Failed, Cancelled,
    )
}  # fmt: skip
