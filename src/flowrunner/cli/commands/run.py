"""Command `run`."""

import sys
from typing import Any

import click


@click.command(
    "run",
    epilog="""
    \b
    Examples:
      flowrunner run --local order.yaml -i customer=Ada -i count=3
      flowrunner run --local order.yaml -i @input.json --secrets .env > out.json
      flowrunner run --local order.yaml --approve ask --signal paid=20

    Nothing is stored: the flow ends with the process. Ctrl-C cancels it and lets on_finish run; a second Ctrl-C
    stops immediately.

    Exits with 0 if the flow completed, 3 if it failed, 6 if it or its input is invalid, 9 if it was
    cancelled, and 130 after Ctrl-C.
    """,
)
# The metavar makes the usage line correct, because --local is required.
@click.argument("misplaced", metavar="--local FILE", nargs=-1)
@click.option("--local", "file", metavar="FILE", help="The flow; - reads it from the standard input.")
@click.option(
    "--with",
    "others",
    metavar="FILE",
    multiple=True,
    help="A further flow, or a directory of them, for the flow to start.",
)
@click.option(
    "-i",
    "--input",
    "inputs",
    metavar="NAME=VALUE|JSON|@FILE|-",
    multiple=True,
    help="Input: one value, a JSON object, a file with one, or the standard input. The last value is used.",
)
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="The same as -i NAME=VALUE.")
@click.option(
    "--secrets",
    "secrets_file",
    metavar="FILE",
    help="A .env file that only you can read. Secrets are also read from FLOWRUNNER_SECRET_<NAME>.",
)
@click.option(
    "--approve", metavar="NODE[=JSON]", multiple=True, help="Approve the request of this node, with optional data."
)
@click.option("--reject", metavar="NODE[=JSON]", multiple=True, help="Reject the request of this node.")
@click.option(
    "--signal", "signals", metavar="KEY[=JSON]", multiple=True, help="Send the signal to the node that waits for it."
)
@click.option("--egress-allow", metavar="RANGES", help="Closed address ranges that the flow may connect to.")
@click.option("-q", "--quiet", is_flag=True, help="Do not print the progress.")
def run(misplaced: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Run a flow. Its result goes to the standard output as JSON, everything else to the standard error."""
    if file is None:
        named = misplaced[0] if misplaced else "FILE"
        raise click.UsageError(
            f"To run a flow here: flowrunner run --local {named}\n"
            "To run one on a server, use its REST API: POST /api/v1/flows/{id}/run"
        )
    if misplaced:
        raise click.UsageError(f"Give the input with -i: -i {misplaced[0]}")
    from flowrunner.cli.run import run_locally

    sys.exit(run_locally(file, **options))
