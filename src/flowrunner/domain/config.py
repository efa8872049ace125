"""Configuration values of a workspace: their bounds, and the values that expressions read."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flowrunner.domain.errors import Fault
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.prepared import Mentions
from flowrunner.domain.values import JSON

NO_CONFIG: Final[Mapping[str, JSON]] = {}
MAX_VALUES: Final = 200
# As JSON.
MAX_VALUE_CHARACTERS: Final = 8 * 1024
# Of all values together, because an execution records those that its flow names.
MAX_CHARACTERS: Final = 64 * 1024
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def config_faults(name: str, value: JSON, *, characters: int) -> Sequence[Fault]:
    """Return why a workspace cannot have a value, at ``name`` or ``value``.

    Args:
        characters: Size of the value as JSON.
    """
    faults = []
    if not _NAME.fullmatch(name):
        message = "must be 1 to 128 letters, digits and underscores, and not start with a digit"
        faults.append(Fault(path="name", code="name", message=message))
    if value is None:
        faults.append(Fault(path="value", code="required", message="must not be null", hint="delete the value instead"))
    if characters > MAX_VALUE_CHARACTERS:
        message = f"must have at most {MAX_VALUE_CHARACTERS} characters of JSON, and has {characters}"
        faults.append(Fault(path="value", code="too_long", message=message))
    return faults


def config_of(mentions: Mentions, values: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the named configuration values. Raises: ExpressionFailed if one without a default does not exist."""
    found: dict[str, JSON] = {}
    for name in sorted(mentions.config):
        if name in values:
            found[name] = values[name]
        elif ("config", name) in mentions.needed:
            raise ExpressionFailed(no_config(name))
    return found


def no_config(name: str) -> str:
    return f"${{config.{name}}}: there was no configuration value '{name}' at the start"
