"""Configuration values from a file."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from flowrunner.cli.common import unusable, why_unreadable
from flowrunner.cli.text import plain
from flowrunner.domain.config import MAX_CHARACTERS, MAX_VALUES, config_faults
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import read_yaml


def read_config(path: str, option: str = "") -> Mapping[str, JSON]:
    """Return the configuration values of a file: a map in YAML or JSON.

    Args:
        option: Beginning of the messages of errors.

    Raises:
        click.UsageError: If the file cannot be read, is no map, or has what no workspace can have.
    """
    try:
        value = read_yaml(Path(path).read_text(encoding="utf-8-sig")).value
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{option}{plain(path)} cannot be read: {why_unreadable(error)}") from None
    except InvalidFlow as error:
        fault = error.faults[0]
        raise click.UsageError(plain(f"{option}{path}, line {fault.line}: {fault.message}")) from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{option}{plain(path)} must be a map of names and values")
    for name, one in value.items():
        for fault in config_faults(name, one, characters=_characters(one)):
            said = "name" if fault.path == "name" else "value"
            raise click.UsageError(plain(f"{option}{path}: the {said} of '{name}' {fault.message}"))
    return value


def check_bounds(path: str, values: Mapping[str, JSON]) -> None:
    """Reject a file after which a workspace would have these values, and may not. Raises: CommandFailed."""
    if len(values) > MAX_VALUES:
        raise unusable(f"{path}: the workspace would have {counted(len(values), 'value')}, and may have {MAX_VALUES}")
    if (characters := sum(map(_characters, values.values()))) > MAX_CHARACTERS:
        raise unusable(
            f"{path}: the values of the workspace would have {characters} characters of JSON together, and may have "
            f"{MAX_CHARACTERS}"
        )


def _characters(value: JSON) -> int:
    return len(msgspec.json.encode(value).decode())
