"""Node type `delay`: wait for a duration, or until a moment."""

from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import Field, field_validator, model_validator

from flowrunner.domain.errors import quoted
from flowrunner.nodes.durations import Duration, limit_of, seconds_of
from flowrunner.plugin import NodeFailure, NodeType, Params, StepContext, Suspend, TimeWait


class DelayParams(Params):
    duration: Duration | None = Field(default=None, description="How long to wait: 500ms, 10s, 5m, 2h, 1d or PT10S.")
    until: str | None = Field(default=None, description="The moment to wait for: 2027-01-31T08:00:00Z.")

    @field_validator("until")
    @classmethod
    def _until(cls, value: str | None) -> str | None:
        if value is not None and "${" not in value:
            parse_moment(value)
        return value

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("give either 'duration' or 'until'")
        return self


def parse_moment(text: str) -> datetime:
    """Return the moment in UTC. Raises: ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a moment: write it as 2027-01-31T08:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{quoted(text)} has no time zone: add Z or an offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{quoted(text)} is outside the years 1 to 9999") from None


class Delay(NodeType[DelayParams]):
    """Waits without keeping the execution in memory. Returns its input."""

    type = "delay"
    examples = (
        "type: delay\nparams: {duration: 10m}\n",
        "type: delay\nparams: {until: '${input.due_at}'}\n",
    )
    Params = DelayParams
    pure = True
    timeout_seconds = None

    async def run(self, params: DelayParams, context: StepContext) -> Suspend:
        if params.until is not None:
            try:
                until = parse_moment(params.until)
            except ValueError as error:
                raise NodeFailure("input.invalid", str(error)) from None
        else:
            assert params.duration is not None, "the model requires one of them"
            until = context.now() + timedelta(seconds=seconds_of(params.duration))
        limit = limit_of(context)
        fail_at_deadline = limit is not None and limit < until
        return Suspend(
            wait_for=TimeWait(until),
            deadline=limit if fail_at_deadline else None,
            fail_at_deadline=fail_at_deadline,
            result=context.input,
        )
