"""The JSON Schema of flow documents, over REST."""

from typing import Any

import jsonschema_rs

from api.shapes import assert_error
from support.client import Client


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
