"""Lengths of time among the parameters of node types."""

from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from flowrunner.domain.duration import parse_duration
from flowrunner.plugin import NodeFailure


def _readable(text: str) -> str:
    # As written in a flow it may still be an expression.
    if "${" not in text:
        parse_duration(text)
    return text


Duration: TypeAlias = Annotated[str, AfterValidator(_readable)]


def seconds_of(text: str) -> float:
    """Raises: NodeFailure: `input.invalid`; what an expression has come to may hold a `${` of its own."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise NodeFailure("input.invalid", str(error)) from None
