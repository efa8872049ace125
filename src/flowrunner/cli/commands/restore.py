"""Command `restore`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command(
    "restore",
    epilog=examples(
        "restore /backup/flowrunner.backup --data-dir /var/lib/new", "restore all.backup --passphrase-file pass.txt"
    ),
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--passphrase-file",
    metavar="FILE",
    help="The passphrase of sealed keys; - reads the standard input. By default you are prompted.",
)
@settings_options("data_dir")
def restore(file: str, *, passphrase_file: str | None, **flags: str | None) -> None:
    """Restore the backup FILE into an empty data directory or PostgreSQL database.

    The backup is checked completely before anything gets its place. The directory may have the subdirectory 'keys'
    already; its keys are then used. Stop the original server for good before you start one here.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.backup import restore as run

    run(settings, file, passphrase_file=passphrase_file)
