"""Idempotency keys: every part of a request counts when its key is used again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from api.shapes import assert_error
from support.client import Client, Reply

FLOW: Final = """inputs:
  n: {type: integer, default: 0}
nodes:
  first: {type: log, params: {message: hi}, next: second}
  second: {type: return}
"""
WAIT: Final = "nodes:\n  paid: {type: wait, params: {key: paid}}\n"
ASK: Final = "nodes:\n  ask: {type: approval}\n"


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A request that takes an idempotency key.

    Attributes:
        definition: The flow of the execution that the request is about; the request runs it if it is None.
        node: The node that the execution waits at; None if it has to end first.
        body: The body of the first request.
        others: For each field of the body, a value that differs from the first request's.
    """

    definition: str | None
    path: str
    node: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)


KEYED: Final = {
    "POST /api/v1/flows/{id}/run": Keyed(
        definition=None, path="/run", others={"input": {"n": 1}, "labels": {"team": "a"}}
    ),
    "POST /api/v1/flows/by-name/{name}/run": Keyed(
        definition=None, path="/run", others={"input": {"n": 1}, "labels": {"team": "a"}}
    ),
    "POST /api/v1/executions/{id}/rerun": Keyed(
        definition=FLOW,
        path="/rerun",
        body={"from": "second"},
        others={
            "from": "first",
            "elements": "failed",
            "input": {"n": 1},
            "node_input": {"n": 1},
            "revision": 1,
            "idempotency": "same",
            "labels": {"team": "a"},
        },
    ),
    "POST /api/v1/executions/{id}/signals/{key}": Keyed(
        definition=WAIT, path="/signals/paid", node="paid", others={"payload": 1}
    ),
    "POST /api/v1/executions/{id}/approvals/{node}": Keyed(
        definition=ASK,
        path="/approvals/ask",
        node="ask",
        body={"approved": True},
        others={"approved": False, "data": 1},
    ),
}
EACH_FIELD: Final = [(operation, name) for operation, keyed in KEYED.items() for name in keyed.others]


def subject(account: Client, operation: str) -> str:
    """Return the path of what the request is about."""
    keyed = KEYED[operation]
    if keyed.definition is None:
        id = account.new_flow(FLOW, name="keyed")
        return "/api/v1/flows/by-name/keyed" if "/by-name/" in operation else f"/api/v1/flows/{id}"
    if keyed.node is None:
        return f"/api/v1/executions/{account.run_to_end(keyed.definition)['id']}"
    id = account.run(account.new_flow(keyed.definition))
    account.waiting_at(id, keyed.node)
    return f"/api/v1/executions/{id}"


def test_each_request_about_an_execution_is_tested_with_each_field_of_its_body(admin: Client) -> None:
    document = admin.get("/api/v1/openapi.json").json
    fields: dict[str, set[str]] = {}
    for path, item in document["paths"].items():
        # Other requests are compared by all bytes of their bodies: see `test_repeated_requests`.
        if not path.endswith("/run") and not path.startswith("/api/v1/executions/{id}/"):
            continue
        for method, operation in item.items():
            if "requestBody" in operation and any(
                parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())
            ):
                text = str(operation["requestBody"]["content"]["application/json"]["schema"])
                (model,) = [name for name in document["components"]["schemas"] if f"/{name}'" in text]
                fields[f"{method.upper()} {path}"] = set(document["components"]["schemas"][model]["properties"])

    assert fields == {operation: set(keyed.others) for operation, keyed in KEYED.items()}


@pytest.mark.parametrize(("operation", "name"), EACH_FIELD)
def test_a_key_used_again_with_another_field_is_refused(account: Client, operation: str, name: str) -> None:
    keyed = KEYED[operation]
    at = subject(account, operation)

    def send(**changed: Any) -> Reply:
        return account.post(f"{at}{keyed.path}", {**keyed.body, **changed}, Idempotency_Key="k")

    assert send().status in (200, 201)
    details = assert_error(
        send(**{name: keyed.others[name]}), 422, "Idempotency-Key: was used before, with another request"
    )
    assert details["errors"][0]["code"] == "reused"
    assert send().status == 200
