"""Durations in the parameters of node types."""

from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator

from flowrunner.domain.duration import hint_for, parse_duration
from flowrunner.plugin import NodeFailure, StepContext


def _readable(text: str) -> str:
    # In a flow document the value may be an expression.
    if "${" not in text:
        parse_duration(text)
    return text


def _with_a_unit(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"must be a duration: {hint_for(value)}")
    return value


Duration: TypeAlias = Annotated[str, BeforeValidator(_with_a_unit), AfterValidator(_readable)]


def seconds_of(text: str) -> float:
    """Return the seconds of a resolved duration.

    Raises:
        NodeFailure: `input.invalid`. The model accepts text with `${`, and a resolved value may hold one.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise NodeFailure("input.invalid", str(error)) from None


def limit_of(context: StepContext, written: str | None = None) -> datetime | None:
    """Return the moment at which the time of a node that waits is over; None for never.

    Args:
        written: The time limit that its parameters name, in place of the node's own.
    """
    seconds = context.timeout_seconds if written is None else seconds_of(written)
    return None if seconds is None else context.now() + timedelta(seconds=seconds)
