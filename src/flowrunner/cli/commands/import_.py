"""Commands `import openapi` and `import n8n`."""

from pathlib import Path

import click

from flowrunner.cli.examples import examples

_directory = click.option(
    "-o", "--out", "directory", metavar="DIR", required=True, type=click.Path(file_okay=False, path_type=Path),
    help="Where to write the flows.",
)  # fmt: skip


@click.group("import", epilog=examples("import openapi petstore.yaml -o flows/", "import n8n workflow.json -o flows/"))
def import_() -> None:
    """Make flows of documents of other programs. The names of the flows go to the standard output."""


@import_.command(
    short_help="Make a flow of each operation of an API.",
    epilog=examples("import openapi petstore.yaml -o flows/petstore"),
)
@click.argument("spec")
@_directory
def openapi(spec: str, directory: Path) -> None:
    """Make a flow of each operation that an OpenAPI document (version 3) describes, for other flows to call.

    Parameters and the body become inputs, and security schemes become secrets. SPEC is a file in JSON or YAML; other
    documents that it refers to are not read.
    """
    from flowrunner.cli.importing.documents import read_spec, write_all
    from flowrunner.cli.importing.openapi import flows_of

    write_all(flows_of(read_spec(spec)), directory)


@import_.command(
    short_help="Make a flow of a workflow of n8n.",
    epilog=examples("import n8n workflow.json -o flows/"),
)
@click.argument("file")
@_directory
def n8n(file: str, directory: Path) -> None:
    """Make a flow of a workflow that n8n has exported.

    HTTP Request, IF, Switch, Set, Code, Wait, Webhook and Schedule have counterparts. Any other node becomes a
    placeholder that fails, and is reported, as is everything that needs a look.
    """
    from flowrunner.cli.importing.documents import read_spec, write_all
    from flowrunner.cli.importing.n8n import flow_of

    write_all([flow_of(read_spec(file))], directory)
