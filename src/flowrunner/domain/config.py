"""Configuration values of a workspace: their bounds, and the values that expressions read."""

from collections.abc import Iterable, Mapping
from typing import Final

from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.values import JSON

NO_CONFIG: Final[Mapping[str, JSON]] = {}
MAX_VALUES: Final = 200
# As JSON.
MAX_VALUE_CHARACTERS: Final = 8 * 1024
# Of all values together, because an execution records those that its flow names.
MAX_CHARACTERS: Final = 64 * 1024


def config_of(names: Iterable[str], values: Mapping[str, JSON]) -> dict[str, JSON]:
    """Return the named configuration values. Raises: ExpressionFailed if one does not exist."""
    found: dict[str, JSON] = {}
    for name in sorted(names):
        if name not in values:
            raise ExpressionFailed(f"${{config.{name}}}: there was no configuration value '{name}' at the start")
        found[name] = values[name]
    return found
