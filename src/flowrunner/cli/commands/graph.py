"""Command `graph`."""

import sys

import click

from flowrunner.cli.examples import examples


@click.command("graph", epilog=examples("graph order.yaml > order.mmd", "graph -o svg order.yaml > order.svg"))
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["mermaid", "svg"]),
    default="mermaid",
    show_default=True,
    help="Format of the output; svg: the picture of the web interface.",
)
def graph(file: str, output: str) -> None:
    """Print the graph of a flow as a Mermaid flowchart, which GitHub and others render, or as a picture.

    FILE is a flow, or `-` for the standard input. Exits with 6 if the graph is empty.
    """
    from flowrunner.cli.graph import print_graph

    sys.exit(print_graph(file, output))
