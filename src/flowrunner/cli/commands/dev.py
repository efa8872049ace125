"""Command `dev`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import data_home, load_settings


@click.command(
    "dev",
    epilog=examples("dev", "dev --data-dir ./flowrunner-data --no-browser"),
)
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
@settings_options("port", "data_dir")
def dev(*, no_browser: bool, **flags: str | None) -> None:
    """Start a development server on this machine: SQLite, an admin account and a sample flow.

    It prints the account and an API token, and opens the browser. The data directory is flowrunner-dev under your XDG
    data home by default. Ctrl-C stops the server; the next start uses the same data.
    """
    if flags["data_dir"] is None and "FLOWRUNNER_DATA_DIR" not in os.environ:
        flags["data_dir"] = str(data_home() / "flowrunner-dev")
    settings = load_settings(flags, os.environ)
    from flowrunner.cli.dev import dev as run

    run(settings, opens_browser=not no_browser)
