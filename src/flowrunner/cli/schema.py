"""Command `schema`: print the JSON Schema of the flow language, or of the parameters of one node type."""

import json
import sys

import click

from flowrunner.cli.exits import NOT_FOUND, OK
from flowrunner.domain.suggestions import nearest
from flowrunner.language.schema import flow_schema, node_type_schema
from flowrunner.local.reader import node_type_specs


def print_schema(type: str | None) -> int:
    """Print to the standard output; return the exit code."""
    specs = node_type_specs()
    if type is not None and type not in specs:
        near = nearest(type, specs)
        hint = f"; do you mean '{near}'?" if near else f": there are {', '.join(sorted(specs))}"
        click.echo(f"flowrunner: There is no node type '{type}'{hint}", err=True)
        return NOT_FOUND
    schema = flow_schema(specs) if type is None else node_type_schema(specs[type])
    json.dump(schema, sys.stdout, indent=2, ensure_ascii=False)
    click.echo()
    return OK
