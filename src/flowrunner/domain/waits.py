"""The things that a step or an execution waits for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

from flowrunner.domain.values import JSON


@dataclass(frozen=True, slots=True)
class SignalWait:
    """A wait for a signal from outside.

    Attributes:
        key: Key of the signal.
        details: Description by the node type, instead of the key: `{type: payment, …}`.
    """

    key: str
    details: Mapping[str, JSON] | None = None
    type: Literal["signal"] = field(default="signal", init=False)

    def describe(self) -> dict[str, JSON]:
        return {"type": self.type, **({"key": self.key} if self.details is None else self.details)}


@dataclass(frozen=True, slots=True)
class ApprovalWait:
    """A wait for an approval or a rejection.

    Attributes:
        form: JSON Schema of the data in the answer; None for any data.
        roles: Roles in the workspace that may answer, each with the roles above it; None for all that may run flows.
        members: Ids or e-mail addresses of the accounts that may answer; None for all.
        count: Number of approvals by different accounts that are needed; None for the first answer alone.
        link: A signed link answers it, too, once.
        notify: The node of the same scope that runs when the wait begins.
        remind_seconds: Time after which that node runs again, until there is an answer; None for never.
    """

    prompt: str
    form: JSON = None
    roles: Sequence[str] | None = None
    members: Sequence[str] | None = None
    count: int | None = None
    link: bool = False
    notify: str | None = None
    remind_seconds: float | None = None
    type: Literal["approval"] = field(default="approval", init=False)

    def describe(self) -> dict[str, JSON]:
        described: dict[str, JSON] = {"type": self.type, "prompt": self.prompt}
        if self.form is not None:
            described["form"] = self.form
        if self.roles is not None:
            described["roles"] = self.roles
        if self.members is not None:
            described["members"] = self.members
        if self.count is not None:
            described["count"] = self.count
        if self.link:
            described["link"] = True
        return described

    @property
    def needed(self) -> int:
        """Return the number of approvals that are needed."""
        return self.count or 1


@dataclass(frozen=True, slots=True)
class ChildWait:
    """A wait for the end of a child execution."""

    execution_id: str
    flow_id: str
    type: Literal["flow"] = field(default="flow", init=False)

    def describe(self) -> dict[str, JSON]:
        return {"type": self.type, "execution_id": self.execution_id, "flow_id": self.flow_id}


@dataclass(frozen=True, slots=True)
class TimeWait:
    """A wait until a moment.

    Attributes:
        details: Description by the node type: `{type: poll, …}`.
    """

    moment: datetime
    details: Mapping[str, JSON] | None = None
    type: Literal["delay"] = field(default="delay", init=False)

    def describe(self) -> dict[str, JSON]:
        return {"type": self.type, **(self.details or {})}


@dataclass(frozen=True, slots=True)
class ConcurrencyWait:
    """The wait of an execution for a concurrency slot of its flow."""

    def describe(self) -> dict[str, JSON]:
        return {"type": "concurrency"}


# The waits of a step. An execution as a whole waits for a concurrency slot.
WaitFor: TypeAlias = SignalWait | ApprovalWait | ChildWait | TimeWait
WAITS_OF_STEPS: Final[Mapping[str, type[WaitFor]]] = {
    "signal": SignalWait, "approval": ApprovalWait, "flow": ChildWait, "delay": TimeWait,
}  # fmt: skip

SignalKind: TypeAlias = Literal["signal", "approval", "flow", "link"]


def signal_key(kind: SignalKind, name: str) -> str:
    """Return the stored key of a signal, by which it finds the step that waits for it.

    Args:
        name: The key of a `signal`, the step of an `approval` or of the `link` to one that is revoked, or the id of
            the child execution for `flow`.
    """
    return f"{kind}:{name}"


def child_signal_key(execution_id: str) -> str:
    """Return the stored key of the signal that the end of a child execution sends."""
    return signal_key("flow", execution_id)


def parse_signal_key(key: str) -> tuple[str, str]:
    """Return the kind and the name of the stored key of a signal."""
    kind, _, name = key.partition(":")
    return kind, name
