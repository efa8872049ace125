"""Commands with their options, help and exit codes.

Each command imports its own modules, so that `--help` stays fast.
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
EXIT_INTERRUPTED: Final = 130


class _Program(click.Group):
    """Command group that turns exceptions into messages and exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidSettings as error:
            click.echo(f"The settings have mistakes:\n{error}", err=True)
            sys.exit(EXIT_USAGE)
        except FlowRunnerError as error:
            click.echo(f"flowrunner: {error}", err=True)
            sys.exit(EXIT_FAILED)
        except KeyboardInterrupt:
            click.echo("flowrunner: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


@click.group(
    cls=_Program,
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


def _settings_options(*names: str) -> Callable[[F], F]:
    """Add an option for each of these settings, or for every setting if none is named."""

    def add(function: F) -> F:
        for known in reversed(fields(Settings)):
            # Every user of the machine can read arguments, so secrets have no option.
            if not known.metadata["secret"] and (not names or known.name in names):
                flag = f"--{known.name.replace('_', '-')}"
                function = click.option(flag, known.name, help=known.metadata["help"])(function)
        return function

    return add


# The server


@main.command(short_help="Start the server.")
@_settings_options()
def serve(**flags: str | None) -> None:
    """Start the server. Ctrl-C or SIGTERM stops it in an orderly way; executions continue after the next start.

    Each option is also a variable (FLOWRUNNER_PORT) and a key of flowrunner.toml (port).
    """
    settings = load_settings(flags, os.environ)
    import uvloop

    from flowrunner.serving import serve as run

    uvloop.run(run(settings))


@main.command(short_help="Start a worker, which advances executions for Temporal.")
@_settings_options()
def worker(**flags: str | None) -> None:
    """Start a worker, which advances executions that Temporal assigns to it. Any number of workers share the work.

    It needs FLOWRUNNER_DISPATCH and FLOWRUNNER_DATABASE_URL, and the keys of the servers. On its port it serves
    /healthz, /readyz and /metrics. Ctrl-C or SIGTERM stops it in an orderly way; other workers continue its executions.
    """
    settings = load_settings(flags, os.environ)
    import uvloop

    from flowrunner.serving import serve as run

    uvloop.run(run(settings, is_worker=True))


@main.command(short_help="Print the settings in force.")
@_settings_options()
def config(**flags: str | None) -> None:
    """Print the settings in force, secrets masked."""
    for name, value, help in describe(load_settings(flags, os.environ)):
        click.echo(f"# {help}\n{name} = {value}\n")


@main.group(short_help="Replace the keys in the data directory.")
def keys() -> None:
    """Replace the keys in the data directory."""


@keys.command(short_help="Replace keys while no server runs.")
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(["master", "data", "signing"]))
@_settings_options("data_dir")
def rotate(kinds: tuple[str, ...], **flags: str | None) -> None:
    """Replace keys while no server runs. For a running server, use POST /api/v1/keys/rotations.

    All data stays readable, and all sessions stay valid.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.keys import rotate as run

    run(settings, kinds)


@main.command(short_help="Bring the database to the schema of this version.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if the database has another schema.")
@_settings_options("data_dir")
def migrate(check: bool, **flags: str | None) -> None:
    """Bring the database to the schema of this version. The server does the same when it starts.

    The database is the file in the data directory, or the one that FLOWRUNNER_DATABASE_URL names.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.database import migrate as run

    if not run(settings, check=check):
        sys.exit(EXIT_FAILED)


@main.command(short_help="Move an installation from SQLite to PostgreSQL.")
@click.option("--from", "source", metavar="URL", help="sqlite:///PATH; the file in the data directory by default.")
@click.option("--to", "target", metavar="URL", help="postgresql://…; FLOWRUNNER_DATABASE_URL by default.")
@_settings_options("data_dir")
def copy(source: str | None, target: str | None, **flags: str | None) -> None:
    """Move an installation from its SQLite file into an empty PostgreSQL database.

    No server may run meanwhile. The copied rows are compared with the original by counts and hashes, and the file is
    not changed. Keep the data directory: the server still needs the keys in it.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.database import copy as run

    run(settings, source=source, target=target)


@main.group(short_help="Check the audit log.")
def audit() -> None:
    """Check the audit log."""


@audit.command(short_help="Check that it was not changed.")
@click.option(
    "--database", type=click.Path(dir_okay=False), help="A copy to check, instead of the one in the data dir."
)
@click.option("--expect", metavar="SEQ:HASH", help="Number and hash of an entry that must be in the log.")
@_settings_options("data_dir")
def verify(database: str | None, expect: str | None, **flags: str | None) -> None:
    """Check that no entry was changed, removed or inserted. The server may run meanwhile.

    Exits with 0 if the log is intact, with 1 if not, and with 2 if it cannot be checked. It prints the number and
    hash of the last entry: store them elsewhere, and --expect detects whether later entries were cut off.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.audit import verify as run

    try:
        is_whole = run(settings, database=database, expect=expect)
    except FlowRunnerError as error:
        click.echo(f"flowrunner: {error}", err=True)
        sys.exit(EXIT_USAGE)
    if not is_whole:
        sys.exit(EXIT_FAILED)


# Without a server


@main.command(short_help="Print the graph of a flow, for documents.")
@click.argument("file")
def graph(file: str) -> None:
    """Print the graph of a flow as a Mermaid flowchart, which Markdown on GitHub and elsewhere draws.

    FILE is a flow, or `-` for the standard input. Exits with 6 if there is nothing to draw.
    """
    from flowrunner.cli.graph import print_graph

    sys.exit(print_graph(file))


@main.command(short_help="Print the JSON Schema of flows, for editors.")
@click.argument("type", required=False)
def schema(type: str | None) -> None:
    """Print the JSON Schema of flows, for editors; with TYPE that of one node type's parameters."""
    from flowrunner.cli.schema import print_schema

    sys.exit(print_schema(type))


@main.command(
    short_help="Check flows: every fault and warning.",
    epilog="""
    \b
    Examples:
      flowrunner validate order.yaml
      flowrunner validate --strict -o github flows/
      flowrunner validate - < order.yaml
      flowrunner validate --stored --data-dir /var/lib/flowrunner

    Exits with 0 if there is no fault, with 6 if a flow has faults, and with 2 if a file cannot be read.
    """,
)
@click.argument("files", metavar="FILE...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="Format of the output; github: annotations for a pull request.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--secrets", metavar="FILE", help="A .env file: warn about secrets that it does not have.")
@click.option("--stored", is_flag=True, help="Check the flows in the database instead, before an upgrade.")
@_settings_options("data_dir")
def validate(
    files: tuple[str, ...], output: str, strict: bool, secrets: str | None, *, stored: bool, **flags: str | None
) -> None:
    """Check flows without a server: every fault and warning, each with its place and a hint.

    FILE is a file, a directory (every .yaml and .yml in it that has 'nodes'), or - for the standard input.
    With --stored: check the flows of an installation with this version, and the revisions that running executions
    follow. The database is only read; a server of another version may use it meanwhile.
    """
    if stored == bool(files):
        raise click.UsageError("Name files, or give --stored: one of the two")
    if stored:
        if secrets is not None:
            raise click.UsageError("--secrets is for files: a server knows the secrets of each account")
        settings = load_settings(flags, os.environ)
        from flowrunner.cli.stored import validate_stored

        sys.exit(validate_stored(settings, output=output, strict=strict))
    from flowrunner.cli.validate import validate as run

    sys.exit(run(files, output=output, strict=strict, secrets_file=secrets))


@main.command(
    short_help="Run the tests in flows.",
    epilog="""
    \b
    Examples:
      flowrunner test order.yaml
      flowrunner test flows/ -k refund
      flowrunner test flows/ --coverage --junit results.xml

    Exits with 0 if all tests passed, with 1 if one failed, with 6 if a flow has faults, and with 2 if there
    was nothing to run.
    """,
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-k", "wanted", metavar="TEXT", help="Only tests with this in their name.")
@click.option("--coverage", is_flag=True, help="Print the edges that no test has taken.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="How long one test may take. Waits of the flow are skipped and do not count.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Also write the results as JUnit XML.",
)
def test(**options: Any) -> None:
    """Run the tests in flows: offline, with mocked nodes, on a virtual clock.

    FILE is a file, a directory (every .yaml and .yml in it that has 'nodes'), or - for the standard input. Flows
    may start each other.
    """
    from flowrunner.cli.test import run_tests

    sys.exit(run_tests(options.pop("files"), **options))


@main.command(
    short_help="Run a flow here, without a server.",
    epilog="""
    \b
    Examples:
      flowrunner run --local order.yaml -i customer=Ada -i count=3
      flowrunner run --local order.yaml -i @input.json --secrets .env > out.json
      flowrunner run --local order.yaml --approve ask --signal paid=20

    Nothing is stored: the flow ends with the process. Ctrl-C cancels it and lets on_finish run; a second Ctrl-C
    stops immediately.

    Exits with 0 if the flow completed, 3 if it failed, 6 if it or its input is invalid, 9 if it was
    cancelled, and 130 after Ctrl-C.
    """,
)
# The metavar makes the usage line correct, because --local is required.
@click.argument("misplaced", metavar="--local FILE", nargs=-1)
@click.option("--local", "file", metavar="FILE", help="The flow; - reads it from the standard input.")
@click.option(
    "--with",
    "others",
    metavar="FILE",
    multiple=True,
    help="A further flow, or a directory of them, for the flow to start.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    metavar="NAME=VALUE|JSON|@FILE|-",
    multiple=True,
    help="Input: one value, a JSON object, a file with one, or the standard input. The last value is used.",
)
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="The same as -i NAME=VALUE.")
@click.option(
    "--secrets",
    "secrets_file",
    metavar="FILE",
    help="A .env file that only you can read. Secrets are also read from FLOWRUNNER_SECRET_<NAME>.",
)
@click.option(
    "--approve", metavar="NODE[=JSON]", multiple=True, help="Approve the request of this node, with optional data."
)
@click.option("--reject", metavar="NODE[=JSON]", multiple=True, help="Reject the request of this node.")
@click.option(
    "--signal", "signals", metavar="KEY[=JSON]", multiple=True, help="Send the signal to the node that waits for it."
)
@click.option("--egress-allow", metavar="RANGES", help="Closed address ranges that the flow may connect to.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print the progress.")
def run(misplaced: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Run a flow. Its result goes to the standard output as JSON, everything else to the standard error."""
    if file is None:
        named = misplaced[0] if misplaced else "FILE"
        raise click.UsageError(
            f"To run a flow here: flowrunner run --local {named}\n"
            "To run one on a server, use its REST API: POST /api/v1/flows/{id}/run"
        )
    if misplaced:
        raise click.UsageError(f"Give the input with -i: -i {misplaced[0]}")
    from flowrunner.cli.run import run_locally

    sys.exit(run_locally(file, **options))
