"""Commands `pause` and `unpause`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command(
    "pause",
    epilog=examples("pause --data-dir /var/lib/flowrunner"),
)
@settings_options("data_dir")
def pause(**flags: str | None) -> None:
    """Stop starting executions, on all servers of the database, until 'flowrunner unpause'.

    Open executions go on. This needs access to the data directory or the database, and no account; admins of a server
    use PUT /api/v1/admin/pause.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.maintenance import set_pause

    set_pause(settings, paused=True)


@click.command(
    "unpause",
    epilog=examples("unpause --data-dir /var/lib/flowrunner"),
)
@settings_options("data_dir")
def unpause(**flags: str | None) -> None:
    """Resume starting executions after 'flowrunner pause' or a pause by an admin."""
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.maintenance import set_pause

    set_pause(settings, paused=False)
