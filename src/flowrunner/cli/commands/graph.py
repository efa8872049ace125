"""Command `graph`."""

import sys

import click

from flowrunner.cli.examples import examples


@click.command("graph", epilog=examples("graph order.yaml > order.mmd"))
@click.argument("file")
def graph(file: str) -> None:
    """Print the graph of a flow as a Mermaid flowchart, which GitHub and others render.

    FILE is a flow, or `-` for the standard input. Exits with 6 if the graph is empty.
    """
    from flowrunner.cli.graph import print_graph

    sys.exit(print_graph(file))
