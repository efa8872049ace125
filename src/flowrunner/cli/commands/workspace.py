"""Command `workspace`."""

from typing import TYPE_CHECKING

import click

from flowrunner.cli.common import CommandFailed, ask, common, say, say_message, yes_option
from flowrunner.cli.completion import complete_workspaces
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import object_id, only
from flowrunner.cli.output import check_fields, show
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import given_fields

if TYPE_CHECKING:
    from flowrunner.client import Client

workspace_argument = click.argument("workspace", shell_complete=complete_workspaces)
_PATH = "/workspaces"
_ROLES = click.Choice(["viewer", "operator", "editor", "admin"])


@click.group(cls=ServerGroup, epilog=examples("workspace use data-team"))
def workspace() -> None:
    """Manage workspaces and their members. WORKSPACE is a slug, a name or an id."""


@workspace.command("list", short_help="List your workspaces.", epilog=examples("workspace list"))
@limit_option
def list_(limit: Limit) -> None:
    """List your workspaces, with your role in each."""
    show_list(connect(), _PATH, "slug name role id created_at", limit=limit, name="slug")


@workspace.command(short_help="Create a workspace.", epilog=examples("workspace create 'Data team' --slug data-team"))
@click.argument("name")
@click.option("--slug", help="Its name in URLs; derived from the name by default.")
def create(name: str, slug: str | None) -> None:
    """Create a shared workspace, with you as its admin."""
    body = given_fields(name=name, slug=slug)
    show(connect().request("POST", _PATH, json=body, idempotency_key=True).object(), name="slug")


@workspace.command(short_help="Work in a workspace from now on.", epilog=examples("workspace use data-team"))
@workspace_argument
def use(workspace: str) -> None:
    """Make this the current workspace of the context."""
    from dataclasses import replace

    from flowrunner.cli.connection import find_target
    from flowrunner.cli.contexts import changing_contexts
    from flowrunner.cli.exits import USAGE

    client = connect()
    slug = client.get(_path(client, workspace))["slug"]
    with changing_contexts() as contexts:
        name = find_target(contexts).name
        if name is None:
            raise CommandFailed("Log in first, or set FLOWRUNNER_WORKSPACE: there is no context to keep it", USAGE)
        contexts.by_name[name] = replace(contexts.by_name[name], workspace=slug)
    say(f"Commands now work in '{slug}'")


@workspace.command(short_help="Show what a workspace holds.", epilog=examples("workspace usage data-team"))
@workspace_argument
def usage(workspace: str) -> None:
    """Show how much a workspace holds, beside its limits."""
    client = connect()
    show(client.get(f"{_path(client, workspace)}/usage"), name="stored")


@workspace.group(short_help="Manage the members of a workspace.", epilog=examples("workspace members list data-team"))
def members() -> None:
    """Manage the members of a workspace. MEMBER is an e-mail address or an id."""


@members.command("list", short_help="List the members.", epilog=examples("workspace members list data-team"))
@workspace_argument
@limit_option
def list_members(workspace: str, limit: Limit) -> None:
    """List the members of a workspace."""
    client = connect()
    path = f"{_path(client, workspace)}/members"
    show_list(client, path, "email name role owner added_at account_id", limit=limit, name="account_id")


@members.command(short_help="Add a member.", epilog=examples("workspace members add data-team ada@example.com editor"))
@workspace_argument
@click.argument("member")
@click.argument("role", type=_ROLES)
def add(workspace: str, member: str, role: str) -> None:
    """Add an account to a workspace."""
    client = connect()
    path = f"{_path(client, workspace)}/members"
    body = {"account": member, "role": role}
    show(client.request("POST", path, json=body, idempotency_key=True).object(), name="account_id")


@members.command(
    "set",
    short_help="Change the role of a member.",
    epilog=examples("workspace members set data-team ada@example.com admin"),
)
@workspace_argument
@click.argument("member")
@click.argument("role", type=_ROLES)
def set_(workspace: str, member: str, role: str) -> None:
    """Change the role of a member."""
    client = connect()
    path = f"{_path(client, workspace)}/members"
    changed = client.request("PUT", f"{path}/{_member(client, path, member)}", json={"role": role}).object()
    show(changed, name="account_id")


@members.command(short_help="Remove a member.", epilog=examples("workspace members remove data-team ada@example.com"))
@workspace_argument
@click.argument("member")
@yes_option
def remove(workspace: str, member: str, *, yes: bool) -> None:
    """Remove a member, and revoke that account's tokens for the workspace."""
    client = connect()
    path = f"{_path(client, workspace)}/members"
    id = _member(client, path, member)
    ask(f"Remove '{member}' from '{workspace}'?", yes=yes)
    say_message(client.request("DELETE", f"{path}/{id}"))


@workspace.command(
    short_help="Invite an e-mail address.", epilog=examples("workspace invite data-team kim@example.com operator")
)
@workspace_argument
@click.argument("email")
@click.argument("role", type=_ROLES)
@click.option("--expires-in", metavar="DURATION", help="How long the link is valid; 7d by default.")
def invite(workspace: str, email: str, role: str, expires_in: str | None) -> None:
    """Invite an e-mail address, with or without an account, and print the link, once.

    This needs a login of an admin of the workspace, and no API token.
    """
    client = connect()
    path = f"{_path(client, workspace)}/invitations"
    body = given_fields(email=email, role=role, expires_in=expires_in)
    check_fields(common(), "NewInvitation")
    made = client.request("POST", path, json=body, idempotency_key=True).object()
    # Without public_url the server does not know its address, which the context has.
    link = made["link"]
    show({**made, "link": f"{common().address.rstrip('/')}{link}" if link.startswith("/") else link})


@workspace.group(
    short_help="List and revoke open invitations.", epilog=examples("workspace invitations list data-team")
)
def invitations() -> None:
    """List and revoke the invitations of a workspace that are not accepted yet."""


@invitations.command(
    "list", short_help="List the open invitations.", epilog=examples("workspace invitations list data-team")
)
@workspace_argument
@limit_option
def list_invitations(workspace: str, limit: Limit) -> None:
    """List the invitations that are neither accepted nor expired."""
    client = connect()
    path = f"{_path(client, workspace)}/invitations"
    empty = "There are no open invitations: 'flowrunner workspace invite' makes one"
    show_list(client, path, "email role created_at expires_at id", limit=limit, empty=empty)


@invitations.command(
    short_help="Revoke an invitation.", epilog=examples("workspace invitations revoke data-team kim@example.com")
)
@workspace_argument
@click.argument("invitation")
@yes_option
def revoke(workspace: str, invitation: str, *, yes: bool) -> None:
    """Revoke an invitation, named by its e-mail address or id: its link no longer works."""
    client = connect()
    path = f"{_path(client, workspace)}/invitations"
    id = only(
        "invitation", invitation, [one for one in client.entries(path) if invitation in (one["id"], one["email"])]
    )
    ask(f"Revoke the invitation of '{invitation}' to '{workspace}'?", yes=yes)
    say_message(client.request("DELETE", f"{path}/{id}"))


def _path(client: "Client", given: str) -> str:
    return f"{_PATH}/{object_id(client, _PATH, 'workspace', given)}"


def _member(client: "Client", path: str, given: str) -> str:
    entries = ({**one, "id": one["account_id"]} for one in client.entries(path))
    return only("member", given, [one for one in entries if given in (one["id"], one["email"])])
