"""Command `version`."""

import click

from flowrunner import __version__
from flowrunner.cli.examples import examples


@click.command(epilog=examples("version"))
def version() -> None:
    """Print the version of this program; 'flowrunner api GET /system' prints that of the server."""
    click.echo(f"flowrunner {__version__}")
