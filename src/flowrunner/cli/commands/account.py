"""Command `account`."""

import os
import sys
from typing import Any

import click

from flowrunner.cli.common import ask, read_secret, say, say_message, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.lists import Limit, limit_option, show_list
from flowrunner.cli.lookup import object_id
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup
from flowrunner.cli.shared_options import given_fields
from flowrunner.settings import load_settings

account_argument = click.argument("account", default="me")
_PATH = "/accounts"
_ROLES = click.Choice(["viewer", "user", "admin"])
_COLUMNS = "id name email email_confirmed role disabled created_at"


@click.group(cls=ServerGroup, epilog=examples("account get", "account list"))
def account() -> None:
    """Manage accounts. ACCOUNT is an e-mail address, an id or its beginning; your own by default."""


@account.command("list", short_help="List accounts.", epilog=examples("account list --role admin"))
@click.option("--role", type=_ROLES, help="With this role.")
@limit_option
def list_(role: str | None, limit: Limit) -> None:
    """List the accounts of the installation, for admins."""
    show_list(connect(), _PATH, _COLUMNS, query={"role": role}, limit=limit)


@account.command(short_help="Print an account.", epilog=examples("account get", "account get ada@example.com"))
@account_argument
def get(account: str) -> None:
    """Print an account."""
    client = connect()
    show(client.get(f"{_PATH}/{_id(client, account)}"))


@account.command(short_help="Create an account.", epilog=examples("account create ada@example.com --name Ada"))
@click.argument("email")
@click.option("--name", required=True, help="The name of the person.")
@click.option("--role", type=_ROLES, default="user", show_default=True, help="What the account may do.")
@click.option("--email-confirmed", is_flag=True, help="Treat the address as confirmed.")
def create(email: str, name: str, role: str, *, email_confirmed: bool) -> None:
    """Create an account, for admins. Its password is prompted for, or read from the standard input."""
    body = {"email": email, "name": name, "role": role, "email_confirmed": email_confirmed}
    client = connect()
    body["password"] = read_secret("Password", confirm=True)
    show(client.request("POST", _PATH, json=body, idempotency_key=True).object())


@account.command(
    short_help="Change an account.",
    epilog=examples("account update ada@example.com --role admin", "account update ada@example.com --email-confirmed"),
)
@account_argument
@click.option("--name", help="A new name.")
@click.option("--email", help="A new e-mail address.")
@click.option("--role", type=_ROLES, help="Another role, for admins.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether the account can log in, for admins.")
@click.option(
    "--email-confirmed/--email-unconfirmed",
    default=None,
    help="Whether the address is confirmed as theirs, for admins.",
)
def update(account: str, **fields: Any) -> None:
    """Change the name, the e-mail address or the role of an account."""
    body = given_fields(**fields)
    if not body:
        raise click.UsageError(
            "Name what to change: --name, --email, --role, --disable, --enable or --email-confirmed."
        )
    if body.get("email_confirmed") and "email" not in body:
        if "@" not in account:
            raise click.UsageError("Name the confirmed address: give it as the account, or with --email.")
        body["email"] = account
    client = connect()
    show(client.request("PUT", f"{_PATH}/{_id(client, account)}", json=body).object())


@account.command("confirm-email", short_help="Confirm your e-mail address.", epilog=examples("account confirm-email"))
@click.argument("token", required=False)
def confirm_email(token: str | None) -> None:
    """Send a confirmation link to your e-mail address.

    With a TOKEN, the part of the link after the #, confirm the address.
    """
    path = f"{_PATH}/me/email-confirmation"
    if token is None:
        say_message(connect().request("POST", path))
    else:
        show(connect().request("POST", f"{path}/confirm", json={"token": token}).object())


@account.command(
    "mark-confirmed",
    cls=click.Command,
    short_help="Confirm e-mail addresses, on the server's machine.",
    epilog=examples("account mark-confirmed ada@example.com grace@example.com"),
)
@click.argument("emails", metavar="EMAIL…", nargs=-1, required=True)
@click.option("--data-dir", metavar="DIR", help="Directory of the server's database, as the server has it.")
def mark_confirmed(emails: tuple[str, ...], **flags: str | None) -> None:
    """Mark e-mail addresses as confirmed: on the server's machine, without a login.

    The server may be running. Its settings come from its settings file and its variables.
    """
    from flowrunner.cli.maintenance import confirm_emails

    confirm_emails(load_settings(flags, os.environ), emails)


@account.command(short_help="Change your password.", epilog=examples("account password"))
def password() -> None:
    """Change your password, at a prompt or with both passwords as lines of the standard input.

    All logins and API tokens of the account end.
    """
    client = connect()
    if sys.stdin.isatty():
        current, new = read_secret("Current password"), read_secret("New password", confirm=True)
    else:
        current, _, new = read_secret("Passwords").partition("\n")
    body = {"current_password": current, "password": new}
    client.request("PUT", f"{_PATH}/me", json=body)
    say("Password changed; log in again")


@account.command(
    short_help="Delete an account.",
    epilog=examples("account delete ada@example.com --workspace-to grace@example.com"),
)
@click.argument("account")
@click.option("--delete-workspace", is_flag=True, help="Delete its personal workspace too, even if it is not empty.")
@click.option("--workspace-to", metavar="ACCOUNT", help="Give its personal workspace to this account.")
@click.option("--keep-workspace", is_flag=True, help="Leave its personal workspace to its other members.")
@yes_option
def delete(account: str, workspace_to: str | None, *, delete_workspace: bool, keep_workspace: bool, yes: bool) -> None:
    """Delete an account, for admins."""
    choices = [("delete", delete_workspace), ("give", workspace_to is not None), ("keep", keep_workspace)]
    chosen = [name for name, is_chosen in choices if is_chosen]
    if len(chosen) > 1:
        raise click.UsageError("Give only one option for the personal workspace.")
    client = connect()
    id = _id(client, account)
    query = {
        "workspace": chosen[0] if chosen else None,
        "to": None if workspace_to is None else _id(client, workspace_to),
    }
    ask(f"Delete the account '{account}' ({id})?", yes=yes)
    say_message(client.request("DELETE", f"{_PATH}/{id}", query=query))


@account.command(
    "reset-password",
    cls=click.Command,
    short_help="Set a lost password, on the server's machine.",
    epilog=examples("account reset-password ada@example.com", "account reset-password ada@example.com --prompt"),
)
@click.argument("email")
@click.option("--prompt", is_flag=True, help="Ask for the new password, or read it from the standard input.")
@click.option("--data-dir", metavar="DIR", help="Directory of the server's database, as the server has it.")
@click.option("--public-url", metavar="URL", help="Address of the server, for the link; by default the link is a path.")
def reset_password(email: str, *, prompt: bool, **flags: str | None) -> None:
    """Create a link that sets a new password, or set one: on the server's machine, without a login.

    The link works once, within an hour. A new password ends all logins and API tokens of the account, and leaves
    its second factors. The server may be running. Its settings come from its settings file and its variables.
    """
    settings = load_settings(flags, os.environ)
    if prompt:
        from flowrunner.cli.maintenance import set_password

        set_password(settings, email, read_secret("New password", confirm=True))
        return
    from flowrunner.cli.maintenance import reset_password as run

    run(settings, email)


def _id(client: Any, given: str) -> str:
    return given if given == "me" else object_id(client, _PATH, "account", given)
