"""The store of a workspace over REST."""

from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent
from support.client import Client

PATH: Final = "/api/v1/store/entry"


def put(client: Client, at: str, value: Any, *, ttl: str | None = None, **headers: str) -> Any:
    body = {"value": value} if ttl is None else {"value": value, "ttl": ttl}
    return client.put(f"{PATH}?{at}", body, **headers)


def test_an_entry_is_created_read_replaced_and_deleted(account: Client) -> None:
    created = put(account, "key=a%2Fb%20..", {"x": [1]}, ttl="1h")
    assert created.status == 201
    assert (created.json["namespace"], created.json["key"], created.json["value"]) == ("default", "a/b ..", {"x": [1]})
    assert created.json["size"] == len('{"x":[1]}')
    assert created.json["expires_at"] > created.json["updated_at"]
    assert_recent(created.json["created_at"])
    assert account.get(created.headers["location"]).json == created.json
    elsewhere = put(account, "key=a%2Fb%20..&namespace=one%26two", 2)
    assert account.get(elsewhere.headers["location"]).json == elsewhere.json

    replaced = put(account, "key=a%2Fb%20..", None)
    assert (replaced.status, replaced.json["value"], replaced.json["expires_at"]) == (200, None, None)
    assert_error(account.get(f"{PATH}?key=a/b ..&namespace=other".replace(" ", "%20")), 404)

    assert account.delete(f"{PATH}?key=a%2Fb%20..").json == {"message": "Entry deleted successfully"}
    assert_error(account.get(f"{PATH}?key=a%2Fb%20.."), 404)
    assert_error(account.delete(f"{PATH}?key=a%2Fb%20.."), 404)


def test_entries_are_listed_by_namespace_and_prefix_without_values(account: Client) -> None:
    for at in ("key=b&namespace=z", "key=a2", "key=a1", "key=b"):
        assert put(account, at, 1).status == 201

    def keys(query: str = "") -> list[str]:
        entries = account.get(f"/api/v1/store?{query}").json["entries"]
        assert all("value" not in entry for entry in entries)
        return [f"{entry['namespace']}/{entry['key']}" for entry in entries]

    assert keys() == ["default/a1", "default/a2", "default/b", "z/b"]
    assert keys("namespace=z") == ["z/b"]
    assert keys("prefix=a") == ["default/a1", "default/a2"]
    assert keys("limit=3") == ["default/a1", "default/a2", "default/b"]


def test_an_entry_is_replaced_only_in_the_state_that_was_read(account: Client) -> None:
    first = put(account, "key=a", 1, **{"If-None-Match": "*"})
    refused = put(account, "key=a", 2, **{"If-None-Match": "*"})
    assert_error(refused, 412, "The entry is there already")
    assert put(account, "key=a", 2, **{"If-Match": first.headers["etag"]}).status == 200

    assert_error(put(account, "key=a", 3, **{"If-Match": first.headers["etag"]}), 412)
    stale = account.request("DELETE", f"{PATH}?key=a", headers={"If-Match": first.headers["etag"]})
    assert_error(stale, 412)
    current = account.get(f"{PATH}?key=a")
    assert current.json["value"] == 2
    assert account.request("GET", f"{PATH}?key=a", headers={"If-None-Match": current.headers["etag"]}).status == 304


def test_a_flow_reads_what_people_have_written_and_people_what_flows_have(account: Client) -> None:
    put(account, "key=n", 41)
    flow = account.new_flow("nodes: {a: {type: store, params: {operation: increment, key: n}}}")
    ran = account.post(f"/api/v1/flows/{flow}/run", {"input": {}}, Prefer="wait=20")

    assert ran.json["result"] == 42
    assert account.get(f"{PATH}?key=n").json["value"] == 42


@pytest.mark.parametrize(
    ("at", "body"),
    [
        ("key=", {"value": 1}),
        ("", {"value": 1}),
        ("key=a%0Ab", {"value": 1}),
        (f"key={'x' * 257}", {"value": 1}),
        ("key=a&namespace=", {"value": 1}),
        ("key=a", {}),
        ("key=a", {"value": "x" * 65_536}),
        ("key=a", {"value": 1, "ttl": "soon"}),
        ("key=a", {"value": 1, "ttl": 5}),
        ("key=a", {"value": 1, "ttl": "0s"}),
        ("key=a", {"value": 1, "more": 1}),
    ],
)
def test_what_cannot_be_stored_is_refused(account: Client, at: str, body: Any) -> None:
    assert_error(account.put(f"{PATH}?{at}", body), 422)
    assert account.get("/api/v1/store").json["entries"] == []


def test_a_secret_is_hidden_in_a_value_and_refused_in_a_key(account: Client) -> None:
    account.new_secret("TOKEN", "a-very-secret-token")

    assert put(account, "key=a", {"t": "Bearer a-very-secret-token"}).json["value"] == {"t": "Bearer ***"}
    assert_error(put(account, "key=a-very-secret-token", 1), 422)


def test_another_workspace_has_a_store_of_its_own(account: Client, admin: Client) -> None:
    put(account, "key=a", 1)

    assert_error(admin.get(f"{PATH}?key=a"), 404)
    assert admin.get("/api/v1/store?prefix=a").json["entries"] == []


def test_a_workspace_with_entries_is_deleted_only_by_its_name(account: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "Team of entries"}).json["id"]
    put(account, "key=a", 1, **{"FlowRunner-Workspace": team})
    put(account, "key=b", 1, **{"FlowRunner-Workspace": team})
    account.request("DELETE", f"{PATH}?key=b", headers={"FlowRunner-Workspace": team})

    refused = account.delete(f"/api/v1/workspaces/{team}")

    assert refused.status == 409
    assert "1 stored value and 0 open executions: send its name" in refused.error["message"]
    assert account.get(f"/api/v1/workspaces/{team}/usage").json["store_keys"] == 1
    assert account.delete(f"/api/v1/workspaces/{team}?name=Team%20of%20entries").status == 200
