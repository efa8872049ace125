"""Causes of executions: what has started each one.

A further kind of cause is a class in `StartCause` and a field of `StoredCause`; the layers between only pass it on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypeAlias, TypedDict, assert_never

from flowrunner.domain.static_dataclass import static_dataclass
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
    """

    execution_id: ExecutionId
    step: str
    failures: int
    flows: tuple[FlowId, ...]
    is_awaited: bool = True


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


StartCause: TypeAlias = Requested | ChildOf | Rerun


def awaiting_parent(cause: StartCause) -> ExecutionId | None:
    """Return the execution that waits for the end."""
    return cause.execution_id if isinstance(cause, ChildOf) and cause.is_awaited else None


def repeated(cause: StartCause) -> ExecutionId | None:
    """Return the execution that is repeated."""
    return cause.of if isinstance(cause, Rerun) else None


def trigger_of(cause: StartCause) -> str | None:
    """Return the id of the trigger that has started the execution; None if no trigger did."""
    return None


def keys_of(cause: StartCause) -> ExecutionId | None:
    """Return the execution whose idempotency keys the steps send; None if they send their own."""
    return cause.keys_of if isinstance(cause, Rerun) else None


def calling_flows(cause: StartCause) -> Sequence[FlowId]:
    """Return the flows in the chain of calls that led to the execution, without its own."""
    return cause.flows if isinstance(cause, ChildOf) else ()


RerunFields = TypedDict(
    "RerunFields", {"execution_id": ExecutionId, "from": str | None, "keys_of": NotRequired[ExecutionId]}
)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class StoredCause:
    """The fields of a cause in the stored form of `Started`, which every later version reads."""

    by: AccountId | None = None
    parent: ChildOf | None = None
    rerun_of: RerunFields | None = None

    @property
    def cause(self) -> StartCause:
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
        case _:
            assert_never(cause)
