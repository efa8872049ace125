"""Command `value`."""

import re
from typing import TYPE_CHECKING, Any, Final

import click

from flowrunner.cli.common import ask, say_message, set_each, yes_option
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.output import show
from flowrunner.cli.server_command import ServerCommand, ServerGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowrunner.client import Client
    from flowrunner.domain.values import JSON

_PATH: Final = "/config"


class TakesNegativeNumbers(ServerCommand):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Otherwise a misspelt option would be taken for the value.
        ctx.ignore_unknown_options = any(re.fullmatch(r"-[0-9.]+(?:[eE][-+]?[0-9]+)?", arg) for arg in args)
        return super().parse_args(ctx, args)


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
    cls=TakesNegativeNumbers,
    short_help="Set a configuration value.",
    epilog=examples("value set CHANNEL '#orders'", "value set LIMIT 500", "value set HOSTS @hosts.json"),
)
@click.argument("name")
@click.argument("given", metavar="VALUE|@FILE|-")
def set_(name: str, given: str) -> None:
    """Set a configuration value: JSON if it is JSON, and text if not. Quote a number as '"7"' to keep it text."""
    from flowrunner.cli.inputs import read_any_json_or_text

    show(_set(connect(), name, read_any_json_or_text(given)), "name value updated_at", name="name")


@value.command(short_help="Delete a configuration value.", epilog=examples("value delete CHANNEL"))
@click.argument("name")
@yes_option
def delete(name: str, *, yes: bool) -> None:
    """Delete a configuration value. Flows that read it fail if they start from then on."""
    client = connect()
    ask(f"Delete the configuration value '{name}'?", yes=yes)
    say_message(client.request("DELETE", _path(name)))


@value.command(
    "import", short_help="Set the configuration values of a file.", epilog=examples("value import staging.yaml")
)
@click.argument("file")
@yes_option
def import_(file: str, *, yes: bool) -> None:
    """Set every configuration value in a YAML or JSON file, a map of names and values."""
    from flowrunner.cli.config_files import check_bounds, read_config

    found = read_config(file)
    client = connect()
    existing = {one["name"]: one["value"] for one in client.entries(_PATH)}
    check_bounds(file, {**existing, **found})
    replaced = sorted(name for name in existing.keys() & found.keys() if _json(existing[name]) != _json(found[name]))
    # Another person may change one while the question is open, or add one.
    conditions = {name: {"If-None-Match": "*"} for name in found.keys() - existing.keys()}
    conditions |= {name: {"If-Match": client.request("GET", _path(name)).etag} for name in replaced}
    if replaced:
        ask(f"Overwrite the values of {', '.join(replaced)}?", yes=yes)
    set_each(
        [name for name in found if name in conditions], lambda name: _set(client, name, found[name], conditions[name])
    )
    actions = {
        **dict.fromkeys(found, "created"),
        **dict.fromkeys(existing, "unchanged"),
        **dict.fromkeys(replaced, "replaced"),
    }
    show([{"name": name, "action": actions[name]} for name in found], "name action", name="name")


def _set(
    client: "Client", name: str, value: "JSON", condition: "Mapping[str, str | None] | None" = None
) -> dict[str, Any]:
    return client.request("PUT", _path(name), json={"value": value}, headers=condition).object()


def _json(value: "JSON") -> bytes:
    """Return the JSON of a value: in Python, True is equal to 1."""
    import msgspec

    return msgspec.json.encode(value, order="deterministic")


def _path(name: str) -> str:
    from flowrunner.client.requests import segment

    return f"{_PATH}/{segment(name)}"
