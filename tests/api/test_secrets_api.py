"""Secrets over REST, as the reference has them: written, named, deleted, never read."""

import json
import time
from pathlib import Path
from typing import Any, Final

import pytest

from api.shapes import assert_error, assert_recent, moment
from support.asgi import call, program_at
from support.client import PASSWORD, Client

FIELDS: Final = {"key", "created_at", "updated_at"}
EMPTY: Final = {"secrets": [], "total": 0, "limit": 1000, "offset": 0}
VALUE: Final = "s3cr3t-value-of-a-key"


def path(account: Client, key: str = "") -> str:
    return f"/api/v1/accounts/{account.account_id}/secrets" + (f"/{key}" if key else "")


def test_a_secret_is_created_without_its_value_in_the_answer(account: Client) -> None:
    reply = account.post(path(account), {"key": "NEW_API_KEY", "value": VALUE})

    assert reply.status == 201
    assert reply.json.keys() == FIELDS
    assert reply.json["key"] == "NEW_API_KEY"
    assert reply.json["created_at"] == reply.json["updated_at"]
    assert_recent(reply.json["created_at"])
    assert VALUE.encode() not in reply.body


def test_secrets_are_listed_by_their_keys(account: Client) -> None:
    created = [account.post(path(account), {"key": key, "value": VALUE}).json for key in ("DATABASE_URL", "API_KEY")]

    reply = account.get(path(account))

    assert reply.status == 200
    listed = [{**secret, "used_by": []} for secret in sorted(created, key=lambda secret: str(secret["key"]))]
    assert reply.json == {"secrets": listed, "total": 2, "limit": 1000, "offset": 0}
    assert VALUE.encode() not in reply.body


def test_an_account_without_secrets_has_an_empty_list(account: Client) -> None:
    assert account.get(path(account)).json == EMPTY


def test_a_new_value_replaces_the_old_one(account: Client) -> None:
    first = account.post(path(account), {"key": "K", "value": VALUE}).json
    time.sleep(0.002)

    reply = account.post(path(account), {"key": "K", "value": "another value"})

    assert reply.status == 200
    assert reply.json["created_at"] == first["created_at"]
    assert moment(reply.json["updated_at"]) > moment(first["updated_at"])
    assert len(account.get(path(account)).json["secrets"]) == 1


def test_a_secret_that_must_be_new_replaces_none(account: Client) -> None:
    assert account.post(path(account), {"key": "K", "value": VALUE}, **{"If-None-Match": "*"}).status == 201
    before = account.get(path(account)).json

    reply = account.post(path(account), {"key": "K", "value": "another value"}, **{"If-None-Match": "*"})

    assert_error(reply, 412, "A secret with this key exists already")
    assert reply.json["error"]["hint"] == (
        "choose another key, or repeat the request without If-None-Match to replace the value"
    )
    assert account.get(path(account)).json == before


def test_a_secret_is_deleted(account: Client) -> None:
    account.new_secret("K", VALUE)

    reply = account.delete(path(account, "K"))

    assert reply.status == 200
    assert reply.json == {"message": "Secret deleted successfully"}
    assert account.get(path(account)).json == EMPTY
    assert_error(account.delete(path(account, "K")), 404, "Secret not found")


