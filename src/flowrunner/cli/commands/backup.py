"""Command `backup`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command(
    "backup",
    epilog=examples("backup /backup/flowrunner.backup", "backup --with-keys --passphrase-file pass.txt all.backup"),
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--with-keys", is_flag=True, help="Put the keys into the backup, sealed with a passphrase.")
@click.option(
    "--passphrase-file", metavar="FILE", help="The passphrase; - reads the standard input. By default you are prompted."
)
@settings_options("data_dir")
def backup(file: str, *, with_keys: bool, passphrase_file: str | None, **flags: str | None) -> None:
    """Write a backup to FILE, without blocking a running server.

    The copy is checked before FILE gets its name; an earlier backup of that name is replaced then. Without --with-keys
    it has no keys: keep a copy of the directory 'keys' in another place. A PostgreSQL database needs pg_dump.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.backup import backup as run

    run(settings, file, with_keys=with_keys, passphrase_file=passphrase_file)
