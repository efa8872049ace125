"""Command `secret`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from flowrunner.cli.common import ask, read_secret, say_message, set_each, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup

if TYPE_CHECKING:
    from flowrunner.client import Answer, Client

_OF_PERSONAL_WORKSPACE: Final = "/accounts/me/secrets"


@click.group(cls=ServerGroup, epilog=examples("secret list"))
def secret() -> None:
    """Manage the secrets of the workspace. Values are never shown again."""


@secret.command("list", short_help="List the names of secrets.", epilog=examples("secret list"))
def list_() -> None:
    """List the names of the secrets, and the flows that use them."""
    client = connect()
    found = client.entries(_path(client))
    rows = ({**one, "used_by": [flow["name"] for flow in one["used_by"]]} for one in found)
    show(
        rows,
        "key updated_at last_used_at used_by",
        name="key",
        empty="There are no secrets yet: 'flowrunner secret set KEY' creates one",
    )


@secret.command("set", short_help="Set a secret.", epilog=examples("secret set API_KEY", "secret set API_KEY @key.txt"))
@click.argument("key")
@click.argument("source", metavar="[@FILE|-]", required=False)
def set_(key: str, source: str | None) -> None:
    """Set a secret. Its value comes from a prompt, a file or the standard input; a final line break is dropped."""
    client = connect()
    value = read_secret(f"Value of {key}", given=source)
    show(_set(client, _path(client), key, value), name="key")


@secret.command(short_help="Delete a secret.", epilog=examples("secret delete API_KEY"))
@click.argument("key")
@yes_option
def delete(key: str, *, yes: bool) -> None:
    """Delete a secret. Nodes that use it fail from then on."""
    from flowrunner.client.requests import segment

    client = connect()
    ask(f"Delete the secret '{key}'?", yes=yes)
    say_message(_send(client, "DELETE", f"{_path(client)}/{segment(key)}"))


@secret.command("import", short_help="Set the secrets of a .env file.", epilog=examples("secret import .env"))
@click.argument("file")
@yes_option
def import_(file: str, *, yes: bool) -> None:
    """Set every secret in a .env file, replacing existing values. Only you may have permission to read the file."""
    from flowrunner.cli.secrets import read_env

    found = read_env(Path(file))
    client = connect()
    path = _path(client)
    existing = {one["key"] for one in client.entries(path)}
    if replaced := sorted(existing & found.keys()):
        ask(f"Overwrite the values of {', '.join(replaced)}?", yes=yes)
    set_each(found, lambda key: _set(client, path, key, found[key]))
    show([{"key": key, "is_new": key not in existing} for key in found], "key is_new:NEW", name="key")


def _set(client: "Client", path: str, key: str, value: str) -> dict[str, Any]:
    return _send(client, "POST", path, json={"key": key, "value": value}, idempotency_key=True).object()


def _send(client: "Client", method: str, path: str, **more: Any) -> "Answer":
    from flowrunner.client.errors import ForbiddenError, NotFoundError

    try:
        return client.request(method, path, **more)
    except NotFoundError as error:
        # A token of a shared workspace does not reach the personal one.
        if not path.startswith(_OF_PERSONAL_WORKSPACE) or error.message != "Account not found":
            raise
        message = "The token may not list the workspaces that it reaches: name the workspace with --workspace"
        raise ForbiddenError(403, ForbiddenError.code_of_class, message) from None


def _path(client: "Client") -> str:
    """Return the path of the secrets of the workspace that other commands act in."""
    from flowrunner.client.errors import ForbiddenError
    from flowrunner.client.requests import segment

    try:
        workspace = client.workspace or _first_workspace(client)
    except ForbiddenError:
        # The token may not read. It can still set secrets of the personal workspace.
        return _OF_PERSONAL_WORKSPACE
    return f"/workspaces/{segment(workspace)}/secrets"


def _first_workspace(client: "Client") -> str:
    """Return the id of the workspace of commands without a choice: the personal one, or that of an API token."""
    from flowrunner.client.answers import text_of
    from flowrunner.client.errors import UnreadableAnswer

    found = next(client.entries("/workspaces", most=1), None)
    if not isinstance(found, dict):
        raise UnreadableAnswer("The answer has no workspace")
    return text_of(found, "id")
