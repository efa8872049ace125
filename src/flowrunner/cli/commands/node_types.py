"""Command `node-types`."""

import click

from flowrunner.cli.common import CommandFailed
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import NOT_FOUND
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup


@click.group("node-types", cls=ServerGroup, epilog=examples("node-types describe http.request"))
def node_types() -> None:
    """Look up the node types of the server, including those of installed packages."""


@node_types.command("list", short_help="List node types.", epilog=examples("node-types list"))
def list_() -> None:
    """List the node types."""
    show(connect().get("/node-types")["node_types"], "name actions description", name="name")


@node_types.command(short_help="Print a node type.", epilog=examples("node-types describe http.request"))
@click.argument("type")
def describe(type: str) -> None:
    """Print a node type: its parameters, actions, errors and examples."""
    for one in connect().get("/node-types")["node_types"]:
        if one["name"] == type:
            show(one, name="name")
            return
    raise CommandFailed(f"The server has no node type '{type}': 'flowrunner node-types list' shows them", NOT_FOUND)
