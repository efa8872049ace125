"""Command `run`."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from flowrunner.cli.common import common
from flowrunner.cli.completion import complete_flows
from flowrunner.cli.examples import examples
from flowrunner.cli.server_command import ServerCommand
from flowrunner.cli.shared_options import label_option, wait_options

# A FLOW like this is a file, and not the name of a flow on a server.
_ENDINGS: Final = (".yaml", ".yml", ".json")
_OF_SERVER: Final = ("wait", "follow", "timeout", "idempotency_key", "labels")
# Options by the names of their values, where these differ.
_OPTIONS: Final = {
    "others": "with", "secrets_file": "secrets", "values_file": "values", "signals": "signal", "labels": "label",
}  # fmt: skip
_OF_LOCAL: Final = ("others", "secrets_file", "values_file", "approve", "reject", "signals", "egress_allow")


@click.command(
    "run",
    cls=ServerCommand,
    short_help="Run a flow, on a server or locally.",
    epilog=examples(
        "run order-sync -i order=7 --wait",
        "run --local order.yaml -i @input.json --secrets .env > out.json",
        note="Exits with 0 if it completed, 3 if it failed, 6 if it or its input is invalid, 8 if it has not ended "
        "within --timeout, 9 if it was cancelled, and 130 after Ctrl-C.",
    ),
)
@click.argument("flow", metavar="FLOW", nargs=-1, shell_complete=complete_flows)
@click.option("-i", "--input", "inputs", metavar="INPUT", multiple=True, help="NAME=VALUE, a JSON object, @FILE or -.")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="The same as -i NAME=VALUE.")
@label_option("A label of the execution.")
@wait_options
@click.option("--idempotency-key", metavar="KEY", help="Start it once, however often the command is repeated.")
@click.option("--local", "file", metavar="FILE", help="Run this flow locally, without a server.")
@click.option(
    "--with", "others", metavar="FILE", multiple=True, help="Local: a flow that it may start, or a directory."
)
@click.option("--secrets", "secrets_file", metavar="FILE", help="Local: a .env file that only you can read.")
@click.option("--values", "values_file", metavar="FILE", help="Local: a YAML or JSON file of configuration values.")
@click.option("--approve", metavar="NODE[=JSON]", multiple=True, help="Local: approve the request of this node.")
@click.option("--reject", metavar="NODE[=JSON]", multiple=True, help="Local: reject the request of this node.")
@click.option(
    "--signal", "signals", metavar="KEY[=JSON]", multiple=True, help="Local: send this signal to the waiting node."
)
@click.option("--egress-allow", metavar="RANGES", help="Local: address ranges to open, such as 127.0.0.0/8.")
def run(flow: tuple[str, ...], file: str | None, **options: Any) -> None:
    """Run FLOW on a server, or locally if it is - or a file that ends in .yaml, .yml or .json.

    Its result goes to the standard output as JSON, everything else to the standard error. Ctrl-C detaches, a second
    one cancels; --local stores nothing, and is cancelled by the first.
    """
    if file is None and len(flow) == 1 and (flow[0] == "-" or flow[0].endswith(_ENDINGS)):
        [file], flow = flow, ()
    if file is not None:
        _reject(_OF_SERVER, options, "is for flows on a server")
        _reject_more(flow)
        from flowrunner.cli.run import run_locally

        for name in _OF_SERVER:
            del options[name]
        sys.exit(run_locally(file, quiet=common().quiet, **options))
    _reject(_OF_LOCAL, options, "is for --local")
    if not flow:
        raise click.UsageError("Name a flow of the server, or a file: flowrunner run order.yaml")
    _reject_more(flow[1:])
    from flowrunner.cli.remote_run import run_remotely

    for name in _OF_LOCAL:
        del options[name]
    sys.exit(run_remotely(flow[0], **options))


def _reject(names: Sequence[str], options: Any, reason: str) -> None:
    for name in names:
        if options[name]:
            option = _OPTIONS.get(name, name)
            raise click.UsageError(f"--{option.replace('_', '-')} {reason}")


def _reject_more(arguments: Sequence[str]) -> None:
    if arguments and "=" in arguments[0]:
        raise click.UsageError(f"Give the input with -i: -i {arguments[0]}")
    if arguments:
        raise click.UsageError(f"Name one flow: '{arguments[0]}' is another one. Inputs are given with -i.")
