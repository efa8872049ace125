"""Options of commands that read the settings of a server."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

import click

from flowrunner.settings import Settings

# The options that the help of a command shows which takes all settings.
_SHOWN: Final = ("host", "port", "data_dir", "public_url", "dispatch", "egress_allow", "log_level")
F = TypeVar("F", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[F], F]:
    """Add an option for each of these settings, or for every setting if none is named."""

    def add(function: F) -> F:
        for known in reversed(fields(Settings)):
            # Every user of the machine can read arguments, so secrets have no option.
            if not known.metadata["secret"] and (not names or known.name in names):
                flag = f"--{known.name.replace('_', '-')}"
                kind = click.Option if names or known.name in _SHOWN else _RareOption
                function = click.option(flag, known.name, cls=kind, help=known.metadata["help"])(function)
        return function

    return add


class _RareOption(click.Option):
    """Option that `flowrunner config` describes, and not the help of the command."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        return None
