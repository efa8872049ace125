"""Deletion of an account: its personal workspace is never lost silently."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from security.two_accounts import ApiClient, TwoAccounts, two_accounts_at
from support.client import PASSWORD, Reply

from .test_workspaces_api import HEADER, team_at

WAITS = "nodes: {a: {type: wait, params: {key: go}, next: b}, b: {type: log, params: {message: '${secrets.TOKEN}'}}}"


async def home(client: ApiClient) -> str:
    return str((await client.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"])


async def delete(client: ApiClient, id: str, query: str = "") -> Reply:
    return await client.request("DELETE", f"/api/v1/accounts/{id}{query}")


async def third(accounts: TwoAccounts, role: str = "user") -> tuple[ApiClient, str]:
    body = {"name": "Theo", "email": "theo@example.com", "password": PASSWORD, "role": role}
    made = await accounts.mara.request("POST", "/api/v1/accounts", body)
    login = {"username": "theo@example.com", "password": PASSWORD}
    token = (await ApiClient(accounts.app).request("POST", "/api/v1/auth/login", login)).json["token"]
    return ApiClient(accounts.app, token), str(made.json["id"])


async def furnished(omar: ApiClient) -> tuple[str, str]:
    """Give Omar a secret and a waiting execution; return its flow and its id."""
    path = f"/api/v1/workspaces/{await home(omar)}/secrets"
    assert (await omar.request("POST", path, {"key": "TOKEN", "value": "a value to keep"})).status == 201
    flow = await omar.flow(WAITS)
    return flow, (await omar.run(flow)).json["execution_id"]


async def test_an_account_without_flows_and_members_is_deleted_as_ever(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        id = await home(accounts.omar)
        reply = await delete(accounts.mara, id)

    assert (reply.status, reply.json) == (200, {"message": "Account deleted successfully"})
    assert rows(tmp_path, "SELECT deleted_at IS NOT NULL FROM workspaces WHERE id = ?", id) == [(1,)]


async def test_a_workspace_with_flows_or_members_is_asked_about(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        id = await home(accounts.omar)
        _, theo = await third(accounts)
        member = {"account": theo, "role": "viewer"}
        assert (await accounts.omar.request("POST", f"/api/v1/workspaces/{id}/members", member)).status == 201
        with_member = await delete(accounts.mara, id)
        await furnished(accounts.omar)
        with_both = await delete(accounts.mara, id)
        assert (await accounts.omar.request("GET", "/api/v1/flows")).json["total"] == 1
        deleted = await delete(accounts.mara, id, "?workspace=delete")

    assert_error(with_member, 409)
    assert "(flows: 0, other members: 1)" in with_member.error["message"]
    assert "(flows: 1, other members: 1)" in with_both.error["message"]
    assert all(f"'workspace={choice}'" in with_both.error["hint"] for choice in ("delete", "give", "keep"))
    assert deleted.status == 200
    assert rows(tmp_path, "SELECT count(*) FROM members") == [(0,)]
    assert rows(tmp_path, "SELECT count(*) FROM secrets") == [(0,)]


async def test_a_given_workspace_lives_on_with_its_secrets_and_open_executions(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        theo, theos_id = await third(accounts)
        id = await home(accounts.omar)
        flow, execution = await furnished(accounts.omar)
        before = await theo.request("GET", f"/api/v1/flows/{flow}")
        reply = await delete(accounts.mara, id, f"?workspace=give&to={theos_id}")
        listed = (await theo.request("GET", "/api/v1/workspaces")).json["workspaces"]
        assert (await accounts.omar.request("GET", "/api/v1/flows")).status == 401
        assert (await theo.request("GET", "/api/v1/flows", **{HEADER: "omar"})).json["total"] == 1
        path = f"/api/v1/executions/{execution}/signals/go"
        assert (await theo.request("POST", path, {"payload": 1})).status < 300
        ended = await theo.ended(execution)
        again = await theo.run(flow)
        renamed = await theo.request("PUT", f"/api/v1/workspaces/{id}", {"name": "Left by Omar"})

    assert before.status == 404
    assert reply.status == 200, reply
    assert [(found["id"], found["name"], found["slug"], found["role"]) for found in listed[1:]] == [
        (id, "omar", "omar", "admin")
    ]
    assert ended["status"] == "completed", "the secret can still be read"
    assert again.status == 201
    assert renamed.status == 200
    actions = rows(tmp_path, "SELECT action, workspace_id, object_id FROM audit ORDER BY seq")
    assert ("account.deleted", id, id) in actions
    assert ("member.added", id, theos_id) in actions


async def test_members_who_administer_a_workspace_keep_it(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        theo, theos_id = await third(accounts)
        id = await home(accounts.omar)
        flow, _ = await furnished(accounts.omar)
        members = f"/api/v1/workspaces/{id}/members"
        await accounts.omar.request("POST", members, {"account": theos_id, "role": "editor"})
        token = await theo.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["read"]}, **{HEADER: id})
        refused = await delete(accounts.mara, id, "?workspace=keep")
        await accounts.omar.request("PUT", f"{members}/{theos_id}", {"role": "admin"})
        kept = await delete(accounts.mara, id, "?workspace=keep")
        found = [
            (await client.request("GET", f"/api/v1/flows/{flow}")).status
            for client in (theo, ApiClient(accounts.app, token.json["token"]))
        ]

    assert_error(refused, 409)
    assert "give it to an account instead" in refused.error["message"]
    assert kept.status == 200, kept
    assert found == [200, 200]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?workspace=give", 422),
        ("?to=account-1", 422),
        ("?workspace=keep&to=account-1", 422),
        ("?workspace=give&to={own}", 422),
        ("?workspace=give&to=account-1", 404),
        ("?workspace=sell", 422),
    ],
)
async def test_a_workspace_is_given_only_to_another_account(tmp_path: Path, query: str, status: int) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        id = await home(accounts.omar)
        await furnished(accounts.omar)
        assert_error(await delete(accounts.mara, id, query.replace("{own}", id)), status)
        assert (await accounts.omar.request("GET", "/api/v1/flows")).json["total"] == 1


async def test_a_workspace_is_not_given_to_a_disabled_account(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        _, theo = await third(accounts)
        id = await home(accounts.omar)
        await furnished(accounts.omar)
        await accounts.mara.request("PUT", f"/api/v1/accounts/{theo}", {"disabled": True})
        refused = await delete(accounts.mara, id, f"?workspace=give&to={theo}")
        assert (await accounts.omar.request("GET", "/api/v1/flows")).json["total"] == 1

    assert_error(refused, 409)
    assert "is disabled" in refused.error["message"]


async def test_a_program_cannot_give_a_workspace_away(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        token = await accounts.mara.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["admin"]})
        program = ApiClient(accounts.app, token.json["token"])
        id, mara = await home(accounts.omar), await home(accounts.mara)
        given = await delete(program, id, f"?workspace=give&to={mara}")
        deleted = await delete(program, id)

    assert_error(given, 403)
    assert deleted.status == 200


async def test_the_last_admin_of_a_shared_workspace_is_not_deleted(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await third(team.accounts, role="admin")
        login = {"username": "theo@example.com", "password": PASSWORD}
        token = (await ApiClient(team.accounts.app).request("POST", "/api/v1/auth/login", login)).json["token"]
        theo, mara = ApiClient(team.accounts.app, token), await home(team.mara)
        await team.join("editor")
        refused = await delete(theo, mara)
        id = await team.omars_id()
        assert (await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "admin"})).status == 200
        deleted = await delete(theo, mara)
        members = (await team.omar.request("GET", f"{team.path}/members")).json["members"]

    assert_error(refused, 409)
    assert "the last admin of 'Data team'" in refused.error["message"]
    assert deleted.status == 200
    assert [member["account_id"] for member in members] == [id]


async def test_a_slug_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        _, theos_id = await third(accounts)
        await accounts.mara.request("POST", "/api/v1/workspaces", {"name": "x", "slug": "omar"})
        id = await home(accounts.omar)
        assert (await delete(accounts.mara, id, f"?workspace=give&to={theos_id}")).status == 200

    assert rows(tmp_path, "SELECT name, slug FROM workspaces WHERE id = ?", id) == [("omar", "omar-2")]


def rows(data_dir: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(data_dir / "flowrunner.db")) as connection:
        return connection.execute(statement, values).fetchall()
