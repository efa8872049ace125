"""Command `prune`."""

import os

import click

from flowrunner.cli.common import yes_option
from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command(
    "prune",
    epilog=examples("prune --dry-run", "prune --yes --retention 7d --data-dir /var/lib/flowrunner"),
)
@click.option("--dry-run", is_flag=True, help="Delete nothing; print what would be deleted.")
@yes_option
@settings_options("retention", "retention_count", "data_dir")
def prune(*, dry_run: bool, yes: bool, **flags: str | None) -> None:
    """Delete executions whose retention has ended, as the server does every hour.

    The rules are the settings, and those of workspaces and flows. The server may be running; the deletion is done in
    small steps between its commits. Give this command the settings of the server: it asks before it deletes by its own.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.maintenance import prune as run

    run(settings, dry_run=dry_run, yes=yes)
