"""Command `audit`."""

import os
import sys
from typing import IO

import click

from flowrunner.cli.connection import connect
from flowrunner.cli.durations import moment_of
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED, USAGE
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.server_command import ServerCommand
from flowrunner.cli.settings_options import settings_options
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import load_settings


@click.group(epilog=examples("audit list --since 24h --outcome denied"))
def audit() -> None:
    """Read the audit log, and check it."""


@audit.command(
    "list",
    cls=ServerCommand,
    short_help="List entries of the audit log.",
    epilog=examples("audit list --since 24h", "audit list --workspace data-team --action flow.deleted"),
)
@click.option("--actor", metavar="ID", help="By this account.")
@click.option("--action", metavar="ACTION", help="With this action, such as flow.deleted.")
@click.option("--object", "object_id", metavar="ID", help="On this object.")
@click.option("--outcome", type=click.Choice(["done", "denied", "failed"]), help="With this outcome.")
@click.option("--since", metavar="24h|TIME", help="Since then.")
@click.option("--until", metavar="1h|TIME", help="Before then.")
@click.option("--installation", is_flag=True, help="All of it, for admins, also in a context with a workspace.")
@limit_option
def list_(limit: Limit, since: str | None, until: str | None, *, installation: bool, **query: str | None) -> None:
    """List the audit log, newest first: all of it for admins, or that of the workspace, if one is chosen."""
    from flowrunner.client.requests import segment

    client = connect()
    path = "/audit" if installation or client.workspace is None else f"/workspaces/{segment(client.workspace)}/audit"
    show_list(
        client,
        path,
        "seq at actor action object.kind:KIND object.id:OBJECT outcome",
        query={**query, "since": moment_of(since, "--since"), "until": moment_of(until, "--until")},
        limit=limit,
        name="seq",
    )


@audit.command(
    short_help="Check that it was not changed.",
    epilog=examples("audit verify", "audit verify --file audit.ndjson --expect 17:0f3a…"),
)
@click.option(
    "--database", type=click.Path(dir_okay=False), help="A copy to check, instead of the one in the data directory."
)
@click.option(
    "--file", metavar="FILE", type=click.File("rb"), help="Entries as NDJSON to check, without a database; - for stdin."
)
@click.option("--expect", metavar="SEQ:HASH", help="Number and hash of an entry that must be in the log.")
@click.option(
    "--allow-gaps", is_flag=True, help="With --file: entries may be missing, as in a file of a workspace or a filter."
)
@settings_options("data_dir")
def verify(
    database: str | None, file: IO[bytes] | None, expect: str | None, *, allow_gaps: bool, **flags: str | None
) -> None:
    """Check that no entry was changed, removed or inserted. The server may be running.

    Exits with 0 if the log is intact, with 1 if not, and with 2 if it cannot be checked. It prints the number and
    hash of the last entry: store them elsewhere, and --expect detects whether the last entries were cut off.
    A FILE is written by 'audit list --installation --all -o ndjson'. Entries that are missing at its beginning are not
    detected, because old entries are deleted by age. Somebody who can change the whole file can compute new hashes,
    too: --expect alone detects that.
    """
    if file is not None and database is not None:
        raise click.UsageError("--file and --database are two things to check: name one")
    if allow_gaps and file is None:
        raise click.UsageError("--allow-gaps is for a --file: a database has no gaps")
    from flowrunner.cli.audit import verify as run
    from flowrunner.cli.audit import verify_file

    try:
        if file is not None:
            is_whole = verify_file(file, expect=expect, allow_gaps=allow_gaps)
        else:
            is_whole = run(load_settings(flags, os.environ), database=database, expect=expect)
    except FlowRunnerError as error:
        click.echo(f"flowrunner: {error}", err=True)
        sys.exit(USAGE)
    if not is_whole:
        sys.exit(FAILED)
