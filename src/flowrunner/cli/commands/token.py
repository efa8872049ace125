"""Command `token`."""

from contextlib import suppress

import click

from flowrunner.cli.common import ask, common, say_message, warn, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import object_id
from flowrunner.cli.output import check_fields, show
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import given_fields

_PATH = "/tokens"


@click.group(cls=ServerGroup, epilog=examples("token create deploy --scope read --scope write --expires-in 90d"))
def token() -> None:
    """Manage API tokens, with which programs act for you."""


@token.command(
    short_help="Create a token.",
    epilog=examples(
        "token create deploy --scope read --scope write", "token create ci --scope run -o json --fields token"
    ),
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    required=True,
    help="A right: read, run, write, members, admin or mcp; repeat for several.",
)
@click.option("--expires-in", metavar="DURATION", help="How long it is valid; indefinitely by default.")
def create(name: str, scopes: tuple[str, ...], expires_in: str | None) -> None:
    """Create a token and print it, once. It is valid for one workspace: that of --workspace."""
    from flowrunner.client import ClientError

    body = given_fields(name=name, scopes=list(scopes), expires_in=expires_in)
    check_fields(common(), "NewToken")
    client = connect()
    created = client.request("POST", _PATH, json=body, idempotency_key=True).object()
    show(created)
    # The token is made, whatever becomes of the question: it may not show the others, for example.
    with suppress(ClientError):
        if any(one["name"] == name and one["id"] != created["id"] for one in client.entries(_PATH)):
            warn(f"there is another token called '{name}': 'flowrunner token revoke ID' revokes one of them")


@token.command("list", short_help="List your tokens.", epilog=examples("token list"))
@limit_option
def list_(limit: Limit) -> None:
    """List your API tokens, with their last use."""
    show_list(
        connect(),
        _PATH,
        "id name scopes created_at expires_at last_used_at",
        limit=limit,
        empty="You have no API tokens: 'flowrunner token create NAME --scope read' creates one",
    )


@token.command(short_help="Revoke a token.", epilog=examples("token revoke deploy"))
@click.argument("token")
@yes_option
def revoke(token: str, *, yes: bool) -> None:
    """Revoke a token by its name or id."""
    client = connect()
    id = object_id(client, _PATH, "token", token)
    ask(f"Revoke the token '{token}' ({id})?", yes=yes)
    say_message(client.request("DELETE", f"{_PATH}/{id}"))
