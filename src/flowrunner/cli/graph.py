"""Command `graph`: print the graph of a flow, for documents."""

from typing import Final

import click

from flowrunner.cli.documents import no_text, read_documents
from flowrunner.language.mermaid import mermaid_of
from flowrunner.language.sketch import sketch_of
from flowrunner.local.reader import node_type_specs

INVALID: Final = 6


def print_graph(name: str) -> int:
    """Print to the standard output; return the exit code. Raises: click.UsageError if the file cannot be read."""
    documents, _ = read_documents([name])
    types = node_type_specs()
    for document in documents:
        sketch = None if document.text is None else sketch_of(document.text, types)
        if sketch is None or not sketch.nodes:
            reason = no_text().message if sketch is None else "there is no mapping 'nodes' to draw"
            click.echo(f"{document.file}: {reason}", err=True)
            return INVALID
        click.echo(mermaid_of(sketch), nl=False)
    return 0
