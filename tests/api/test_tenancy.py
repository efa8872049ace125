"""What belongs to one account does not exist for another, on any route."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from api.shapes import NAP, SMALLEST
from support.client import Client, Reply

DEFINITION: Final = "nodes:\n  only: {type: log, params: {message: hello}}\n"

Call = Callable[[Client, str], Reply]

FLOW_CALLS: Final[dict[str, Call]] = {
    "read": lambda client, of: client.get(f"/api/v1/flows/{of}"),
    "update": lambda client, of: client.put(f"/api/v1/flows/{of}", {"name": "Mine"}),
    "update definition": lambda client, of: client.put(f"/api/v1/flows/{of}", {"definition": SMALLEST}),
    "update by state": lambda client, of: client.put(f"/api/v1/flows/{of}", {"name": "Mine"}, If_Match='"1.1"'),
    "delete": lambda client, of: client.delete(f"/api/v1/flows/{of}"),
    "revisions": lambda client, of: client.get(f"/api/v1/flows/{of}/revisions"),
    "revision": lambda client, of: client.get(f"/api/v1/flows/{of}/revisions/1"),
    "compare": lambda client, of: client.get(f"/api/v1/flows/{of}/revisions/1/diff", against=1),
    "restore": lambda client, of: client.post(f"/api/v1/flows/{of}/revisions/1/restore"),
    "delete revision": lambda client, of: client.delete(f"/api/v1/flows/{of}/revisions/1"),
    "run": lambda client, of: client.post(f"/api/v1/flows/{of}/run", {"input": {}}),
    "run with a key": lambda client, of: client.post(f"/api/v1/flows/{of}/run", {}, Idempotency_Key="k"),
}
EXECUTION_CALLS: Final[dict[str, Call]] = {
    "read": lambda client, of: client.get(f"/api/v1/executions/{of}"),
    "cancel": lambda client, of: client.delete(f"/api/v1/executions/{of}"),
    "logs": lambda client, of: client.get(f"/api/v1/executions/{of}/logs"),
    "logs by level": lambda client, of: client.get(f"/api/v1/executions/{of}/logs", level="info"),
}


def without_id(reply: Reply) -> tuple[int, dict[str, str], Any]:
    """An answer but for what differs between any two requests."""
    of_each = ("x-request-id", "date", "ratelimit")
    headers = {name: value for name, value in reply.headers.items() if name not in of_each}
    body = reply.json
    body["error"]["request_id"] = "?" * len(body["error"]["request_id"])
    return reply.status, headers, json.dumps(body)


@pytest.mark.parametrize("call", FLOW_CALLS)
def test_s13_a_flow_of_another_account_looks_like_none(
    account: Client, other: Client, admin: Client, call: str
) -> None:
    id = account.new_flow(DEFINITION)
    before = account.get(f"/api/v1/flows/{id}").json
    for client in (other, admin):
        foreign, absent = FLOW_CALLS[call](client, id), FLOW_CALLS[call](client, "x" * len(id))

        assert foreign.status == 404
        assert without_id(foreign) == without_id(absent)
    assert account.get(f"/api/v1/flows/{id}").json == before
    assert account.get("/api/v1/executions").json["total"] == 0


@pytest.mark.parametrize("call", EXECUTION_CALLS)
@pytest.mark.parametrize("definition", [DEFINITION, NAP])
def test_s13_an_execution_of_another_account_looks_like_none(
    account: Client, other: Client, admin: Client, call: str, definition: str
) -> None:
    id = account.run(account.new_flow(definition))
    before = account.until_it_waits(id)
    for client in (other, admin):
        foreign, absent = EXECUTION_CALLS[call](client, id), EXECUTION_CALLS[call](client, "x" * len(id))

        assert foreign.status == 404
        assert without_id(foreign) == without_id(absent)
    assert account.execution(id) == before


def test_s13_a_secret_of_another_account_looks_like_none(account: Client, other: Client, admin: Client) -> None:
    account.new_secret("KEY", "a value to keep")
    mine, nobody = f"/api/v1/accounts/{account.account_id}/secrets", "/api/v1/accounts/account-1/secrets"
    body = {"key": "KEY", "value": "another value"}
    for client in (other, admin):
        for foreign, absent in (
            (client.get(mine), client.get(nobody)),
            (client.post(mine, body), client.post(nobody, body)),
            (client.delete(f"{mine}/KEY"), client.delete(f"{nobody}/KEY")),
        ):
            assert foreign.status == 404
            assert without_id(foreign) == without_id(absent)


def test_s20_lists_tell_nothing_of_other_accounts(account: Client, other: Client) -> None:
    def seen() -> list[Any]:
        return [
            account.get("/api/v1/flows").json,
            account.get("/api/v1/flows", tag="t").json,
            account.get("/api/v1/executions").json,
            account.get("/api/v1/executions", status="completed").json,
            account.get("/api/v1/executions", flow_id=foreign).json,
        ]

    foreign = other.new_flow(DEFINITION, tags=["t"])
    account.ended(account.run(account.new_flow(DEFINITION, tags=["t"])))
    before = seen()

    for _ in range(3):
        other.ended(other.run(other.new_flow(DEFINITION, tags=["t"])))

    assert seen() == before
    assert before[-1]["total"] == 0


def test_s28_a_flow_reaches_only_the_secrets_of_its_own_account(account: Client, other: Client) -> None:
    other.new_secret("THEIRS", "a value of somebody else")
    definition = "nodes:\n  r: {type: return, params: {value: '${secrets.THEIRS}'}}\n"

    execution = account.run_to_end(definition)

    assert execution["status"] == "failed"
    assert "a value of somebody else" not in json.dumps(execution)
    assert "THEIRS" in execution["error"]


def test_s14_ids_in_a_body_move_nothing(account: Client, other: Client) -> None:
    id = other.new_flow(DEFINITION)
    for field in ("id", "flow_id", "account_id", "owner_id", "execution_id"):
        body = {"name": "N", "definition": DEFINITION, field: id}
        assert account.post("/api/v1/flows", body).status == 422
        mine = account.new_flow(DEFINITION)
        assert account.put(f"/api/v1/flows/{mine}", {"name": "N", field: id}).status == 422
        assert account.post(f"/api/v1/flows/{mine}/run", {"input": {}, field: id}).status == 422
    assert other.get(f"/api/v1/flows/{id}").json["name"] == "A flow"


@pytest.mark.parametrize(
    "field",
    [
        "id", "account_id", "owner", "owner_id", "user_id", "status", "created_at", "updated_at", "deleted_at",
        "password_hash", "is_admin", "admin", "session_id", "revision_id", "epoch", "permissions", "scopes", "token",
        "__class__", "__proto__",
    ],
)  # fmt: skip
def test_s17_fields_that_are_the_servers_are_never_taken_from_a_body(account: Client, field: str) -> None:
    path = f"/api/v1/accounts/{account.account_id}"
    before = account.get(path).json
    flow = account.new_flow(DEFINITION)

    assert account.put(path, {"name": "N", field: "x"}).status == 422
    assert account.put(f"/api/v1/flows/{flow}", {field: "x"}).status == 422
    assert account.post(f"{path}/secrets", {"key": "K", "value": "long enough", field: "x"}).status == 422

    assert account.get(path).json == before
