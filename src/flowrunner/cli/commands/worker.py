"""Command `worker`."""

import os

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.settings_options import settings_options
from flowrunner.settings import load_settings


@click.command("worker", epilog=examples("worker --data-dir /etc/flowrunner"))
@settings_options()
def worker(**flags: str | None) -> None:
    """Start a worker, which advances the executions that Temporal assigns to it. Workers share the load.

    It needs FLOWRUNNER_DISPATCH and FLOWRUNNER_DATABASE_URL, and the keys of the servers. On its port it serves
    /healthz, /readyz and /metrics. Ctrl-C or SIGTERM shuts it down gracefully; other workers continue its executions.
    """
    settings = load_settings(flags, os.environ)
    import uvloop

    from flowrunner.serving import serve as run

    uvloop.run(run(settings, is_worker=True))
