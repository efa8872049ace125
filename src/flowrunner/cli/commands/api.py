"""Command `api`."""

from collections.abc import Sequence

import click

from flowrunner.cli.common import common
from flowrunner.cli.connection import connect
from flowrunner.cli.examples import examples
from flowrunner.cli.output import print_bytes, show, show_value
from flowrunner.cli.server_command import ServerCommand


@click.command(
    cls=ServerCommand,
    epilog=examples(
        "api GET '/flows?limit=3'", "api POST /flows/validate -i @body.json", "api GET /flows -p tag=orders"
    ),
)
@click.argument("method", type=click.Choice(["GET", "POST", "PUT", "DELETE"], case_sensitive=False))
@click.argument("path")
@click.option("-i", "--input", metavar="JSON|@FILE|-", help="The request body.")
@click.option("-p", "--param", "params", metavar="NAME=VALUE", multiple=True, help="A query parameter.")
@click.option("-H", "--header", "headers", metavar="NAME: VALUE", multiple=True, help="An additional header.")
@click.option("--content-type", metavar="TYPE", help="Content type of the body, which is then sent unchanged.")
def api(
    method: str,
    path: str,
    input: str | None,
    content_type: str | None,
    *,
    params: Sequence[str],
    headers: Sequence[str],
) -> None:
    """Send a request to the API and print the answer. PATH is relative to /api/v1, or absolute."""
    from flowrunner.cli.inputs import read_bytes, read_json

    query: dict[str, list[str]] = {}
    for name, value in _pairs(params, "=", "--param"):
        query.setdefault(name, []).append(value)
    is_raw = input is not None and content_type is not None
    try:
        answer = connect().request(
            method.upper(),
            path,
            query=query,
            json=None if input is None or is_raw else read_json("--input", input),
            content=read_bytes("--input", input) if input is not None and is_raw else None,
            content_type=content_type,
            headers=dict(_pairs(headers, ":", "--header")),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if answer.headers.get("content-type", "").partition(";")[0] != "application/json":
        print_bytes(answer.body)
    elif common().fields and isinstance(answer.json(), dict):
        show(answer.json())
    else:
        show_value(answer.json())


def _pairs(given: Sequence[str], separator: str, option: str) -> list[tuple[str, str]]:
    pairs = [one.partition(separator) for one in given]
    if not all(name.strip() and found for name, found, _ in pairs):
        raise click.UsageError(f"{option} takes a name and a value, with '{separator}' between them.")
    return [(name.strip(), value.strip()) for name, _, value in pairs]
