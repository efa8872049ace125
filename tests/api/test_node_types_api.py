"""The catalogue of node types, over REST."""

from typing import Any

import jsonschema_rs
import yaml

from api.shapes import assert_error
from flowrunner.nodes import built_in
from support.client import Client

TYPES = "/api/v1/node-types"


def test_the_catalogue_has_every_node_type_with_a_schema_of_its_parameters(account: Client) -> None:
    reply = account.get(TYPES)

    assert reply.status == 200
    by_name: dict[str, Any] = {one["name"]: one for one in reply.json["node_types"]}
    assert list(by_name) == sorted(built_in())
    for one in by_name.values():
        jsonschema_rs.meta.validate(one["params_schema"])
        assert one["description"]
    assert "timeout" in reply.json["common_errors"]


def test_a_node_type_says_how_it_ends_and_whether_it_may_be_repeated(account: Client) -> None:
    by_name = {one["name"]: one for one in account.get(TYPES).json["node_types"]}

    assert by_name["approval"]["actions"] == ["approved", "rejected", "timeout"]
    assert by_name["return"]["actions"] == []
    assert "actions" not in by_name["switch"], "its cases name them"
    assert by_name["foreach"]["child_scopes"] == "nodes"
    assert "child_scopes" not in by_name["log"]
    effects = {
        name: (by_name[name]["pure"], by_name[name]["repeatable"]) for name in ("log", "http.request", "webhook")
    }
    assert effects == {"log": (True, True), "http.request": (False, True), "webhook": (False, False)}


def test_every_example_is_a_node_that_a_flow_accepts(account: Client) -> None:
    wrong = []
    for one in account.get(TYPES).json["node_types"]:
        assert one["examples"], one["name"]
        for example in one["examples"]:
            assert yaml.safe_load(example)["type"] == one["name"]
            nodes = "".join(f"    {line}\n" for line in example.splitlines())
            found = account.post("/api/v1/flows/validate", {"definition": f"nodes:\n  example:\n{nodes}"}).json
            wrong += [(example, fault["message"]) for fault in found["errors"]]

    assert wrong == []


def test_the_example_that_an_editor_inserts_runs_in_a_first_flow(account: Client) -> None:
    # They need a server, a secret or a flow of the reader.
    needy = {"agent", "email.receive", "email.send", "flow", "llm", "mcp", "sql"}
    from_outside = {"http.request", "webhook"}
    ended = {}
    for one in account.get(TYPES).json["node_types"]:
        example = one["examples"][0]
        if one["name"] in from_outside:
            assert not any(needed in example for needed in ("${input.", "${secrets.")), example
        elif one["name"] not in needy:
            nodes = "".join(f"    {line}\n" for line in example.splitlines())
            id = account.run(account.new_flow(f"nodes:\n  example:\n{nodes}"))
            found = account.until_it_waits(id)
            ended[one["name"]] = (found["status"], found.get("error"))

    waiting = {name for name, (status, _) in ended.items() if status in ("running", "waiting")}
    assert waiting == {"approval", "delay", "wait"}
    assert {name: error for name, (_, error) in ended.items() if error} == {"fail": "The order was rejected"}


def test_a_catalogue_that_the_caller_has_is_not_sent_again(account: Client) -> None:
    tag = account.get(TYPES).headers["etag"]

    again = account.request("GET", TYPES, headers={"If-None-Match": tag})

    assert (again.status, again.body) == (304, b"")
    assert_error(Client(account.url).get(TYPES), 401)
