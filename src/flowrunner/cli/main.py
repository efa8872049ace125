"""Starts the server, and shows what it would start with.

Everything heavy is imported by the command that needs it: `--help` should not take a second.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

import click

from flowrunner import __version__
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import InvalidSettings, Settings, describe, load_settings

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="flowrunner %(version)s")
def main() -> None:
    """Run flows: YAML documents of named nodes joined by named edges."""


def _settings_options(function: F) -> F:
    for known in reversed(fields(Settings)):
        # A secret given as an argument could be read by every user of the machine.
        if not known.metadata["secret"]:
            flag = f"--{known.name.replace('_', '-')}"
            function = click.option(flag, known.name, help=known.metadata["help"])(function)
    return function


def _load(flags: dict[str, str | None]) -> Settings:
    try:
        return load_settings(flags, os.environ)
    except InvalidSettings as error:
        click.echo(f"The settings have mistakes:\n{error}", err=True)
        sys.exit(EXIT_USAGE)


@main.command()
@_settings_options
def serve(**flags: str | None) -> None:
    """Start the server."""
    settings = _load(flags)
    import uvloop

    from flowrunner.serving import serve as run

    try:
        uvloop.run(run(settings))
    except FlowRunnerError as error:
        click.echo(f"flowrunner: {error}", err=True)
        sys.exit(EXIT_FAILED)


@main.command()
@_settings_options
def config(**flags: str | None) -> None:
    """Print the settings in force, secrets masked."""
    for name, value, help in describe(_load(flags)):
        click.echo(f"# {help}\n{name} = {value}\n")


@main.group()
def keys() -> None:
    """The keys in the data directory."""


@keys.command()
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(["master", "data", "signing"]))
@_settings_options
def rotate(kinds: tuple[str, ...], **flags: str | None) -> None:
    """Replace keys while no server runs. A running one is asked with POST /api/v1/keys/rotations.

    Nothing becomes unreadable, and nobody has to log in again.
    """
    settings = _load(flags)
    from flowrunner.cli.keys import rotate as run

    try:
        run(settings, kinds)
    except FlowRunnerError as error:
        click.echo(f"flowrunner: {error}", err=True)
        sys.exit(EXIT_FAILED)


@main.command()
@click.argument("type", required=False)
def schema(type: str | None) -> None:
    """Print the JSON Schema of flows, for editors; with TYPE that of one node type's parameters."""
    from flowrunner.cli.schema import print_schema

    sys.exit(print_schema(type))


@main.group()
def audit() -> None:
    """The audit log."""


@audit.command()
@click.option(
    "--database", type=click.Path(dir_okay=False), help="A copy to check, instead of the one in the data dir."
)
@click.option("--expect", metavar="SEQ:HASH", help="Number and hash of an entry as noted before; it must be there.")
@_settings_options
def verify(database: str | None, expect: str | None, **flags: str | None) -> None:
    """Check that no entry was changed, removed or put in between. A running server does not mind.

    Exits with 0 if all is as it was written, with 1 if not, and with 2 if that cannot be told. It prints the
    number and hash of the last entry: note them elsewhere, and --expect finds out whether the end was cut off.
    """
    settings = _load(flags)
    from flowrunner.cli.audit import verify as run

    try:
        is_whole = run(settings, database=database, expect=expect)
    except FlowRunnerError as error:
        click.echo(f"flowrunner: {error}", err=True)
        sys.exit(EXIT_USAGE)
    if not is_whole:
        sys.exit(EXIT_FAILED)
