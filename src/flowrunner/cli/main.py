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


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github: annotations for a pull request.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def validate(files: tuple[str, ...], output: str, strict: bool) -> None:
    """Check flows without a server: every fault and warning, with its line.

    FILE is a file, a directory, or - for the standard input. Exits with 0 if all is well, and with 6 if not.
    """
    from flowrunner.cli.validate import validate as run

    sys.exit(run(files, output=output, strict=strict))


@main.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-k", "wanted", metavar="NAME", help="Only tests with this in their name.")
@click.option("--coverage", is_flag=True, help="Tell which edges no test went along.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write the results there, as JUnit XML.")
def test(files: tuple[str, ...], wanted: str | None, coverage: bool, output: str, junit: str | None) -> None:
    """Run the tests that flows bring along: offline, with mocked nodes, on a clock that leaps.

    FILE is a file, a directory, or - for the standard input; flows may start others among them. Exits with 0 if
    all tests passed, with 1 if one failed, and with 6 if a flow is invalid.
    """
    from flowrunner.cli.test import run_tests

    sys.exit(run_tests(files, wanted=wanted, coverage=coverage, output=output, junit=junit))


@main.command()
@click.option("--local", "file", metavar="FILE", required=True, help="Run this flow here, without a server.")
@click.option("--with", "others", metavar="FILE", multiple=True, help="A further flow, which the flow may start.")
@click.option("-i", "--input", metavar="JSON|@FILE|-", help="The input: a JSON object, a file of it, or stdin.")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="One value of the input.")
@click.option("--secrets", "secrets_file", metavar="FILE", help="A .env file that only you can read.")
@click.option("--egress-allow", metavar="RANGES", help="Closed address ranges that the flow may connect to.")
@click.option("-q", "--quiet", is_flag=True, help="Do not tell what happens meanwhile.")
def run(**options: Any) -> None:
    """Run a flow. Its result goes to the standard output, what happens meanwhile to the standard error.

    Secrets are read from FLOWRUNNER_SECRET_<NAME>, or from a file. Nothing is kept: if the process ends, so does
    the flow. Exits with 0 if it completed, 3 if it failed, 6 if the flow or its input is invalid, 9 if it was
    cancelled, and 130 after Ctrl-C, which cancels it.
    """
    from flowrunner.cli.run import run_locally

    try:
        sys.exit(run_locally(options.pop("file"), **options))
    except InvalidSettings as error:
        click.echo(f"The settings have mistakes:\n{error}", err=True)
        sys.exit(EXIT_USAGE)


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