def test_no_address_gives_a_value(account: Client, admin: Client) -> None:
    account.new_secret("K", VALUE)

    assert_error(account.get(path(account, "K")), 405)
    for client in (account, admin):
        for reply in (client.get(path(account)), client.get(f"/api/v1/accounts/{account.account_id}")):
            assert VALUE.encode() not in reply.body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": "K"}, "value"),
        ({"value": VALUE}, "key"),
        ({"key": "", "value": VALUE}, "key"),
        ({"key": "a b", "value": VALUE}, "key"),
        ({"key": "a/b", "value": VALUE}, "key"),
        ({"key": "../x", "value": VALUE}, "key"),
        ({"key": "a}b", "value": VALUE}, "key"),
        ({"key": "1", "value": VALUE}, "key"),
        ({"key": "x" * 129, "value": VALUE}, "key"),
        ({"key": "K", "value": ""}, "value"),
        ({"key": "K", "value": "7chars!"}, "value"),
        ({"key": "K", "value": 12345678}, "value"),
        ({"key": "K", "value": {"a": "b"}}, "value"),
        ({"key": "K", "value": VALUE, "account_id": "account-1"}, "account_id"),
    ],
)
def test_a_fault_of_a_field_is_told_by_its_name_and_without_the_value(
    account: Client, body: dict[str, Any], field: str
) -> None:
    reply = account.post(path(account), body)

    details = assert_error(reply, 422)
    assert details["field"] == field
    assert account.get(path(account)).json == EMPTY
    for value in (VALUE, "7chars!", "12345678"):
        assert value.encode() not in reply.body


@pytest.mark.parametrize("key", ["A", "api_key", "API_KEY_2", "_x"])
def test_keys_that_expressions_can_name_are_taken(account: Client, key: str) -> None:
    account.new_secret(key, VALUE)

    assert [secret["key"] for secret in account.get(path(account)).json["secrets"]] == [key]
    assert account.delete(path(account, key)).status == 200


def test_secrets_of_other_accounts_do_not_exist_also_for_admins(account: Client, other: Client, admin: Client) -> None:
    account.new_secret("K", VALUE)

    for client in (other, admin):
        for reply in (
            client.get(path(account)),
            client.post(path(account), {"key": "K", "value": "another value"}),
            client.delete(path(account, "K")),
        ):
            assert_error(reply, 404)
    assert len(account.get(path(account)).json["secrets"]) == 1


READS: Final = "nodes:\n  a: {type: return, params: {value: '${secrets.%s}'}}\n"


def users(account: Client) -> dict[str, list[str]]:
    listed = account.get(path(account)).json["secrets"]
    return {secret["key"]: [flow["id"] for flow in secret["used_by"]] for secret in listed}


def test_secrets_are_listed_in_pages(account: Client) -> None:
    for key in ("A", "B", "C"):
        account.new_secret(key, VALUE)

    page = account.get(path(account), limit=1, offset=1).json

    assert [secret["key"] for secret in page["secrets"]] == ["B"]
    assert (page["total"], page["limit"], page["offset"]) == (3, 1, 1)
    assert_error(account.get(path(account), limit=0), 422)


def test_a_secret_names_the_flows_whose_current_revision_names_it(account: Client) -> None:
    for key in ("A", "B"):
        account.new_secret(key, VALUE)
    one = account.new_flow(READS % "A", name="one")
    other = account.new_flow(f"vars: {{x: 1}}\noutputs: {{x: '${{secrets.B}}'}}\n{READS % 'A'}", name="other")
    assert users(account) == {"A": [one, other], "B": [other]}

    # By another definition, by a restored one, by a batch, and by none at all.
    account.put(f"/api/v1/flows/{one}", {"definition": READS % "B"})
    assert users(account) == {"A": [other], "B": [one, other]}
    account.put(f"/api/v1/flows/{one}", {"description": "the same definition"})
    assert account.post(f"/api/v1/flows/{one}/revisions/1/restore").status == 200
    assert users(account) == {"A": [one, other], "B": [other]}
    account.post("/api/v1/flows:batch", {"flows": [{"name": "other", "definition": READS % "B"}]})
    assert users(account) == {"A": [one], "B": [other]}
    copy = account.post(f"/api/v1/flows/{other}/copy", {"name": "copy"}).json["id"]
    account.delete(f"/api/v1/flows/{other}")
    assert users(account) == {"A": [one], "B": [copy]}


