"""Node types `wait` and `approval`: continue after a signal or an answer."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.email_address import normal_email
from flowrunner.nodes.checks import checked
from flowrunner.nodes.durations import Duration, limit_of
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
MOST_MEMBERS: Final = 100
LEAST_REMINDER_SECONDS: Final = 60.0


class WaitParams(Params):
    key: str = Field(min_length=1, max_length=MAX_KEY_CHARACTERS, description="Name of the signal to wait for.")
    timeout: Duration | None = Field(default=None, description="How long to wait: 10m, 2h, 1d. Indefinitely if absent.")

    @field_validator("key")
    @classmethod
    def _key(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must have printable characters only")
        return value


class WaitNode(NodeType[WaitParams]):
    """Waits for a signal to this execution. Returns the payload of the signal; action `timeout` if none arrives."""

    type = "wait"
    examples = (
        "type: wait\nparams:\n  key: paid\n  timeout: 2d\n",
        "type: wait\nparams:\n  key: paid/${input.id}\n  timeout: 2d\n",
    )
    Params = WaitParams
    actions: ClassVar[frozenset[str]] = frozenset({"default", TIMEOUT})
    pure = True
    timeout_seconds = None

    async def run(self, params: WaitParams, context: StepContext) -> Suspend:
        return Suspend(wait_for=SignalWait(params.key), deadline=limit_of(context, params.timeout), action=TIMEOUT)

    async def on_signal(self, params: WaitParams | None, context: StepContext, event: Signalled) -> JSON:
        return event.payload


def _member(text: str) -> str:
    if "@" in text:
        normal_email(text)
    elif not text.startswith("account-"):
        raise ValueError("must be the id or the e-mail address of an account")
    return text


def _check_reminder(text: str) -> None:
    if parse_duration(text) < LEAST_REMINDER_SECONDS:
        raise ValueError("must be at least 1m")


class ApprovalParams(Params):
    prompt: Message = Field(default="", description="The question.")
    form: dict[str, Any] | None = Field(default=None, description="JSON Schema of the data in the answer.")
    roles: list[Literal["operator", "editor", "admin", "user"]] | None = Field(
        default=None,
        min_length=1,
        max_length=20,
        description="Roles in the workspace that may answer, each with the roles above it; operator if absent.",
    )
    members: list[Annotated[str, Field(max_length=320), AfterValidator(_member)]] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_MEMBERS,
        description="Ids or e-mail addresses of the members of the workspace that may answer; all if absent.",
    )
    count: int | None = Field(
        default=None,
        ge=1,
        le=MOST_MEMBERS,
        description="Number of approvals by different accounts that are needed; one rejection rejects.",
    )

    # After `members`, which it is compared with.
    @field_validator("count")
    @classmethod
    def _count(cls, value: int | None, others: ValidationInfo) -> int | None:
        members = others.data.get("members")
        if value is not None and members is not None:
            different = {normal_email(member) if "@" in member else member for member in members}
            if value > len(different):
                raise ValueError(f"must be at most the number of different members, {len(different)}")
        return value

    link: bool = Field(
        default=False, description="Let a link answer, once, which only `notify` gets as `approval.url`."
    )
    notify: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="A node of the same scope that runs when the wait begins, with `approval` in its expressions.",
    )
    remind: Annotated[Duration, checked(_check_reminder)] | None = Field(
        default=None, description="Time after which `notify` runs again, until there is an answer: from 1m; 4h, 1d."
    )


class Approval(NodeType[ApprovalParams]):
    """Waits for an approval or a rejection. Returns `{approved, by, at, data}`, and all `answers` with a `count`."""

    type = "approval"
    examples = (
        "type: approval\nparams:\n  prompt: Ship the order?\ntimeout: 1d\n",
        "type: approval\nparams:\n  prompt: Ship order ${input.id}?\n  roles: [editor]\ntimeout: 1d\n",
        "type: approval\nparams:\n  prompt: Refund ${input.total}?\n  form:\n    type: object\n"
        "    properties: {reason: {type: string}}\n",
    )
    Params = ApprovalParams
    actions: ClassVar[frozenset[str]] = frozenset({"approved", "rejected", TIMEOUT})
    schemas: ClassVar[tuple[str, ...]] = ("form",)
    notifies = True
    pure = True
    timeout_seconds = None

    async def run(self, params: ApprovalParams, context: StepContext) -> Suspend:
        wait_for = ApprovalWait(
            params.prompt,
            params.form,
            params.roles,
            params.members,
            params.count,
            link=params.link,
            notify=params.notify,
            remind_seconds=None if params.remind is None else parse_duration(params.remind),
        )
        return Suspend(wait_for=wait_for, deadline=limit_of(context), action=TIMEOUT)

    async def on_signal(self, params: ApprovalParams | None, context: StepContext, event: Signalled) -> Outcome:
        answer = event.payload
        assert isinstance(answer, dict), "the server builds the answer"
        action = "approved" if answer["approved"] else "rejected"
        assert isinstance(event.wait_for, ApprovalWait), "the node waits for nothing else"
        return Outcome(answer if event.wait_for.count is None else {**answer, "answers": list(event.answers)}, action)
