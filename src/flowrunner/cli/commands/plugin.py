"""Command `plugin`."""

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup


@click.group(cls=ServerGroup, epilog=examples("plugin list"))
def plugin() -> None:
    """List the packages of node types that are installed with this program."""


@plugin.command("list", short_help="List packages with node types.", epilog=examples("plugin list"))
def list_() -> None:
    """List the packages that add node types here, and warn about types that cannot be used.

    'flowrunner node-types list' lists the server's types.
    """
    from importlib.metadata import entry_points

    from flowrunner.local.reader import node_types

    show(
        [
            {"name": one.name, "package": one.dist and one.dist.name, "version": one.dist and one.dist.version}
            for one in entry_points(group="flowrunner.nodes")
        ],
        "name package version",
        name="name",
        empty="No installed package adds node types",
    )
    # All are loaded, and those that cannot be used reported.
    list(node_types())
