"""Command `serve`."""

import os

import click

from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command("serve")
@settings_options()
def serve(**flags: str | None) -> None:
    """Start the server. Ctrl-C or SIGTERM stops it in an orderly way; executions continue after the next start.

    Each option is also a variable (FLOWRUNNER_PORT) and a key of flowrunner.toml (port).
    """
    settings = load_settings(flags, os.environ)
    import uvloop

    from flowrunner.serving import serve as run

    uvloop.run(run(settings))
