"""Command `keys rotate`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.group("keys", epilog=examples("keys rotate master"))
def keys() -> None:
    """Replace the keys in the data directory."""


@keys.command(short_help="Replace keys while no server runs.", epilog=examples("keys rotate master signing"))
@click.argument("kinds", nargs=-1, required=True, type=click.Choice(["master", "data", "signing"]))
@settings_options("data_dir")
def rotate(kinds: tuple[str, ...], **flags: str | None) -> None:
    """Replace keys while no server runs. For a running server, use POST /api/v1/keys/rotations.

    All data stays readable, and all sessions stay valid.
    """
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.keys import rotate as run

    run(settings, kinds)
