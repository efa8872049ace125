"""Node types `wait` and `approval`: continue after a signal or an answer."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from flowrunner.nodes.durations import Duration, seconds_of
from flowrunner.nodes.texts import Message
from flowrunner.plugin import (
    JSON,
    ApprovalWait,
    NodeType,
    Outcome,
    Params,
    Signalled,
    SignalWait,
    StepContext,
    Suspend,
)

TIMEOUT: Final = "timeout"
MAX_KEY_CHARACTERS: Final = 200


class WaitParams(Params):
    key: str = Field(min_length=1, max_length=MAX_KEY_CHARACTERS, description="Name of the signal to wait for.")
    timeout: Duration | None = Field(default=None, description="How long to wait: 10m, 2h, 1d. Indefinitely if absent.")

    @field_validator("key")
    @classmethod
    def _key(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must have printable characters only")
        return value


def _limit(context: StepContext, written: str | None = None) -> datetime | None:
    seconds = context.timeout_seconds if written is None else seconds_of(written)
    return None if seconds is None else context.now() + timedelta(seconds=seconds)


class WaitNode(NodeType[WaitParams]):
    """Waits for a signal to this execution. Returns the payload of the signal; action `timeout` if none arrives."""

    type = "wait"
    Params = WaitParams
    actions: ClassVar[frozenset[str]] = frozenset({"default", TIMEOUT})
    pure = True
    timeout_seconds = None

    async def run(self, params: WaitParams, context: StepContext) -> Suspend:
        return Suspend(wait_for=SignalWait(params.key), deadline=_limit(context, params.timeout), action=TIMEOUT)

    async def on_signal(self, params: WaitParams | None, context: StepContext, event: Signalled) -> JSON:
        return event.payload


class ApprovalParams(Params):
    prompt: Message = Field(default="", description="The question.")
    form: dict[str, Any] | None = Field(default=None, description="JSON Schema of the data in the answer.")
    roles: list[Literal["admin", "user"]] | None = Field(
        default=None,
        min_length=1,
        max_length=20,
        description="Roles that may answer; every account that may run flows if absent.",
    )


class Approval(NodeType[ApprovalParams]):
    """Waits for an approval or a rejection. Returns `{approved, by, at, data}`."""

    type = "approval"
    Params = ApprovalParams
    actions: ClassVar[frozenset[str]] = frozenset({"approved", "rejected", TIMEOUT})
    schemas: ClassVar[tuple[str, ...]] = ("form",)
    pure = True
    timeout_seconds = None

    async def run(self, params: ApprovalParams, context: StepContext) -> Suspend:
        wait_for = ApprovalWait(params.prompt, params.form, params.roles)
        return Suspend(wait_for=wait_for, deadline=_limit(context), action=TIMEOUT)

    async def on_signal(self, params: ApprovalParams | None, context: StepContext, event: Signalled) -> Outcome:
        answer = event.payload
        assert isinstance(answer, dict), "the server builds the answer"
        return Outcome(answer, "approved" if answer["approved"] else "rejected")
