"""Configuration values from a file."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from flowrunner.cli.text import plain
from flowrunner.domain.config import config_faults
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
        reason = (isinstance(error, OSError) and error.strerror) or "it is not UTF-8 text"
        raise click.UsageError(f"{option}{plain(path)} cannot be read: {reason}") from None
    except InvalidFlow as error:
        fault = error.faults[0]
        raise click.UsageError(plain(f"{option}{path}, line {fault.line}: {fault.message}")) from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{option}{plain(path)} must be a map of names and values")
    for name, one in value.items():
        for fault in config_faults(name, one, characters=len(msgspec.json.encode(one).decode())):
            said = "name" if fault.path == "name" else "value"
            raise click.UsageError(plain(f"{option}{path}: the {said} of '{name}' {fault.message}"))
    return value
