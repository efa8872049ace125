"""Node type `delay`: wait for a duration, or until a moment."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import quoted
from flowrunner.nodes.checks import checked
from flowrunner.nodes.durations import Duration, limit_of
from flowrunner.plugin import NodeType, Params, StepContext, Suspend, TimeWait


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


class DelayParams(Params):
    duration: Duration | None = Field(default=None, description="How long to wait: 500ms, 10s, 5m, 2h, 1d or PT10S.")
    until: Annotated[str, checked(parse_moment)] | None = Field(
        default=None, description="The moment to wait for: 2027-01-31T08:00:00Z."
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.duration is None) == (self.until is None):
            raise ValueError("give either 'duration' or 'until'")
        return self


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
            until = parse_moment(params.until)
        else:
            assert params.duration is not None, "the model requires one of them"
            until = context.now() + timedelta(seconds=parse_duration(params.duration))
        limit = limit_of(context)
        fail_at_deadline = limit is not None and limit < until
        return Suspend(
            wait_for=TimeWait(until),
            deadline=limit if fail_at_deadline else None,
            fail_at_deadline=fail_at_deadline,
            result=context.input,
        )
