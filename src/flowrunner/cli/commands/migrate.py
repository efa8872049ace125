"""Command `migrate`."""

import os
import sys

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command("migrate", epilog=examples("migrate --check"))
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if the database has another schema.")
@settings_options("data_dir")
def migrate(check: bool, **flags: str | None) -> None:
    """Migrate the database schema to this version. The server does the same when it starts.

    The database is the file in the data directory, or the one that FLOWRUNNER_DATABASE_URL names.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.database import migrate as run

    if not run(settings, check=check):
        sys.exit(FAILED)
