"""Command `open`."""

import click

from flowrunner.cli.completion import complete_executions
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lookup import execution_path, flow_path
from flowrunner.cli.server_command import ServerCommand

_SCREENS = (
    "flows",
    "executions",
    "approvals",
    "triggers",
    "callbacks",
    "secrets",
    "nodes",
    "workspace",
    "account",
    "admin",
)


@click.command(
    "open", cls=ServerCommand, epilog=examples("open exec-01m8", "open order-sync", "open approvals --no-browser")
)
@click.argument("thing", metavar="[THING]", required=False, shell_complete=complete_executions)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def open(thing: str | None, *, no_browser: bool) -> None:
    """Open an execution, a flow or a screen in the browser, and print its address."""
    from flowrunner.client.requests import segment

    client = connect()
    slug = client.workspace or next(client.entries("/workspaces", most=1))["slug"]
    if thing is None or thing in _SCREENS:
        path = f"/{thing or ''}"
    elif thing.startswith("exec-"):
        path = execution_path(client, thing)
    else:
        path = flow_path(client, thing)
    address = f"{client.url}/w/{segment(slug)}{path.removesuffix('/')}"
    click.echo(address)
    if not no_browser:
        import webbrowser

        webbrowser.open(address)
