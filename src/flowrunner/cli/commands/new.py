"""Command `new`."""

from pathlib import Path

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.templates import NAMES, template


@click.command("new", epilog=examples("new", "new http -f orders.yaml"))
@click.argument("name", metavar="[TEMPLATE]", type=click.Choice(NAMES), required=False)
@click.option("-f", "--file", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
def new(name: str | None, file: Path | None, *, force: bool) -> None:
    """Begin a flow from a template, with tests; without TEMPLATE: list the templates.

    The document goes to the standard output, or into a file with -f.
    """
    if name is None:
        if file is not None:
            raise click.UsageError(f"Name a template: {', '.join(NAMES)}.")
        _list()
    elif file is None:
        click.echo(template(name), nl=False)
    else:
        from flowrunner.cli.common import say
        from flowrunner.cli.flow_files import write_new_file

        write_new_file(file, template(name).encode(), replaces=force)
        say(f"{file}: 'flowrunner test {file}' runs its tests")


def _list() -> None:
    from flowrunner.cli.output import show
    from flowrunner.language.yaml_source import read_yaml

    rows = []
    for name in NAMES:
        document = read_yaml(template(name)).value
        assert isinstance(document, dict)
        metadata = document["metadata"]
        assert isinstance(metadata, dict)
        rows.append({"name": name, "description": metadata["description"]})
    show(rows, "name description", name="name")
