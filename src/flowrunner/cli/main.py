"""The program `flowrunner`: a table of its commands, and the exit codes of errors."""

import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from flowrunner import __version__
from flowrunner.cli.common import common_options
from flowrunner.cli.exits import FAILED, INTERRUPTED, USAGE
from flowrunner.cli.lazy import LazyCommand, LazyGroup
from flowrunner.domain.errors import FlowRunnerError

# Each name stands for a command in the module of `flowrunner.cli.commands` that has the same name, unless it is in
# another one.
_COMMANDS: Final = {
    "audit": "Check the audit log.",
    "backup": "Write a checked backup, also of a running server.",
    "config": "Print the settings in force.",
    "context": "Choose among servers.",
    "copy": "Move an installation from SQLite to PostgreSQL.",
    "doctor": "Check an installation, and say what to do.",
    "graph": "Print the graph of a flow, for documents.",
    "keys": "Replace the keys in the data directory.",
    "login": "Log in to a server.",
    "logout": "Forget the token of a server.",
    "migrate": "Bring the database to the schema of this version.",
    "options": "List the options of all commands that talk to a server.",
    "pause": "Let no further execution start.",
    "prune": "Delete the executions that retention does not keep.",
    "restore": "Restore a backup into an empty data directory.",
    "run": "Run a flow here, without a server.",
    "schema": "Print the JSON Schema of flows, for editors.",
    "serve": "Start the server.",
    "test": "Run the tests in flows.",
    "unpause": "Let executions start again.",
    "validate": "Check flows: every fault and warning.",
    "whoami": "Print who you are, and where.",
    "worker": "Start a worker, which advances executions for Temporal.",
}


_MODULES: Final = {"logout": "login", "unpause": "pause", "whoami": "login"}


def _commands() -> Iterator[LazyCommand]:
    for name, short_help in _COMMANDS.items():
        attribute = name.replace("-", "_")
        module = _MODULES.get(name, attribute)
        yield LazyCommand(name, f"flowrunner.cli.commands.{module}:{attribute}", short_help)


class _Program(LazyGroup):
    """Command group that turns exceptions into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowRunnerError as error:
            _exit_with(error)
        except KeyboardInterrupt:
            click.echo("flowrunner: interrupted", err=True)
            sys.exit(INTERRUPTED)


def _exit_with(error: FlowRunnerError) -> None:
    from flowrunner.settings import InvalidSettings

    if isinstance(error, InvalidSettings):
        click.echo(f"The settings have mistakes:\n{error}", err=True)
        sys.exit(USAGE)
    click.echo(f"flowrunner: {error}", err=True)
    sys.exit(FAILED)


@click.group(
    cls=_Program,
    commands=list(_commands()),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""
    \b
    Without a server:
      flowrunner validate order.yaml
      flowrunner test flows/
      flowrunner run --local order.yaml -i customer=Ada

    \b
    With one:
      flowrunner serve
    """,
)
@click.version_option(__version__, message="flowrunner %(version)s")
def main() -> None:
    """Run flows: YAML documents of named nodes joined by named edges."""


main.params += common_options()
