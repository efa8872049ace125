"""Command `graph`: print the graph of a flow, for documents."""

import click

from flowrunner.cli.documents import log_errors_only, no_text, read_documents
from flowrunner.cli.exits import INVALID, OK
from flowrunner.cli.output import print_text
from flowrunner.cli.text import plain
from flowrunner.domain.errors import InvalidInput
from flowrunner.language.mermaid import mermaid_of
from flowrunner.language.sketch import Sketch, sketch_of
from flowrunner.local.reader import node_type_specs


def print_graph(name: str, output: str) -> int:
    """Print to the standard output; return the exit code.

    Args:
        output: `mermaid` or `svg`.

    Raises: click.UsageError if the file cannot be read, Unavailable.
    """
    documents, _ = read_documents([name])
    types = node_type_specs()
    for document in documents:
        sketch = None if document.text is None else sketch_of(document.text, types)
        if sketch is None or not sketch.nodes:
            reason = no_text().message if sketch is None else "there is no mapping 'nodes' to draw"
            click.echo(plain(f"{document.file}: {reason}"), err=True)
            return INVALID
        try:
            text = _svg_of(sketch) if output == "svg" else mermaid_of(sketch)
        except InvalidInput as error:
            click.echo(plain(f"{document.file}: {error.faults[0].message}"), err=True)
            return INVALID
        print_text(text.removesuffix("\n"))
    return OK


def _svg_of(sketch: Sketch) -> str:
    import asyncio

    from flowrunner.flowtest.memory import NOBODY
    from flowrunner.local.language import open_language

    async def draw() -> str:
        async with open_language(before_scripts=log_errors_only) as language:
            return await language.svg(sketch, NOBODY)

    return asyncio.run(draw())
