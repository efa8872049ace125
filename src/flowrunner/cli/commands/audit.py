"""Command `audit verify`."""

import os
import sys

import click

from flowrunner.cli.exits import FAILED, USAGE
from flowrunner.cli.settings_options import settings_options
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.settings import load_settings


@click.group("audit")
def audit() -> None:
    """Check the audit log."""


@audit.command(short_help="Check that it was not changed.")
@click.option(
    "--database", type=click.Path(dir_okay=False), help="A copy to check, instead of the one in the data dir."
)
@click.option("--expect", metavar="SEQ:HASH", help="Number and hash of an entry that must be in the log.")
@settings_options("data_dir")
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
        sys.exit(USAGE)
    if not is_whole:
        sys.exit(FAILED)
