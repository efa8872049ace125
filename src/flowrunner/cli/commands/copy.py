"""Command `copy`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command("copy", epilog=examples("copy --to postgresql://flowrunner@db.example.com/flowrunner"))
@click.option("--from", "source", metavar="URL", help="sqlite:///PATH; the file in the data directory by default.")
@click.option("--to", "target", metavar="URL", help="postgresql://…; FLOWRUNNER_DATABASE_URL by default.")
@settings_options("data_dir")
def copy(source: str | None, target: str | None, **flags: str | None) -> None:
    """Move an installation from its SQLite file into an empty PostgreSQL database.

    No server may be running. The copied rows are compared with the original by counts and hashes, and the file is
    not changed. Keep the data directory: the server still needs the keys in it.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.database import copy as run

    run(settings, source=source, target=target)
