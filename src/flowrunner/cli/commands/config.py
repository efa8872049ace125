"""Command `config`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.cli.text import plain
from flowrunner.settings import describe, load_settings


@click.command("config", epilog=examples("config --port 9000"))
@settings_options()
def config(**flags: str | None) -> None:
    """Print the effective settings, with secrets masked."""
    for name, value, help in describe(load_settings(flags, os.environ)):
        click.echo(plain(f"# {help}\n{name} = {value}\n"))
