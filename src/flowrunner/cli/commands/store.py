"""Command `store`."""

from collections.abc import Callable
from typing import Any, Final

import click

from flowrunner.cli.commands.value import TakesNegativeNumbers
from flowrunner.cli.common import ask, say, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup

_PATH: Final = "/store/entry"
_FIELDS: Final = "namespace key value expires_at updated_at"


def _in_namespace(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--namespace", default="default", show_default=True, help="The namespace of the key.", metavar="NAME"
    )(command)


@click.group(cls=ServerGroup, epilog=examples("store list"))
def store() -> None:
    """Manage the values that flows of the workspace keep between executions, with nodes of type store."""


@store.command("list", short_help="List the keys.", epilog=examples("store list", "store list --prefix order-"))
@click.option("--namespace", help="Only of this namespace.", metavar="NAME")
@click.option("--prefix", help="Only keys that begin with this.", metavar="TEXT")
def list_(namespace: str | None, prefix: str | None) -> None:
    """List the keys of the workspace's store, without their values."""
    query = {name: text for name, text in (("namespace", namespace), ("prefix", prefix)) if text is not None}
    found = connect().entries("/store", query=query)
    show(found, "namespace key size expires_at updated_at", name="key", empty="There are no entries")


@store.command(short_help="Print an entry.", epilog=examples("store get last-order --query value"))
@click.argument("key")
@_in_namespace
def get(key: str, namespace: str) -> None:
    """Print an entry of the store."""
    show(connect().get(_PATH, key=key, namespace=namespace), _FIELDS, name="key")


@store.command(
    "set",
    cls=TakesNegativeNumbers,
    short_help="Set an entry.",
    epilog=examples("store set last-order 42", "store set seen true --ttl 7d"),
)
@click.argument("key")
@click.argument("given", metavar="VALUE|@FILE|-")
@click.option("--ttl", help="How long it is kept: 10m, 2h, 1d. Indefinitely if absent.", metavar="DURATION")
@_in_namespace
def set_(key: str, given: str, ttl: str | None, namespace: str) -> None:
    """Set an entry: JSON if it is JSON, and text if not. Quote a number as '"7"' to keep it text."""
    from flowrunner.cli.inputs import read_any_json_or_text

    body = {"value": read_any_json_or_text(given), **({} if ttl is None else {"ttl": ttl})}
    saved = connect().request("PUT", _PATH, query={"key": key, "namespace": namespace}, json=body).object()
    show(saved, _FIELDS, name="key")


@store.command(short_help="Delete an entry.", epilog=examples("store delete last-order"))
@click.argument("key")
@_in_namespace
@yes_option
def delete(key: str, namespace: str, *, yes: bool) -> None:
    """Delete an entry of the store. Flows find no value then."""
    client = connect()
    ask(f"Delete the entry '{key}'?", yes=yes)
    say(client.request("DELETE", _PATH, query={"key": key, "namespace": namespace}).object()["message"])
