"""The program `flowrunner`: a table of its commands, and the exit codes of errors."""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, NoReturn

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
    "callback": "Manage callbacks.",
    "cancel": "Cancel executions.",
    "completion": "Print the completion script of a shell.",
    "config": "Print the effective settings.",
    "context": "Manage connections to servers.",
    "copy": "Move an installation from SQLite to PostgreSQL.",
    "dev": "Start a server for development.",
    "diff": "Compare a directory of flows with a server.",
    "doctor": "Diagnose an installation.",
    "executions": "List and inspect executions.",
    "export": "Export flows to a directory.",
    "flow": "Manage flows.",
    "fmt": "Format the YAML of flows.",
    "graph": "Print the graph of a flow, for documents.",
    "import": "Import flows from OpenAPI or n8n.",
    "job": "Follow and stop jobs on many executions.",
    "keys": "Replace the keys in the data directory.",
    "login": "Log in to a server.",
    "logout": "Log out of a server.",
    "logs": "Print the log of an execution.",
    "mcp": "Connect an agent to a server.",
    "migrate": "Migrate the database schema.",
    "new": "Begin a flow from a template.",
    "node-types": "Look up node types.",
    "open": "Open the web interface.",
    "options": "List the options shared by all client commands.",
    "pause": "Stop starting executions.",
    "plugin": "List installed packages of node types.",
    "prune": "Delete executions whose retention has ended.",
    "rerun": "Re-run executions.",
    "restore": "Restore a backup into an empty data directory.",
    "run": "Run a flow, on a server or locally.",
    "schema": "Print the JSON Schema of flows, for editors.",
    "secret": "Manage secrets.",
    "serve": "Start the server.",
    "signal": "Send a signal to an execution.",
    "store": "Manage the values that flows keep.",
    "test": "Run the tests of flows.",
    "token": "Manage API tokens.",
    "trigger": "Manage triggers.",
    "unpause": "Resume starting executions.",
    "validate": "Check flows: every fault and warning.",
    "value": "Manage configuration values.",
    "version": "Print the version.",
    "watch": "Watch an execution until it ends.",
    "whoami": "Print the current account and server.",
    "worker": "Start a Temporal worker.",
    "workspace": "Manage workspaces.",
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

# What the same is called elsewhere, where no name here is like it.
_NAMES_ELSEWHERE: Final = {
    "deploy": "apply", "lint": "validate", "start": "serve", "status": "doctor", "user": "account", "users": "account",
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if (name := _NAMES_ELSEWHERE.get(args[0])) is not None:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{name}'?")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            # What is still to be written would be tried again at the end, and told in Python's words.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo("flowrunner: No space left for the output: free some disk space", err=True)
            sys.exit(FAILED)

    def invoke(self, ctx: click.Context) -> Any:
        _replace_closed_streams()
        _escape_what_cannot_be_printed()
        try:
            return super().invoke(ctx)
        except FlowRunnerError as error:
            _exit_with(error)
        except click.ClickException as error:
            # It may quote a file or a server.
            error.message = plain(error.message)  # type: ignore[misc] # click sets it so itself
            raise
        except KeyboardInterrupt:
            _exit_interrupted()
        except click.Abort as error:
            # A prompt turns Ctrl-C into this, and the end of the input too.
            if isinstance(error.__context__, KeyboardInterrupt):
                click.echo(err=True)
                _exit_interrupted()
            raise


def _replace_closed_streams() -> None:
    """Read nothing from a stream that was closed before the start, as by `<&-`, and discard what is written to one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 # until the process ends


def _escape_what_cannot_be_printed() -> None:
    """Print characters that the encoding of the terminal lacks as escapes, which are those of JSON."""
    codecs.register_error("flowrunner.escape", _escaped)
    if isinstance(sys.stdout, TextIOWrapper) and codecs.lookup(sys.stdout.encoding).name != "utf-8":
        sys.stdout.reconfigure(errors="flowrunner.escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError), "it is registered for output"
    # Of a character beyond the first plane, JSON escapes both halves.
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


def _exit_interrupted() -> NoReturn:
    click.echo("flowrunner: interrupted", err=True)
    sys.exit(INTERRUPTED)


def _exit_with(error: FlowRunnerError) -> None:
    from flowrunner.settings import InvalidSettings

    if isinstance(error, InvalidSettings):
        click.echo(f"Invalid settings:\n{plain(str(error))}", err=True)
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
