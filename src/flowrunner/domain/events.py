"""What happens to an execution: each kind of event, as it is recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias, get_args

from flowrunner.domain.values import JSON

LogLevel: TypeAlias = Literal["debug", "info", "warn", "error"]
LOG_LEVELS: Final[frozenset[LogLevel]] = frozenset(get_args(LogLevel))

ROOT: Final = ""
ON_FAILURE: Final = "on_failure"
ON_FINISH: Final = "on_finish"
# What the key of a signal begins with that tells of the end of a sub-flow; its id follows.
END_OF_FLOW: Final = "flow:"
HANDLERS: Final = frozenset({ON_FAILURE, ON_FINISH})


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


class Step(NamedTuple):
    """A run of a node within one execution.

    Attributes:
        iteration: Counts the visits of the node within its scope, from 1.
        scope: Which run of which inner scope it belongs to: "" is the flow itself, `each.1[4]` the
            fifth element of the first run of the node `each`, `each.1[4]/both.1[left]` a branch in it.
    """

    node: str
    iteration: int
    scope: str = ROOT

    def __str__(self) -> str:
        name = f"{self.node}.{self.iteration}"
        return f"{self.scope}/{name}" if self.scope else name

    def child_scopes(self, key: str) -> str:
        """The scope ``key`` of this step."""
        return f"{self}[{key}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The execution exists. ``node`` is the one it starts at.

    Attributes:
        by: The account that asked for it, where one did.
        parent: The step of another execution that it runs for: `{execution_id, step, failures, flows}`, with
            how many tries of the step had failed, and the ids of the flows that led here.
        rerun_of: The execution whose events come next, as far as they are kept:
            `{execution_id, from, keys_of}`; the last one is there if its steps send another's idempotency keys.
        is_queued: It waits for its turn: too many executions of its flow are under way.
        flow_name: What its flow is called, where that is not what the metadata of its revision says.
    """

    type: ClassVar[str] = "execution.started"
    node: str
    node_type: str
    input: JSON
    by: str | None = None
    parent: JSON = None
    rerun_of: JSON = None
    is_queued: bool = False
    flow_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """It is the turn of an execution that was queued."""

    type: ClassVar[str] = "execution.admitted"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStarted:
    """A try of a step begins. ``interrupted``: the try before it was cut off by a crash."""

    type: ClassVar[str] = "node.started"
    node: str
    node_type: str
    iteration: int
    attempt: int
    interrupted: bool = False
    scope: str = ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCompleted:
    """A step is done.

    Attributes:
        skipped: The node's own condition kept it from running.
        is_last: Its scope ends with it, whatever edges it has.
        vars: What it sets among the flow's variables.
        collected: Its result is what was collected of its scopes, one part each, and is null here: the events of their
            ends have the parts. These stand in the list for scopes without one, by key.
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
    scope: str = ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWaiting:
    """A step waits: for a signal, for a moment, or for whichever comes first.

    Attributes:
        until: When it goes on by itself, with ``action`` and ``result``; None for never.
        key: The signal it waits for; None for none.
        fail_at_deadline: At ``until`` it fails with `timeout` instead.
        about: What it waits for, in the words of its node type: `{type: approval, prompt: …}`.
    """

    type: ClassVar[str] = "node.waiting"
    node: str
    node_type: str
    iteration: int
    attempt: int
    until: datetime | None
    result: JSON = None
    action: str = "default"
    key: str | None = None
    fail_at_deadline: bool = False
    details: JSON = None
    scope: str = ROOT

    @property
    def is_for_somebody(self) -> bool:
        """Whether what it waits for comes from outside, and not from a sub-flow or the clock."""
        return self.key is not None and not self.key.startswith(END_OF_FLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopesOpened:
    """A step runs scopes of its own and goes on when enough of them have ended.

    Attributes:
        keys: Their keys, in the order they begin.
        inputs: What flows into each.
        concurrency: How many may be under way together.
        needed: How many have to complete; the ones under way are cancelled then.
        tolerant: Whether the ones that fail count as ended and no more.
        not_before: When the first may begin; None for at once.
        until: When the step fails if they have not ended; None for never.
        about: What its node type wants to know when they have ended.
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
    scope: str = ROOT


ScopeOutcome: TypeAlias = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeEnded:
    """One run of a scope has ended, and nothing in it goes on.

    Attributes:
        scope: "" for the flow itself, when handlers are to run before the execution ends.
        reason: Why it was cancelled.
        result: What the execution gives, when the flow itself has completed; the part that a loop collects of it,
            when one does.
        part_bytes: What that part counts for; None where nothing is collected.
    """

    type: ClassVar[str] = "scope.ended"
    scope: str
    outcome: ScopeOutcome
    error: Failure | None = None
    reason: str | None = None
    result: JSON = None
    part_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceived:
    """A signal came. The step that waits for it goes on; without one, the next that asks for it.

    Attributes:
        request: Digests of the idempotency key that it came with and of what was asked, as `key:asked`; None without
            a key.
    """

    type: ClassVar[str] = "signal.received"
    key: str
    payload: JSON
    by: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A line of the log. ``iteration``: of the step that wrote it; None where none did."""

    type: ClassVar[str] = "log"
    level: LogLevel
    message: str
    node: str | None = None
    node_type: str | None = None
    data: JSON = None
    scope: str = ROOT
    iteration: int | None = None

    @property
    def step(self) -> str | None:
        """The step in words, where one wrote it."""
        if self.node is None or self.iteration is None:
            return None
        return str(Step(self.node, self.iteration, self.scope))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    type: ClassVar[str] = "execution.completed"
    result: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The execution failed.

    Attributes:
        step: The step that it failed at, where one did, with its attempt and what flowed into it.
    """

    type: ClassVar[str] = "execution.failed"
    error: Failure
    node_type: str | None = None
    step: str | None = None
    attempt: int | None = None
    input: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    type: ClassVar[str] = "execution.cancelled"
    reason: str


Ending: TypeAlias = Completed | Failed | Cancelled
StepEvent: TypeAlias = NodeStarted | NodeCompleted | NodeFailed | NodeWaiting | ScopesOpened
Event: TypeAlias = Started | Admitted | StepEvent | ScopeEnded | SignalReceived | Logged | Ending

EVENT_TYPES: Final[Mapping[str, type[Event]]] = {
    kind.type: kind
    for kind in (
        Started, Admitted, NodeStarted, NodeCompleted, NodeFailed, NodeWaiting, ScopesOpened, ScopeEnded,
        SignalReceived, Logged, Completed, Failed, Cancelled,
    )
}  # fmt: skip
