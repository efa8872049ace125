"""Command `doctor`."""

import os
import sys

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED
from flowrunner.cli.settings_options import settings_options


@click.command(
    "doctor",
    epilog=examples("doctor", "doctor -o json --data-dir /var/lib/flowrunner"),
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    help="Format of the findings; text by default.",
)
@settings_options("host", "port", "data_dir")
def doctor(*, output: str | None, **flags: str | None) -> None:
    """Diagnose an installation, with a remedy for each fault. The server may be running.

    It checks the settings, the data directory, the keys, the database, the clock, the disk, the port and the limits of
    this machine, and changes nothing. Exits with 1 if a check has failed.
    """
    from flowrunner.cli.common import common
    from flowrunner.cli.doctor import doctor as run

    # The option may stand before the command, as it may for the others.
    output = output or common().output or "text"
    if output not in ("text", "table", "json"):
        raise click.UsageError(f"'doctor' prints text or JSON, and not {output}.")
    if not run(flags, os.environ, output=output):
        sys.exit(FAILED)
