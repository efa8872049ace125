"""Command `fmt`."""

import sys

import click

from flowrunner.cli.examples import examples


@click.command(
    "fmt",
    epilog=examples(
        "fmt flows/",
        "fmt --check flows/",
        "fmt - < order.yaml",
        note="Exits with 1 if --check or --diff finds something to change, and with 6 if a document cannot be read.",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--check", "checks", is_flag=True, help="Write nothing: print the names of the files that would change.")
@click.option("--diff", "shows_diff", is_flag=True, help="Write nothing: print what would change.")
def fmt(files: tuple[str, ...], *, checks: bool, shows_diff: bool) -> None:
    """Format the YAML of flows: indentation, spaces, blank lines. Prints the names of the files that it changed.

    Values, comments, the order of keys and line breaks stay as they are. FILE is a file, a directory (every .yaml and
    .yml in it that has 'nodes'), or - for the standard input, which is printed as formatted.
    """
    from flowrunner.cli.fmt import fmt as run

    sys.exit(run(files, checks=checks, shows_diff=shows_diff))