def test_a_moved_flow_uses_the_secrets_of_its_new_workspace(account: Client) -> None:
    team = account.post("/api/v1/workspaces", {"name": "Team"}).json["id"]
    flow = account.new_flow(READS % "A")
    account.new_secret("A", VALUE)
    account.post(f"/api/v1/workspaces/{team}/secrets", {"key": "A", "value": VALUE})

    assert account.post(f"/api/v1/flows/{flow}/move", {"workspace": team}).status == 200

    assert users(account) == {"A": []}
    (listed,) = account.get(f"/api/v1/workspaces/{team}/secrets").json["secrets"]
    assert listed["used_by"] == [{"id": flow, "name": "A flow"}]


async def test_the_last_use_of_a_secret_is_written_later_and_without_a_write_for_each_step(tmp_path: Path) -> None:
    async with program_at(tmp_path) as program:
        await program.services.accounts.create(name="U", email="u@example.com", password=PASSWORD, role="user")
        token = (await program.services.sessions.login("u@example.com", PASSWORD, address="127.0.0.1")).token

        async def ask(method: str, to: str, body: Any = None) -> Any:
            data = b"" if body is None else json.dumps(body).encode()
            reply = await call(program.app, method, to, token=token, body=data, headers={"prefer": "wait=20"})
            assert reply.status < 300, reply.body
            return reply.json

        for key in ("A", "B"):
            await ask("POST", "/api/v1/accounts/me/secrets", {"key": key, "value": VALUE})
        flow = await ask("POST", "/api/v1/flows", {"name": "N", "definition": READS % "A"})
        assert (await ask("POST", f"/api/v1/flows/{flow['id']}/run", {}))["status"] == "completed"
        used, unused = (await ask("GET", "/api/v1/accounts/me/secrets"))["secrets"]
        assert "last_used_at" not in used

        await program.vault.uses.write()

        used, unused = (await ask("GET", "/api/v1/accounts/me/secrets"))["secrets"]
        assert_recent(used["last_used_at"])
        assert "last_used_at" not in unused


async def test_the_secrets_of_flows_that_an_earlier_version_has_saved_are_read_in_the_background(
    tmp_path: Path,
) -> None:
    async with program_at(tmp_path) as program:
        await program.services.accounts.create(name="U", email="u@example.com", password=PASSWORD, role="user")
        token = (await program.services.sessions.login("u@example.com", PASSWORD, address="127.0.0.1")).token
        secret = json.dumps({"key": "A", "value": VALUE}).encode()
        await call(program.app, "POST", "/api/v1/accounts/me/secrets", token=token, body=secret)
        for number in range(25):
            body = json.dumps({"name": f"N{number}", "definition": READS % "A"}).encode()
            assert (await call(program.app, "POST", "/api/v1/flows", token=token, body=body)).status == 201
        forget = "UPDATE flows SET secrets_of = NULL, secret_names = ''"
        await program.database.write(lambda tx: tx.run(forget, {}))

        async def count() -> int:
            listed = (await call(program.app, "GET", "/api/v1/accounts/me/secrets", token=token)).json["secrets"]
            return len(listed[0]["used_by"])

        assert await count() == 0
        await program.services.flows.read_names()
        assert await count() == 25


def test_me_stands_for_the_callers_own_account(account: Client, admin: Client) -> None:
    own = account.get("/api/v1/accounts/me")
    assert own.json == account.get(f"/api/v1/accounts/{account.account_id}").json
    assert admin.get("/api/v1/accounts/me").json["id"] == admin.account_id
    assert account.put("/api/v1/accounts/me", {"name": "Mara"}).json["name"] == "Mara"
    created = account.post("/api/v1/accounts/me/secrets", {"key": "K", "value": VALUE})
    assert created.status == 201
    assert account.get(path(account)).json == account.get("/api/v1/accounts/me/secrets").json
    assert account.delete("/api/v1/accounts/me/secrets/K").status == 200
    assert Client(account.url).get("/api/v1/accounts/me").status == 401
