"""The JSON Schema of flow documents, over REST."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from api.shapes import assert_error
from flowrunner.api.mcp.arguments import schema_of
from flowrunner.api.mcp.tools import TOOLS
from support.client import Client
from support.flows import specs


def test_the_schema_of_flows_is_given_to_whoever_is_logged_in(account: Client) -> None:
    reply = account.get("/api/v1/schemas/flow")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    schema: Any = reply.json
    jsonschema_rs.meta.validate(schema)
    checker = jsonschema_rs.Draft7Validator(schema)
    assert checker.is_valid({"nodes": {"a": {"type": "log", "params": {"message": "x"}}}})
    assert not checker.is_valid({"nodes": {"a": {"type": "log", "params": {"massage": "x"}}}})


def test_a_schema_that_the_caller_has_is_not_sent_again(account: Client) -> None:
    tag = account.get("/api/v1/schemas/flow").headers["etag"]

    again = account.request("GET", "/api/v1/schemas/flow", headers={"If-None-Match": tag})
    another = account.request("GET", "/api/v1/schemas/flow", headers={"If-None-Match": '"of-long-ago"'})

    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert another.status == 200


def test_nobody_else_gets_it(account: Client) -> None:
    assert_error(Client(account.url).get("/api/v1/schemas/flow"), 401)


def defaults(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema within one that has a default, with its place."""
    if isinstance(schema, dict):
        if "default" in schema and not isinstance(schema["default"], dict | list):
            yield place, schema
        for name, value in schema.items():
            yield from defaults(value, f"{place}/{name}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from defaults(value, f"{place}/{index}")


def test_what_an_absent_value_stands_for_may_be_written_too() -> None:
    schemas: dict[str, Any] = {f"tool {tool.name}": schema_of(tool.arguments) for tool in TOOLS.values()}
    schemas |= {f"node type {name}": spec.params_schema() for name, spec in specs().items()}
    found = {(name, place): each for name, schema in schemas.items() for place, each in defaults(schema)}
    shared = {name: schema.get("$defs", {}) for name, schema in schemas.items()}

    wrong = [
        place for place, each in found.items()
        if not jsonschema_rs.is_valid({**each, "$defs": shared[place[0]]}, each["default"])
    ]  # fmt: skip

    assert len(found) > 20
    assert wrong == []
