"""Command `value`."""

from typing import TYPE_CHECKING, Any, Final

import click

from flowrunner.cli.common import ask, say, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerGroup

if TYPE_CHECKING:
    from flowrunner.client import Client
    from flowrunner.domain.values import JSON

_PATH: Final = "/config"


@click.group(cls=ServerGroup, epilog=examples("value list"))
def value() -> None:
    """Manage the configuration values of the workspace, which flows read as ${config.NAME}."""


@value.command("list", short_help="List configuration values.", epilog=examples("value list"))
def list_() -> None:
    """List the configuration values, and the flows that use them."""
    found = connect().entries(_PATH)
    rows = ({**one, "used_by": [flow["name"] for flow in one["used_by"]]} for one in found)
    show(
        rows,
        "name value updated_at used_by",
        name="name",
        empty="There are no configuration values yet: 'flowrunner value set NAME VALUE' creates one",
    )


@value.command(
    short_help="Print a configuration value.", epilog=examples("value get CHANNEL", "value get CHANNEL --query value")
)
@click.argument("name")
def get(name: str) -> None:
    """Print a configuration value."""
    show(connect().get(_path(name)), "name value updated_at", name="name")


@value.command(
    "set",
    short_help="Set a configuration value.",
    epilog=examples("value set CHANNEL '#orders'", "value set LIMIT 500", "value set HOSTS @hosts.json"),
)
@click.argument("name")
@click.argument("given", metavar="VALUE|@FILE|-")
def set_(name: str, given: str) -> None:
    """Set a configuration value: JSON if it is JSON, and text if not. Quote a number as '"7"' to keep it text."""
    from flowrunner.cli.inputs import read_any_json_or_text

    show(_set(connect(), name, read_any_json_or_text("VALUE", given)), "name value updated_at", name="name")


@value.command(short_help="Delete a configuration value.", epilog=examples("value delete CHANNEL"))
@click.argument("name")
@yes_option
def delete(name: str, *, yes: bool) -> None:
    """Delete a configuration value. Flows that read it fail if they start from then on."""
    client = connect()
    ask(f"Delete the configuration value '{name}'?", yes=yes)
    say(client.request("DELETE", _path(name)).object()["message"])


@value.command(
    "import", short_help="Set the configuration values of a file.", epilog=examples("value import staging.yaml")
)
@click.argument("file")
@yes_option
def import_(file: str, *, yes: bool) -> None:
    """Set every configuration value in a YAML or JSON file, a map of names and values."""
    from flowrunner.cli.config_files import read_config

    found = read_config(file)
    client = connect()
    existing = {one["name"]: one["value"] for one in client.entries(_PATH)}
    if replaced := sorted(name for name in existing.keys() & found.keys() if existing[name] != found[name]):
        ask(f"Overwrite the values of {', '.join(replaced)}?", yes=yes)
    rows = []
    for name, new in found.items():
        action = "created" if name not in existing else "replaced" if name in replaced else "unchanged"
        if action != "unchanged":
            _set(client, name, new)
        rows.append({"name": name, "action": action})
    show(rows, "name action", name="name")


def _set(client: "Client", name: str, value: "JSON") -> dict[str, Any]:
    return client.request("PUT", _path(name), json={"value": value}).object()


def _path(name: str) -> str:
    from flowrunner.client.requests import segment

    return f"{_PATH}/{segment(name)}"
