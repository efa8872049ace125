"""The program `flowrunner`: a table of its commands, and the exit codes of errors."""

import errno
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from flowrunner import __version__
from flowrunner.cli.common import common_options
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED, INTERRUPTED, NOT_FOUND, USAGE
from flowrunner.cli.lazy import LazyCommand, LazyGroup
from flowrunner.cli.text import plain
from flowrunner.domain.errors import FlowRunnerError, NotFound

# Each name stands for a command in the module of `flowrunner.cli.commands` that has the same name, unless it is in
# another one.
_COMMANDS: Final = {
    "account": "Manage accounts.",
    "api": "Send a request to the API.",
    "apply": "Deploy a directory of flows.",
    "approve": "Answer approvals.",
    "audit": "Read and check the audit log.",
    "backup": "Write a checked backup, also of a running server.",
    "callback": "Tell other servers of executions.",
    "cancel": "Cancel executions.",
    "completion": "Print the completion for a shell.",
    "config": "Print the settings in force.",
    "context": "Choose among servers.",
    "copy": "Move an installation from SQLite to PostgreSQL.",
    "dev": "Start a server for development.",
    "diff": "Compare a directory of flows.",
    "doctor": "Check an installation, and say what to do.",
    "executions": "Look at executions.",
    "export": "Write flows into a directory.",
    "flow": "Create and change flows.",
    "graph": "Print the graph of a flow, for documents.",
    "import": "Make flows of documents of others.",
    "keys": "Replace the keys in the data directory.",
    "login": "Log in to a server.",
    "logout": "Forget the token of a server.",
    "logs": "Print the log of an execution.",
    "mcp": "Connect an agent to a server.",
    "migrate": "Bring the database to the schema of this version.",
    "node-types": "Look up node types.",
    "open": "Open the web interface.",
    "options": "List the options of all commands that talk to a server.",
    "pause": "Let no further execution start.",
    "plugin": "Look up installed packages.",
    "prune": "Delete the executions that retention does not keep.",
    "rerun": "Repeat executions.",
    "restore": "Restore a backup into an empty data directory.",
    "run": "Run a flow, on a server or here.",
    "schema": "Print the JSON Schema of flows, for editors.",
    "secret": "Set secrets.",
    "serve": "Start the server.",
    "test": "Run the tests in flows.",
    "token": "Manage API tokens.",
    "trigger": "Look at triggers, and run them.",
    "unpause": "Let executions start again.",
    "validate": "Check flows: every fault and warning.",
    "version": "Print the version.",
    "watch": "Follow an execution.",
    "whoami": "Print who you are, and where.",
    "worker": "Start a worker, which advances executions for Temporal.",
    "workspace": "Work in a workspace.",
}


# Commands that the help describes; it lists the others by name.
_SECTIONS: Final = {
    "Flows": ("validate", "test", "run", "flow", "apply"),
    "Executions": ("executions", "watch", "logs", "rerun", "approve"),
    "Servers": ("dev", "serve", "doctor", "login", "secret"),
}
_MODULES: Final = {
    "logout": "login", "whoami": "login", "unpause": "pause", "diff": "apply", "export": "apply",
    **dict.fromkeys(("logs", "watch", "cancel", "rerun"), "executions"),
}  # fmt: skip


def _commands() -> Iterator[LazyCommand]:
    for name, short_help in _COMMANDS.items():
        attribute = "import_" if name == "import" else name.replace("-", "_")
        module = _MODULES.get(name, attribute)
        yield LazyCommand(name, f"flowrunner.cli.commands.{module}:{attribute}", short_help)


class _Program(LazyGroup):
    """Command group that turns exceptions into messages and exit codes."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rest = sorted(self.commands.keys() - {name for names in _SECTIONS.values() for name in names})
        for title, names in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _COMMANDS[name]) for name in names if name in _COMMANDS], col_max=12)
        with formatter.section("Other commands"):
            formatter.write_text(", ".join(rest))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowRunnerError as error:
            _exit_with(error)
        except click.ClickException as error:
            # It may quote a file or a server.
            error.message = plain(error.message)  # type: ignore[misc] # click sets it so itself
            raise
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            click.echo("flowrunner: There is no room for the output: free space where it is written", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("flowrunner: interrupted", err=True)
            sys.exit(INTERRUPTED)


def _exit_with(error: FlowRunnerError) -> None:
    from flowrunner.settings import InvalidSettings

    if isinstance(error, InvalidSettings):
        click.echo(f"The settings have mistakes:\n{plain(str(error))}", err=True)
        sys.exit(USAGE)
    click.echo(f"flowrunner: {plain(str(error))}", err=True)
    sys.exit(NOT_FOUND if isinstance(error, NotFound) else FAILED)


@click.group(
    cls=_Program,
    commands=list(_commands()),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("run order.yaml -i customer=Ada", "run order-sync -i order=7 --wait"),
)
@click.version_option(__version__, message="flowrunner %(version)s")
def main() -> None:
    """Run flows: YAML documents of named nodes joined by named edges."""


main.params += common_options()
