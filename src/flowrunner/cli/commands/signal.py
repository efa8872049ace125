"""Command `signal`."""

from typing import Any

import click

from flowrunner.cli.common import say, say_message
from flowrunner.cli.completion import complete_executions, complete_flows
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED
from flowrunner.cli.lookup import execution_path
from flowrunner.cli.server_command import ServerCommand
from flowrunner.cli.shared_options import input_options, label_option, selection_of


@click.command(
    cls=ServerCommand,
    epilog=examples(
        "signal exec-01m8 paid",
        "signal exec-01m8 paid --payload '{\"amount\": 20}'",
        "signal paid --flow order-sync --with-input order_id=4711",
    ),
)
@click.argument("names", metavar="[ID] KEY", nargs=-1, required=True, shell_complete=complete_executions)
@click.option("--payload", metavar="JSON|@FILE|-", help="The result of the node that waits; null if absent.")
@click.option("--flow", metavar="NAME|ID", help="Without ID: executions of this flow.", shell_complete=complete_flows)
@input_options("Without ID: with this value of a searchable input; repeat to require several.")
@label_option("Without ID: with this label; repeat to require several.")
def signal(names: tuple[str, ...], payload: str | None, **options: Any) -> None:
    """Send the signal KEY, for which a `wait` node waits or will wait.

    Without an ID, the options select at most 100 open executions, such as those of an order. Exits with 1 if one of
    them could not take it.
    """
    from flowrunner.cli.inputs import read_json

    selected = selection_of(options)
    if len(names) != (1 if selected else 2):
        raise click.UsageError("Give an ID and a KEY, or a KEY and options that select executions.")
    value = None if payload is None else read_json("--payload", payload)
    if selected:
        _signal_selected(names[0], value, selected)
    else:
        execution, key = names
        _signal_one(execution, key, value)


def _signal_one(execution: str, key: str, payload: Any) -> None:
    from flowrunner.client.requests import segments

    client = connect()
    path = execution_path(client, execution)
    waits = client.get(path).get("waiting_for") or []
    awaited = [wait["key"] for wait in waits if wait["type"] == "signal"]
    body = {"payload": payload}
    say_message(client.request("POST", f"{path}/signals/{segments(key)}", json=body, idempotency_key=True))
    if key not in awaited:
        others = f"; steps wait for {', '.join(map(repr, awaited))}" if awaited else ""
        say(f"No step waits for '{key}' now, so it is kept for the next one that does{others}")


def _signal_selected(key: str, payload: Any, selected: dict[str, Any]) -> None:
    from flowrunner.cli.output import show

    body = {"key": key, "payload": payload, "filter": selected}
    sent = connect().request("POST", "/executions:signal", json=body, idempotency_key=True).object()
    for error in sent["errors"]:
        say(f"{error['item']}: {error['message']}")
    show([{"execution_id": id} for id in sent["executions"]], name="execution_id")
    if sent["errors"]:
        raise click.exceptions.Exit(FAILED)
