"""Command `options`."""

import click

from flowrunner.cli.common import common_options
from flowrunner.cli.examples import examples


@click.command(epilog=examples("options"))
def options() -> None:
    """List the options shared by all commands that talk to a server. They may precede or follow a command."""
    formatter = click.HelpFormatter(width=80)
    formatter.write_dl([option.record for option in common_options()])
    click.echo(formatter.getvalue(), nl=False)
