"""Causes of executions: what has started each one.

A further kind of cause is a class in `StartCause` and a field of `StoredCause`; the layers between only pass it on.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NotRequired, TypeAlias, TypedDict, assert_never

from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.triggers import TriggerId, TriggerType
from flowrunner.domain.values import AccountId, ExecutionId, FlowId


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """A request of an account; ``by`` is None where there are no accounts, as in a test of a flow."""

    by: AccountId | None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class ChildOf:
    """A step of another execution.

    Attributes:
        failures: Failed attempts of the step; each attempt after one starts another execution.
        flows: The flows in the chain of calls, the one of the step last.
        is_awaited: The step waits for the end. Older events lack this and are read as True; the execution's row has its
            parent only if it is awaited.
        depth: As of the execution of the step: see `depth_of`.
    """

    execution_id: ExecutionId
    step: str
    failures: int
    flows: tuple[FlowId, ...]
    is_awaited: bool = True
    depth: int = 0


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A request of an account to repeat another execution.

    Attributes:
        of: The execution that is repeated.
        from_step: The step at which it starts; None repeats the whole execution.
        keys_of: The execution whose idempotency keys the steps send; None for their own.
    """

    by: AccountId | None
    of: ExecutionId
    from_step: str | None = None
    keys_of: ExecutionId | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A due time of a schedule.

    Attributes:
        trigger: The trigger's id.
        name: Its name.
        by: The account that has fired it by hand, or has started what would have been due; None for the clock.
    """

    trigger: TriggerId
    name: str
    due_at: datetime
    by: AccountId | None = None


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A request to the URL of a webhook trigger.

    Attributes:
        delivery: The stored request.
        by: The account that has replayed it; None for the first time.
        depth: The number of ends and requests that have led to this one, if a callback or a flow has sent it.
    """

    trigger: TriggerId
    name: str
    delivery: str
    by: AccountId | None = None
    depth: int = 0


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Chained:
    """The end of another execution.

    Attributes:
        of: The execution that has ended.
        depth: The number of ends and requests that have led to this one, itself included.
        by: The account that has fired it by hand; None for the end itself.
    """

    trigger: TriggerId
    name: str
    of: ExecutionId
    depth: int
    by: AccountId | None = None


# Tells a webhook trigger how many ends and requests have led to a message of a callback or to a request of a flow.
DEPTH_HEADER: Final = "FlowRunner-Depth"

Triggered: TypeAlias = Scheduled | Hook | Chained
StartCause: TypeAlias = Requested | ChildOf | Rerun | Triggered


def awaiting_parent(cause: StartCause) -> ExecutionId | None:
    """Return the execution that waits for the end."""
    return cause.execution_id if isinstance(cause, ChildOf) and cause.is_awaited else None


def repeated(cause: StartCause) -> ExecutionId | None:
    """Return the execution that is repeated."""
    return cause.of if isinstance(cause, Rerun) else None


def trigger_of(cause: StartCause) -> TriggerId | None:
    """Return the trigger that has started the execution; None if no trigger did."""
    return cause.trigger if isinstance(cause, Triggered) else None


def started_by(cause: StartCause) -> AccountId | None:
    """Return the account whose request has started the execution; None if no account asked for it."""
    return None if isinstance(cause, ChildOf) else cause.by


def keys_of(cause: StartCause) -> ExecutionId | None:
    """Return the execution whose idempotency keys the steps send; None if they send their own."""
    return cause.keys_of if isinstance(cause, Rerun) else None


# Made once: each step that sends a request is asked for its depth.
_WithDepth: TypeAlias = ChildOf | Hook | Chained


def depth_of(cause: StartCause | None) -> int:
    """Return how many ends of executions, and requests of flows, have led to an execution by triggers."""
    return cause.depth if isinstance(cause, _WithDepth) else 0


def calling_flows(cause: StartCause) -> Sequence[FlowId]:
    """Return the flows in the chain of calls that led to the execution, without its own."""
    return cause.flows if isinstance(cause, ChildOf) else ()


RerunFields = TypedDict(
    "RerunFields", {"execution_id": ExecutionId, "from": str | None, "keys_of": NotRequired[ExecutionId]}
)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class TriggerFields:
    """A trigger as a cause, with the fields of all types of triggers."""

    type: TriggerType
    id: TriggerId
    name: str
    by: AccountId | None = None
    due_at: datetime | None = None
    delivery: str = ""
    execution_id: ExecutionId | None = None
    depth: int = 0

    @property
    def cause(self) -> Triggered:
        match self.type:
            case "schedule":
                assert self.due_at is not None, "a schedule has a due time"
                return Scheduled(trigger=self.id, name=self.name, due_at=self.due_at, by=self.by)
            case "webhook":
                return Hook(trigger=self.id, name=self.name, delivery=self.delivery, by=self.by, depth=self.depth)
            case "execution":
                assert self.execution_id is not None, "an end has an execution"
                of, depth = self.execution_id, self.depth
                return Chained(trigger=self.id, name=self.name, of=of, depth=depth, by=self.by)

    @classmethod
    def of(cls, cause: Triggered) -> "TriggerFields":
        match cause:
            case Scheduled(trigger=id, name=name, due_at=due_at, by=by):
                return cls(type="schedule", id=id, name=name, due_at=due_at, by=by)
            case Hook(trigger=id, name=name, delivery=delivery, by=by, depth=depth):
                return cls(type="webhook", id=id, name=name, delivery=delivery, by=by, depth=depth)
            case Chained(trigger=id, name=name, of=of, depth=depth, by=by):
                return cls(type="execution", id=id, name=name, execution_id=of, depth=depth, by=by)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class StoredCause:
    """The fields of a cause in the stored form of `Started`, which every later version reads."""

    by: AccountId | None = None
    parent: ChildOf | None = None
    rerun_of: RerunFields | None = None
    trigger: TriggerFields | None = None

    @property
    def cause(self) -> StartCause:
        if self.trigger is not None:
            return self.trigger.cause
        if self.parent is not None:
            return self.parent
        if (rerun := self.rerun_of) is not None:
            return Rerun(by=self.by, of=rerun["execution_id"], from_step=rerun["from"], keys_of=rerun.get("keys_of"))
        return Requested(by=self.by)


def stored_fields(cause: StartCause) -> Mapping[str, Any]:
    """Return the fields of `StoredCause` that a cause sets."""
    match cause:
        case Requested(by=by):
            return {"by": by}
        case ChildOf():
            return {"parent": cause}
        case Rerun(by=by, of=of, from_step=from_step, keys_of=keys):
            rerun: RerunFields = {"execution_id": of, "from": from_step}
            return {"by": by, "rerun_of": rerun if keys is None else {**rerun, "keys_of": keys}}
        case Scheduled() | Hook() | Chained():
            return {"trigger": TriggerFields.of(cause)}
        case _:
            assert_never(cause)
