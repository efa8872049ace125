"""Command `callback`."""

from typing import TYPE_CHECKING, Any

import click

from flowrunner.cli.common import ask, common, say, say_message, yes_option
from flowrunner.cli.completion import complete_callbacks, complete_flows
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.exits import FAILED
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import flow_id, object_id
from flowrunner.cli.output import check_fields, show
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import given_fields

if TYPE_CHECKING:
    from flowrunner.client import Client

callback_argument = click.argument("callback", shell_complete=complete_callbacks)
_PATH = "/callbacks"


@click.group(cls=ServerGroup, epilog=examples("callback list"))
def callback() -> None:
    """Manage callbacks, which notify other systems of events. CALLBACK is an id, its beginning, or a name."""


@callback.command("list", short_help="List callbacks.", epilog=examples("callback list"))
@limit_option
def list_(limit: Limit) -> None:
    """List the callbacks of the workspace."""
    show_list(
        connect(),
        _PATH,
        "id name url events format enabled failures last_error",
        limit=limit,
        empty="There are no callbacks yet: 'flowrunner callback create URL --event EVENT' creates one",
    )


@callback.command(
    short_help="Create a callback.",
    epilog=examples("callback create https://example.com/hook --event execution.failed"),
)
@click.argument("url")
@click.option(
    "--event",
    "events",
    metavar="EVENT",
    multiple=True,
    required=True,
    help="Notify of this event, such as execution.failed; repeatable.",
)
@click.option("--name", help="A name.")
@click.option(
    "--format",
    type=click.Choice(["standard", "slack", "discord", "teams", "email", "template"]),
    help="Format of the message; standard by default.",
)
@click.option("--template", metavar="@FILE", help="The message, for the format template: JSON or text.")
@click.option("--flow", metavar="NAME|ID", help="Only for this flow.", shell_complete=complete_flows)
@click.option("--tag", metavar="TAG", help="Only for flows with this tag.")
@click.option("--children", is_flag=True, help="Also for executions that other executions started.")
def create(
    url: str, events: tuple[str, ...], flow: str | None, template: str | None, *, children: bool, **fields: Any
) -> None:
    """Create a callback. Its signing secret is printed once; messages to chats and mailboxes have none."""
    from flowrunner.cli.inputs import read_json_or_text

    client = connect()
    body = given_fields(url=url, events=list(events), children=children, **fields)
    if flow is not None:
        body["flow_id"] = flow_id(client, flow)
    if template is not None:
        body["template"] = read_json_or_text("--template", template)
    check_fields(common(), "NewCallback")
    show(client.request("POST", _PATH, json=body, idempotency_key=True).object())


@callback.command(short_help="Delete a callback.", epilog=examples("callback delete alerts"))
@callback_argument
@yes_option
def delete(callback: str, *, yes: bool) -> None:
    """Delete a callback, with the log of its deliveries."""
    client = connect()
    id = object_id(client, _PATH, "callback", callback)
    ask(f"Delete the callback '{callback}' ({id})?", yes=yes)
    say_message(client.request("DELETE", f"{_PATH}/{id}"))


@callback.command(short_help="List the deliveries of a callback.", epilog=examples("callback deliveries alerts"))
@callback_argument
@limit_option
def deliveries(callback: str, limit: Limit) -> None:
    """List the deliveries of a callback, newest first."""
    client = connect()
    path = f"{_path(client, callback)}/deliveries"
    columns = "id event state attempts status_code:STATUS created_at next_attempt_at error"
    empty = "No message was sent yet: 'flowrunner callback test' sends one"
    show_list(client, path, columns, limit=limit, empty=empty)


@callback.command(short_help="Deliver a message again.", epilog=examples("callback redeliver alerts delivery-01m8"))
@callback_argument
@click.argument("delivery")
def redeliver(callback: str, delivery: str) -> None:
    """Deliver a message again."""
    client = connect()
    path = f"{_path(client, callback)}/deliveries"
    id = object_id(client, path, "delivery", delivery)
    show(client.request("POST", f"{path}/{id}/redeliver").object())


@callback.command(short_help="Deliver a test message now.", epilog=examples("callback test alerts"))
@callback_argument
def test(callback: str) -> None:
    """Send a test message now, and print the result. Exits with 1 if the receiver did not take it."""
    client = connect()
    delivery = client.request("POST", f"{_path(client, callback)}/test").object()
    show(delivery)
    if delivery.get("error") == "egress.forbidden":
        say("  hint: callbacks may not connect to this address; the operator can allow it with egress_allow")
    if delivery["state"] != "delivered":
        raise click.exceptions.Exit(FAILED)


def _path(client: "Client", given: str) -> str:
    return f"{_PATH}/{object_id(client, _PATH, 'callback', given)}"
