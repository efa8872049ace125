"""Command `schema`."""

import sys

import click

from flowrunner.cli.examples import examples


@click.command("schema", epilog=examples("schema > flow.schema.json", "schema http.request"))
@click.argument("type", required=False)
def schema(type: str | None) -> None:
    """Print the JSON Schema of flows, for editors; with TYPE that of one node type's parameters."""
    from flowrunner.cli.schema import print_schema

    sys.exit(print_schema(type))
