"""Checks of parameters whose values may be known only when a node runs."""

from collections.abc import Callable

from pydantic import AfterValidator, ValidationInfo

from flowrunner.language.parameter_faults import AS_WRITTEN
from flowrunner.plugin import JSON


def is_known(value: JSON, info: ValidationInfo) -> bool:
    """Return whether a value is that with which a node runs, and not an expression in a flow."""
    return info.context is not AS_WRITTEN or not (isinstance(value, str) and "${" in value)


def checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator of a text, by a function that raises ValueError, as soon as its value is known."""

    def validate(text: str, info: ValidationInfo) -> str:
        if is_known(text, info):
            check(text)
        return text

    return AfterValidator(validate)


def check_server_name(text: str, *, example: str) -> None:
    """Raise ValueError unless a text is the name of a server alone, such as the example."""
    if "://" in text or "/" in text:
        raise ValueError(f"must be the name of a server alone, such as {example}")
    if text.count(":") == 1:
        raise ValueError("must be the name of a server alone: write the port as 'port'")
    if any(character <= " " or character == "\x7f" for character in text):
        raise ValueError("must have no blanks or control characters")
