"""Options of commands that read the settings of a server."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from flowrunner.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[F], F]:
    """Add an option for each of these settings, or for every setting if none is named."""

    def add(function: F) -> F:
        for known in reversed(fields(Settings)):
            # Every user of the machine can read arguments, so secrets have no option.
            if not known.metadata["secret"] and (not names or known.name in names):
                flag = f"--{known.name.replace('_', '-')}"
                function = click.option(flag, known.name, help=known.metadata["help"])(function)
        return function

    return add
