"""Command `approve`."""

import click

from flowrunner.cli.common import say_message
from flowrunner.cli.completion import complete_executions
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lookup import execution_path
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples("approve", "approve exec-01m8 ask", 'approve exec-01m8 ask --reject --data \'{"why": "late"}\''),
)
@click.argument("execution", metavar="[ID", required=False, shell_complete=complete_executions)
@click.argument("node", metavar="NODE]", required=False)
@click.option("--reject", is_flag=True, help="Reject it.")
@click.option("--data", metavar="JSON|@FILE|-", help="Data for the node's form.")
def approve(execution: str | None, node: str | None, data: str | None, *, reject: bool) -> None:
    """Approve or reject NODE's request; without arguments, list the approvals that wait for you."""
    client = connect()
    if execution is None or node is None:
        if execution is not None or reject or data is not None:
            raise click.UsageError("Name the execution and the node: flowrunner approve ID NODE")
        show(
            client.entries("/approvals"),
            "execution_id node prompt flow_name:FLOW since until",
            name="execution_id",
            empty="Nothing waits for your approval",
        )
        return
    from flowrunner.cli.inputs import read_json
    from flowrunner.client.requests import segment

    body = {"approved": not reject, **({} if data is None else {"data": read_json("--data", data)})}
    path = f"{execution_path(client, execution)}/approvals/{segment(node)}"
    say_message(client.request("POST", path, json=body, idempotency_key=True))
