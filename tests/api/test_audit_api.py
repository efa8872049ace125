"""The audit log over REST: the part of a workspace, and the export as lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from flowrunner.services import audit as audit_service
from security.two_accounts import RETURN, ApiClient
from support.client import PASSWORD, Reply
from support.codes import code_of

from .test_workspaces_api import HEADER, team_at

LINES = {"Accept": "application/x-ndjson"}


def entries(reply: Reply) -> list[Any]:
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.body.splitlines()]


async def test_admins_of_a_workspace_read_its_part_of_the_log(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.flow()
        await team.omar.flow(RETURN)
        id = await team.join("editor")
        as_editor = await team.omar.request("GET", f"{team.path}/audit")
        assert (await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "admin"})).status == 200
        as_admin = await team.omar.request("GET", f"{team.path}/audit")
        filtered = await team.omar.request("GET", f"{team.path}/audit?action=flow.created&limit=1")
        assert (await team.mara.request("DELETE", f"{team.path}/members/{id}")).status == 200
        removed = await team.omar.request("GET", f"{team.path}/audit")

    assert_error(as_editor, 403)
    assert_error(removed, 404, "Workspace not found")
    actions = [entry["action"] for entry in as_admin.json["entries"]]
    assert actions == ["member.changed", "request.denied", "member.added", "flow.created", "workspace.created"]
    assert [entry["object"]["id"] for entry in filtered.json["entries"]] == [flow]


async def test_members_do_not_see_logins_of_the_owner_of_a_personal_workspace(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        mine = (await team.mara.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"]
        path = f"/api/v1/workspaces/{mine}"
        await team.mara.request("POST", f"{path}/members", {"account": "omar@example.com", "role": "admin"})
        body = {"username": "mara@example.com", "password": PASSWORD}
        assert (await ApiClient(team.accounts.app).request("POST", "/api/v1/auth/login", body)).status == 200
        own, others = [
            {entry["action"] for entry in (await client.request("GET", f"{path}/audit?limit=1000")).json["entries"]}
            for client in (team.mara, team.omar)
        ]

    assert own - others == {"login.succeeded", "account.created"}
    assert "member.added" in others


async def test_an_empty_filter_does_not_select_all_entries(tmp_path: Path) -> None:
    names = ("actor", "workspace_id", "action", "object_kind", "object_id")
    async with team_at(tmp_path) as team:
        everywhere = {name: await team.mara.request("GET", f"/api/v1/audit?{name}=") for name in names}
        within = {
            name: await team.mara.request("GET", f"{team.path}/audit?{name}=")
            for name in names
            if name != "workspace_id"
        }

    for replies in (everywhere, within):
        for name, reply in replies.items():
            assert_error(reply, 422)
            assert reply.json["error"]["details"]["field"] == name


async def test_the_log_is_exported_as_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_service, "_ROWS_AT_ONCE", 3)
    async with team_at(tmp_path) as team:
        for _ in range(10):
            await team.flow()
        listed = (await team.mara.request("GET", "/api/v1/audit?limit=1000")).json["entries"]
        whole = await team.mara.request("GET", "/api/v1/audit?limit=1", **LINES)
        part = await team.mara.request("GET", f"{team.path}/audit?action=flow.created", **LINES)
        none = await team.mara.request("GET", f"{team.path}/audit?action=none", **LINES)
        forbidden = await team.omar.request("GET", "/api/v1/audit", **LINES)
        hidden = await team.omar.request("GET", f"{team.path}/audit", **LINES)

    assert entries(whole) == listed
    assert entries(part) == [entry for entry in listed if entry["action"] == "flow.created"]
    assert entries(none) == []
    assert_error(forbidden, 403)
    assert_error(hidden, 404, "Workspace not found")


async def test_acts_on_an_account_are_in_its_personal_workspace(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.join("admin")
        id = await team.omars_id()
        linked = await team.mara.request("POST", f"/api/v1/accounts/{id}/password-reset")
        assert linked.status == 200
        here = {HEADER: team.id}
        begun = (await team.omar.request("POST", "/api/v1/second-factors/totp", {}, **here)).json
        confirmed = await team.omar.request(
            "POST", f"/api/v1/second-factors/{begun['id']}/confirm", {"code": code_of(begun["secret"])}, **here
        )
        assert confirmed.status == 200
        for method, path in (
            ("POST", "/api/v1/second-factors/recovery-codes"),
            ("DELETE", f"/api/v1/second-factors/{begun['id']}"),
            ("DELETE", "/api/v1/sessions"),
        ):
            assert (await team.omar.request(method, path, **here)).status in (200, 201), path
        shared = await team.mara.request("GET", f"{team.path}/audit?limit=1000")
        own = await team.omar.request("GET", f"/api/v1/workspaces/{id}/audit?limit=1000")
        assert (await team.omar.request("POST", "/api/v1/auth/logout", **here)).status == 200
        of_account = await team.mara.request("GET", f"/api/v1/audit?workspace_id={id}&limit=1000")

    acts = {
        "password.reset_created", "second_factor.added", "recovery_codes.replaced", "second_factor.removed",
        "sessions.ended",
    }  # fmt: skip
    assert {entry["action"] for entry in own.json["entries"]} >= acts
    assert {entry["action"] for entry in of_account.json["entries"]} >= {*acts, "logout"}
    assert [entry["action"] for entry in shared.json["entries"]] == ["member.added", "workspace.created"]


async def test_members_of_a_personal_workspace_see_no_acts_on_what_its_account_logs_in_with(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        id = await team.omars_id()
        mine = (await team.mara.request("GET", "/api/v1/accounts/me")).json["id"]
        body = {"account": mine, "role": "admin"}
        assert (await team.omar.request("POST", f"/api/v1/workspaces/{id}/members", body)).status == 201
        await team.mara.request("POST", f"/api/v1/accounts/{id}/password-reset")
        await team.omar.request("DELETE", "/api/v1/sessions")
        own, others = [
            {
                entry["action"]
                for entry in (await client.request("GET", f"/api/v1/workspaces/{id}/audit")).json["entries"]
            }
            for client in (team.omar, team.mara)
        ]

    assert own - others == {
        "account.created", "login.succeeded", "password.reset_created", "sessions.ended",
    }  # fmt: skip
    assert others == {"member.added"}


async def test_a_workspace_has_the_entries_about_invitations_to_it_and_tokens_for_it(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        body = {"email": "omar@example.com", "role": "editor"}
        invited = await team.mara.request("POST", f"{team.path}/invitations", body)
        token = invited.json["link"].partition("#")[2]
        accepted = await team.omar.request("POST", "/api/v1/invitations/accept", {"token": token})
        assert accepted.status == 200, accepted
        made = await team.omar.request("POST", "/api/v1/tokens", {"name": "N", "scopes": ["read"]}, **{HEADER: team.id})
        assert (await team.omar.request("DELETE", f"/api/v1/tokens/{made.json['id']}")).status == 200
        listed = await team.mara.request("GET", f"{team.path}/audit")

    assert [entry["action"] for entry in listed.json["entries"]][:4] == [
        "token.revoked", "token.created", "invitation.accepted", "invitation.created",
    ]  # fmt: skip
