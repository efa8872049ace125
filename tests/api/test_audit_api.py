"""The audit log over REST: the part of a workspace, and the export as lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from flowrunner.services import audit as audit_service
from security.two_accounts import RETURN, ApiClient
from support.client import PASSWORD, Reply

from .test_workspaces_api import team_at

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
    names = ("actor", "account_id", "action", "object_kind", "object_id")
    async with team_at(tmp_path) as team:
        everywhere = {name: await team.mara.request("GET", f"/api/v1/audit?{name}=") for name in names}
        within = {
            name: await team.mara.request("GET", f"{team.path}/audit?{name}=") for name in names if name != "account_id"
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
