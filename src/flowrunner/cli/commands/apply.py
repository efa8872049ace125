"""Commands `apply`, `diff` and `export`."""

from pathlib import Path
from typing import Final

import click

from flowrunner.cli.common import yes_option
from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerCommand

_PLACE: Final = click.Path(exists=True)
_files = click.argument("places", metavar="DIR|FILE...", nargs=-1, type=_PLACE)
_more_files = click.option(
    "-f", "--file", "more", metavar="DIR|FILE", multiple=True, type=_PLACE,
    help="Same as the argument DIR|FILE; repeatable.",
)  # fmt: skip


@click.command(
    cls=ServerCommand,
    epilog=examples("apply flows/", "apply flows/ --prune --yes", "apply -f flows/ --dry-run -o json"),
)
@_files
@_more_files
@click.option("--prune", is_flag=True, help="Delete flows of the workspace that are not in the directory.")
@click.option("--dry-run", is_flag=True, help="Change nothing; print what would be changed.")
@yes_option
def apply(places: tuple[str, ...], *, more: tuple[str, ...], prune: bool, dry_run: bool, yes: bool) -> None:
    """Deploy a directory of flows: create or update each by its name.

    A flow has the name in its metadata, or that of its file: reports/daily.yaml is 'reports/daily'. Unchanged flows
    are left alone. A link out of the directory is rejected. If a flow has faults, nothing is changed
    (exit code 6). A deployment that was interrupted is completed by the next one.
    """
    from flowrunner.cli.deployment import apply as run

    run(_named(places, more), prune=prune, dry_run=dry_run, yes=yes)


@click.command(cls=ServerCommand, epilog=examples("diff flows/", "diff flows/ --prune --exit-code"))
@_files
@_more_files
@click.option("--prune", is_flag=True, help="With the flows that 'apply --prune' would delete.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if something would change.")
def diff(places: tuple[str, ...], *, more: tuple[str, ...], prune: bool, exit_code: bool) -> None:
    """Print what 'apply' would change, as a diff against the server."""
    from flowrunner.cli.deployment import diff as run

    run(_named(places, more), prune=prune, exit_code=exit_code)


def _named(places: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    if not (places or more):
        command = click.get_current_context().info_name
        raise click.UsageError(f"Name the directory of the flows, or a file: flowrunner {command} DIR")
    return places + more


@click.command(cls=ServerCommand, epilog=examples("export flows/"))
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def export(directory: Path) -> None:
    """Write the document of each flow of the workspace to DIRECTORY, for 'apply'.

    Files of the same names are replaced, others stay. A description and tags that were given beside a document are
    not in it.
    """
    from flowrunner.cli.deployment import export as run

    run(directory)
