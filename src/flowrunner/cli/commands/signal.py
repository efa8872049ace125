"""Command `signal`."""

import click

from flowrunner.cli.common import say
from flowrunner.cli.completion import complete_executions
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lookup import execution_id
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples("signal exec-01m8 paid", "signal exec-01m8 paid --payload '{\"amount\": 20}'"),
)
@click.argument("execution", metavar="ID", shell_complete=complete_executions)
@click.argument("key")
@click.option("--payload", metavar="JSON|@FILE|-", help="The result of the node that waits; null if absent.")
def signal(execution: str, key: str, payload: str | None) -> None:
    """Send the signal KEY, for which a `wait` node waits or will wait."""
    from flowrunner.cli.inputs import read_json
    from flowrunner.client.requests import segments

    client = connect()
    body = {"payload": None if payload is None else read_json("--payload", payload)}
    path = f"/executions/{execution_id(client, execution)}"
    waits = client.get(path).get("waiting_for") or []
    awaited = [wait["key"] for wait in waits if wait["type"] == "signal"]
    say(client.request("POST", f"{path}/signals/{segments(key)}", json=body, idempotency_key=True).object()["message"])
    if key not in awaited:
        others = f"; steps wait for {', '.join(map(repr, awaited))}" if awaited else ""
        say(f"No step waits for '{key}' now, so it is kept for the next one that does{others}")
