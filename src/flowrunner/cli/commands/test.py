"""Command `test`."""

import sys
from typing import Any

import click

from flowrunner.cli.examples import examples
from flowrunner.cli.lazy import quick_imports


@click.command(
    "test",
    epilog=examples(
        "test order.yaml",
        "test flows/ -k refund",
        "test flows/ --coverage --junit results.xml",
        note="Exits with 0 if all tests passed, with 1 if one failed, with 6 if a flow has faults, and with 2 if there "
        "was nothing to run.",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("-k", "wanted", metavar="TEXT", help="Only tests whose name contains this.")
@click.option("--coverage", is_flag=True, help="Print the edges that no test took.")
@click.option(
    "--timeout",
    metavar="DURATION",
    default="60s",
    show_default=True,
    help="Time limit of one test. Waits of the flow are skipped and do not count.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the results.",
)
@click.option(
    "--junit",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Also write the results as JUnit XML.",
)
def test(**options: Any) -> None:
    """Run the tests of flows offline, with mocked nodes and a virtual clock.

    FILE is a file, a directory (every .yaml and .yml in it that has 'nodes'), or - for the standard input. Flows
    may start each other.
    """
    with quick_imports():
        from flowrunner.cli.test import run_tests

    sys.exit(run_tests(options.pop("files"), **options))
