"""Durations in the parameters of node types."""

from datetime import datetime, timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from flowrunner.domain.duration import hint_for, parse_duration
from flowrunner.nodes.checks import checked
from flowrunner.plugin import StepContext


def _with_a_unit(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"must be a duration: {hint_for(value)}")
    return value


Duration: TypeAlias = Annotated[str, BeforeValidator(_with_a_unit), checked(parse_duration)]


def limit_of(context: StepContext, written: str | None = None) -> datetime | None:
    """Return the moment at which the time of a node that waits is over; None for never.

    Args:
        written: The time limit that its parameters name, in place of the node's own.
    """
    seconds = context.timeout_seconds if written is None else parse_duration(written)
    return None if seconds is None else context.now() + timedelta(seconds=seconds)
