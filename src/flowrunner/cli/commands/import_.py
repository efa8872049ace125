"""Commands `import openapi` and `import n8n`."""

from pathlib import Path
from typing import Any, Final

import click

from flowrunner.cli.examples import examples

_TO_DIRECTORY: Final[dict[str, Any]] = {
    "metavar": "DIR", "type": click.Path(file_okay=False, path_type=Path), "help": "Where to write the flows."
}  # fmt: skip


@click.group("import", epilog=examples("import openapi petstore.yaml -o flows/", "import n8n workflow.json -o flows/"))
def import_() -> None:
    """Import flows from OpenAPI or n8n. The names of the flows go to the standard output."""


@import_.command(
    short_help="Make a flow of each operation of an API.",
    epilog=examples(
        "import openapi petstore.yaml --list",
        "import openapi petstore.yaml --only 'get /pets/*' -o flows/",
    ),
)
@click.argument("spec")
@click.option("-o", "--out", "directory", **_TO_DIRECTORY)
@click.option(
    "--only",
    metavar="NAME",
    multiple=True,
    help="Only this operation: its id, or 'get /pets'; * matches any text.",
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Only operations with this tag.")
@click.option("--list", "lists", is_flag=True, help="Write nothing: print the name, method, path and summary of each.")
def openapi(spec: str, directory: Path | None, only: tuple[str, ...], tags: tuple[str, ...], *, lists: bool) -> None:
    """Make a flow from each operation of an OpenAPI 3 document, for other flows to call.

    Parameters and the body become inputs, and security schemes become secrets. SPEC is a file in JSON or YAML; other
    documents that it refers to are not read.
    """
    from flowrunner.cli.importing.documents import read_spec, write_all
    from flowrunner.cli.importing.openapi import flows_of, operations_of
    from flowrunner.cli.text import plain

    if directory is None and not lists:
        raise click.UsageError(
            "Missing option '-o' / '--out': name a directory for the flows, or print them with --list."
        )
    document = read_spec(spec)
    operations = operations_of(document, only, tags)
    if lists:
        for one in operations:
            click.echo(plain(f"{one.name}  {one.method} {one.path}  {one.summary}".rstrip()))
    elif directory is not None:
        write_all(flows_of(document, operations), directory)


@import_.command(
    short_help="Make a flow of a workflow of n8n.",
    epilog=examples("import n8n workflow.json -o flows/"),
)
@click.argument("file")
@click.option("-o", "--out", "directory", required=True, **_TO_DIRECTORY)
def n8n(file: str, directory: Path) -> None:
    """Make a flow from an exported n8n workflow.

    HTTP Request, IF, Switch, Set, Code, Wait, Webhook and Schedule have counterparts. Any other node becomes a
    placeholder that fails, and is reported, as is everything that needs a look.
    """
    from flowrunner.cli.importing.documents import read_spec, write_all
    from flowrunner.cli.importing.n8n import flow_of

    write_all([flow_of(read_spec(file))], directory)
