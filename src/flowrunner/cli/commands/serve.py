"""Command `serve`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command("serve", epilog=examples("serve --port 9000 --data-dir /var/lib/flowrunner"))
@settings_options()
def serve(**flags: str | None) -> None:
    """Start the server. Ctrl-C or SIGTERM shuts it down gracefully; executions continue after the next start.

    Every setting that 'flowrunner config' prints is a variable (FLOWRUNNER_TOKEN_LIFE) and a key of flowrunner.toml
    (token_life), and those that are not secret are options too (--token-life).
    """
    settings = load_settings(flags, os.environ)
    import uvloop

    from flowrunner.serving import serve as run

    uvloop.run(run(settings))
