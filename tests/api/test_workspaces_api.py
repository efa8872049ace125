"""Workspaces over REST: what members share, and what their roles allow."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.workspace import WORKSPACE_ROLES
from security.two_accounts import RETURN, ApiClient, TwoAccounts, two_accounts_at
from support.asgi import connect

HEADER = "Flowrunner_Workspace"


@dataclass
class Team:
    """Two accounts and a workspace; Mara is its admin."""

    accounts: TwoAccounts
    id: str

    @property
    def mara(self) -> ApiClient:
        return self.accounts.mara

    @property
    def omar(self) -> ApiClient:
        return self.accounts.omar

    @property
    def path(self) -> str:
        return f"/api/v1/workspaces/{self.id}"

    async def omars_id(self) -> str:
        (personal, *_) = (await self.omar.request("GET", "/api/v1/workspaces")).json["workspaces"]
        return str(personal["id"])

    async def join(self, role: str) -> str:
        """Make Omar a member; return his id."""
        added = await self.mara.request("POST", f"{self.path}/members", {"account": "omar@example.com", "role": role})
        assert added.status == 201, added
        return str(added.json["account_id"])

    async def flow(self, definition: str = RETURN) -> str:
        made = await self.mara.request(
            "POST", "/api/v1/flows", {"name": "F", "definition": definition}, **{HEADER: self.id}
        )
        assert made.status == 201, made
        return str(made.json["id"])


@asynccontextmanager
async def team_at(path: Path, **settings: Any) -> AsyncIterator[Team]:
    async with two_accounts_at(path, **settings) as accounts:
        made = await accounts.mara.request("POST", "/api/v1/workspaces", {"name": "Data team"})
        assert made.status == 201, made
        yield Team(accounts, made.json["id"])


async def test_a_new_account_has_its_personal_workspace_alone(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        found = (await accounts.omar.request("GET", "/api/v1/workspaces")).json

    (personal,) = found["workspaces"]
    assert found["total"] == 1
    assert personal["slug"] == personal["id"]
    assert (personal["name"], personal["role"]) == ("omar", "admin")


async def test_a_member_sees_runs_and_changes_what_its_role_allows(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow()
        id = await team.join("viewer")
        seen: dict[str, list[int]] = {}
        for role in WORKSPACE_ROLES:
            changed = await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": role})
            assert changed.json["role"] == role
            seen[role] = [
                (await team.omar.request(method, path, body)).status
                for method, path, body in (
                    ("GET", f"/api/v1/flows/{flow}", None),
                    ("POST", f"/api/v1/flows/{flow}/run", None),
                    ("PUT", f"/api/v1/flows/{flow}", {"name": "G"}),
                    ("POST", f"{team.path}/secrets", {"key": "K", "value": f"a value of {role}"}),
                    ("PUT", team.path, {"name": "Data"}),
                )
            ]

    assert seen == {
        "viewer": [200, 403, 403, 403, 403],
        "operator": [200, 201, 403, 403, 403],
        "editor": [200, 201, 200, 201, 403],
        "admin": [200, 201, 200, 200, 200],
    }


async def test_lists_and_creations_act_where_the_header_says(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("editor")
        shared = await team.flow()
        own = await team.omar.flow(RETURN)
        flows = [
            [flow["id"] for flow in (await team.omar.request("GET", "/api/v1/flows", **headers)).json["flows"]]
            for headers in ({}, {HEADER: team.id}, {HEADER: "data-team"})
        ]
        unknown = await team.omar.request("GET", "/api/v1/flows", **{HEADER: "no-team"})
        elsewhere = await team.omar.request("GET", f"/api/v1/flows/{shared}", **{HEADER: await team.omars_id()})

    assert flows == [[own], [shared], [shared]]
    assert unknown.status == 404
    assert elsewhere.status == 404


async def test_to_anybody_else_a_workspace_does_not_exist(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow()
        execution = (await team.mara.run(flow)).json["execution_id"]
        paths = [
            team.path, f"{team.path}/members", f"{team.path}/usage", f"{team.path}/secrets", f"{team.path}/tokens",
            f"/api/v1/flows/{flow}", f"/api/v1/executions/{execution}", f"/api/v1/executions/{execution}/logs",
        ]  # fmt: skip
        hidden = [await team.omar.request("GET", path) for path in paths]
        absent = [
            await team.omar.request("GET", path.replace(team.id, "x").replace(flow, "x").replace(execution, "x"))
            for path in paths
        ]
        socket = await connect(team.accounts.app, f"/ws/executions/{execution}", token=team.omar.token)

    for one, other in zip(hidden, absent, strict=True):
        assert one.status == other.status == 404
        assert one.error["message"] == other.error["message"]
    assert socket.status == 404


async def test_a_member_that_is_removed_sees_nothing_from_then_on(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow()
        id = await team.join("editor")
        token = await team.omar.request(
            "POST", "/api/v1/tokens", {"name": "t", "scopes": ["read"]}, **{HEADER: team.id}
        )
        others = await team.mara.request(
            "POST", "/api/v1/tokens", {"name": "t", "scopes": ["read"]}, **{HEADER: team.id}
        )
        own = await team.omar.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["read"]})
        programs = [ApiClient(team.accounts.app, made.json["token"]) for made in (token, others)]
        clients = (team.omar, *programs)
        before = [(await client.request("GET", f"/api/v1/flows/{flow}")).status for client in clients]
        assert (await team.mara.request("DELETE", f"{team.path}/members/{id}")).status == 200
        after = [(await client.request("GET", f"/api/v1/flows/{flow}")).status for client in clients]
        again = await team.mara.request("DELETE", f"{team.path}/members/{id}")
        left = (await team.mara.request("GET", f"{team.path}/tokens")).json["tokens"]
        kept = (await team.omar.request("GET", "/api/v1/tokens")).json["tokens"]

    assert [[one["id"] for one in found] for found in (left, kept)] == [[others.json["id"]], [own.json["id"]]]
    assert before == [200, 200, 200]
    assert after == [404, 401, 200]
    assert again.status == 404


async def test_an_api_token_reaches_the_workspace_that_it_was_made_for(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("editor")
        shared, own = await team.flow(), await team.omar.flow(RETURN)
        reached: dict[str, list[int]] = {}
        for name, headers in (("own", {}), ("team", {HEADER: team.id})):
            made = await team.omar.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["read"]}, **headers)
            program = ApiClient(team.accounts.app, made.json["token"])
            reached[name] = [
                (await program.request("GET", f"/api/v1/flows/{own}")).status,
                (await program.request("GET", f"/api/v1/flows/{shared}")).status,
                (await program.request("GET", "/api/v1/flows", **{HEADER: team.id})).status,
            ]
        listed = (await team.mara.request("GET", f"{team.path}/tokens")).json["tokens"]

    assert reached == {"own": [200, 404, 404], "team": [404, 200, 200]}
    assert [token["workspace_id"] for token in listed] == [team.id]


async def test_a_workspace_always_has_an_admin(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        (me, *_) = (await team.mara.request("GET", f"{team.path}/members")).json["members"]
        id = await team.join("editor")
        path = f"{team.path}/members/{me['account_id']}"
        refused = [await team.mara.request("DELETE", path), await team.mara.request("POST", f"{team.path}/leave")]
        refused += [await team.mara.request("PUT", path, {"role": role}) for role in WORKSPACE_ROLES if role != "admin"]
        same = await team.mara.request("PUT", path, {"role": "admin"})
        await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "admin"})
        left = await team.mara.request("POST", f"{team.path}/leave")
        gone = await team.mara.request("GET", team.path)

    assert [reply.status for reply in refused] == [409] * (len(WORKSPACE_ROLES) + 1)
    assert (same.status, left.status, gone.status) == (200, 200, 404)


async def test_an_admin_who_is_disabled_is_no_other_admin_of_a_workspace(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.join("admin")
        disabled = await team.mara.request("PUT", f"/api/v1/accounts/{id}", {"disabled": True})
        kept = await team.mara.request("POST", f"{team.path}/leave")
        enabled = await team.mara.request("PUT", f"/api/v1/accounts/{id}", {"disabled": False})
        left = await team.mara.request("POST", f"{team.path}/leave")

    assert [reply.status for reply in (disabled, kept, enabled, left)] == [200, 409, 200, 200]


async def test_an_account_is_an_admin_of_so_many_workspaces_whoever_makes_it_one(tmp_path: Path) -> None:
    async with team_at(tmp_path, account_workspaces=1) as team:
        mara, omar = team.mara, team.omar
        own = (await omar.request("POST", "/api/v1/workspaces", {"name": "Omar's"})).json["id"]
        member = {"account": "omar@example.com"}

        added = await mara.request("POST", f"{team.path}/members", {**member, "role": "admin"})
        id = await team.join("editor")
        changed = await mara.request("PUT", f"{team.path}/members/{id}", {"role": "admin"})
        invited = await mara.request("POST", f"{team.path}/invitations", {"email": member["account"], "role": "admin"})
        token = {"token": invited.json["link"].partition("#")[2]}
        accepted = await omar.request("POST", "/api/v1/invitations/accept", token)
        role = (await omar.request("GET", team.path)).json["role"]

        assert [reply.status for reply in (added, changed, accepted)] == [409, 409, 409]
        details = [reply.error["details"] for reply in (added, changed, accepted)]
        assert details == [{"limit": "account_workspaces", "most": 1}] * 3
        assert role == "editor"
        assert (await omar.request("DELETE", f"/api/v1/workspaces/{own}")).status == 200
        assert (await omar.request("POST", "/api/v1/invitations/accept", token)).json["role"] == "admin"
        # An admin of the installation may give more roles.
        other = (await omar.request("POST", "/api/v1/workspaces", {"name": "Another"})).status
        await mara.request("DELETE", f"{team.path}/members/{id}")
        again = (await omar.request("POST", "/api/v1/workspaces", {"name": "Another"})).status
        given = await mara.request("POST", f"/api/v1/admin{team.path[7:]}/members", {**member, "role": "admin"})
        assert (other, again, given.status) == (409, 201, 201)


async def test_a_workspace_that_is_not_empty_is_deleted_by_its_name(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow()
        replies = [
            await team.mara.request("DELETE", team.path),
            await team.mara.request("DELETE", f"{team.path}?name=Another"),
            await team.mara.request("DELETE", f"{team.path}?name=Data%20team"),
        ]
        after = [await team.mara.request("GET", path) for path in (team.path, f"/api/v1/flows/{flow}")]
        again = await team.mara.request("POST", "/api/v1/workspaces", {"name": "Data team"})

    assert [reply.status for reply in replies] == [409, 422, 200]
    assert [reply.status for reply in after] == [404, 404]
    assert again.status == 201


async def test_a_workspace_with_an_open_execution_is_not_empty_although_its_flow_was_deleted(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow("nodes: {ask: {type: wait, params: {key: go}}}")
        assert (await team.mara.run(flow, **{HEADER: team.id})).status == 201
        assert (await team.mara.request("DELETE", f"/api/v1/flows/{flow}")).status == 200

        refused = await team.mara.request("DELETE", team.path)

    assert (refused.status, "1 open execution" in refused.error["message"]) == (409, True)


async def test_a_personal_workspace_is_shared_but_neither_renamed_nor_deleted(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        (own,) = (await accounts.mara.request("GET", "/api/v1/workspaces")).json["workspaces"]
        flow, path = await accounts.mara.flow(RETURN), f"/api/v1/workspaces/{own['id']}"
        added = await accounts.mara.request(
            "POST", f"{path}/members", {"account": "omar@example.com", "role": "viewer"}
        )
        unknown = await accounts.mara.request(
            "POST", f"{path}/members", {"account": "nora@example.com", "role": "viewer"}
        )
        seen = await accounts.omar.request("GET", f"/api/v1/flows/{flow}")
        refused = [
            await accounts.mara.request("PUT", path, {"name": "Mine"}),
            await accounts.mara.request("DELETE", f"{path}?name=mara"),
            await accounts.mara.request("DELETE", f"{path}/members/{own['id']}"),
        ]

    assert (added.status, seen.status) == (201, 200)
    assert (unknown.status, unknown.json["error"]["docs"]) == (404, "/docs/api.md#confirmed-addresses")
    assert [reply.status for reply in refused] == [409, 409, 409]


async def test_the_owner_of_a_personal_workspace_is_the_first_of_its_members(tmp_path: Path) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        path = f"/api/v1/workspaces/{(await accounts.omar.request('GET', '/api/v1/accounts/me')).json['id']}/members"
        member = {"account": "mara@example.com", "role": "viewer"}
        assert (await accounts.omar.request("POST", path, member)).status == 201
        first = (await accounts.omar.request("GET", f"{path}?limit=1&cursor=")).json
        second = (await accounts.omar.request("GET", f"{path}?limit=1&cursor={first['next_cursor']}")).json

    assert [(one["name"], one["owner"]) for page in (first, second) for one in page["members"]] == [
        ("omar", True), ("mara", False),
    ]  # fmt: skip
    assert "next_cursor" not in second
    # The older account would be the first by its id.
    assert second["members"][0]["account_id"] < first["members"][0]["account_id"]


async def test_the_usage_of_a_workspace_is_shown_beside_its_limits(tmp_path: Path) -> None:
    limits = {"active": 11, "queued": 12, "flows": 13, "stored": 14_000_000}
    async with team_at(tmp_path, **{f"workspace_{name}": most for name, most in limits.items()}) as team:
        await team.flow()
        for key, value in (("a", "ü"), ("b", [1, 2])):
            await team.mara.request("PUT", f"/api/v1/store/entry?key={key}", {"value": value}, **{HEADER: team.id})
        await team.mara.request("PUT", "/api/v1/store/entry?key=c", {"value": 1})
        await team.join("viewer")
        usage = (await team.omar.request("GET", f"{team.path}/usage")).json

    assert usage.pop("stored") > 0
    contents = {"flows": 1, "secrets": 0, "config_values": 0, "open_executions": 0, "members": 2}
    assert usage == {**contents, "store_keys": 2, "store_bytes": len('"ü"[1,2]'.encode()), "limits": limits}


@pytest.mark.parametrize("named_by", ["id", "slug"])
async def test_an_admin_of_the_installation_sees_a_workspace_once_it_has_a_role(tmp_path: Path, named_by: str) -> None:
    async with two_accounts_at(tmp_path) as accounts:
        made = (await accounts.omar.request("POST", "/api/v1/workspaces", {"name": "Quiet"})).json
        path = f"/api/v1/workspaces/{made['id']}"
        before = await accounts.mara.request("GET", path)
        (listed,) = (await accounts.mara.request("GET", "/api/v1/admin/workspaces")).json["workspaces"]
        not_admin = await accounts.omar.request("GET", "/api/v1/admin/workspaces")
        given = await accounts.mara.request(
            "POST",
            f"/api/v1/admin/workspaces/{made[named_by]}/members",
            {"account": "mara@example.com", "role": "viewer"},
        )
        after = await accounts.mara.request("GET", path)
        entries = (await accounts.mara.request("GET", "/api/v1/audit?action=member.added")).json["entries"]

    assert (before.status, not_admin.status, given.status, after.status) == (404, 403, 201, 200)
    assert (listed["name"], listed["members"], listed["admins"]) == ("Quiet", 1, 1)
    assert [entry["workspace_id"] for entry in entries] == [made["id"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "A team", "slug": "Not A Slug"}, 422),
        ({"name": "A team", "slug": "ab"}, 422),
        ({"name": "日本"}, 422),
        ({"name": " "}, 422),
        ({"name": "A team", "slug": "account-01jdhq6v3k8n3w01jdhq6v3k8n3w01jdhq6v"}, 422),
        ({"name": "A team", "slug": "data-team"}, 409),
        ({"name": "日本", "slug": "nippon"}, 201),
    ],
)
async def test_names_and_slugs_are_checked(tmp_path: Path, body: Any, status: int) -> None:
    async with team_at(tmp_path) as team:
        assert (await team.mara.request("POST", "/api/v1/workspaces", body)).status == status


async def test_a_dry_run_of_a_workspaces_change_saves_nothing(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.mara.request("POST", "/api/v1/workspaces", {"name": "Other", "slug": "taken"})
        before = (await team.mara.request("GET", team.path)).json
        personal = f"/api/v1/workspaces/{(await team.mara.request('GET', '/api/v1/accounts/me')).json['id']}"

        planned = await team.mara.request("PUT", f"{team.path}?dry_run=true", {"name": "New", "slug": "data-team"})
        taken = await team.mara.request("PUT", f"{team.path}?dry_run=true", {"slug": "taken"})
        own = await team.mara.request("PUT", f"{personal}?dry_run=true", {"name": "New"})
        wrong = await team.mara.request("PUT", f"{team.path}?dry_run=yes", {"name": "New"})

        assert planned.json == before | {"name": "New"}
        assert [taken.status, own.status, wrong.status] == [409, 409, 422]
        assert (await team.mara.request("GET", team.path)).json == before


async def test_the_header_and_the_path_name_the_same_workspace(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("editor")
        (me, *_) = (await team.omar.request("GET", "/api/v1/workspaces")).json["workspaces"]
        slug = (await team.omar.request("GET", team.path)).json["slug"]
        own, shared = f"/api/v1/accounts/{me['id']}/secrets", f"{team.path}/secrets"
        found = {
            (path, named): (await team.omar.request("GET", path, **{HEADER: named})).status
            for path in (own, shared)
            for named in (me["id"], team.id, slug)
        }

    assert found == {
        (own, me["id"]): 200, (own, team.id): 404, (own, slug): 404,
        (shared, me["id"]): 404, (shared, team.id): 200, (shared, slug): 200,
    }  # fmt: skip
