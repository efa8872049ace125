"""Moves and copies of flows over REST."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from flowrunner.storage import flow_moves
from security.two_accounts import RETURN, ApiClient

from .test_workspaces_api import HEADER, Team, team_at

READS_SECRET = "nodes:\n  a: {type: log, params: {message: '${secrets.TOKEN} ${secrets.OTHER}'}}\n"
WAITS = "nodes: {a: {type: delay, params: {duration: 1h}}}"


async def move(client: ApiClient, flow: str, workspace: str, **headers: str) -> Any:
    return await client.request("POST", f"/api/v1/flows/{flow}/move", {"workspace": workspace}, **headers)


async def copy(client: ApiClient, flow: str, body: Any = None, **headers: str) -> Any:
    return await client.request("POST", f"/api/v1/flows/{flow}/copy", body, **headers)


async def personal(client: ApiClient) -> str:
    return str((await client.request("GET", "/api/v1/workspaces")).json["workspaces"][0]["id"])


async def flows_of(client: ApiClient, workspace: str) -> list[str]:
    listed = await client.request("GET", "/api/v1/flows", **{HEADER: workspace})
    return [flow["id"] for flow in listed.json["flows"]]


async def test_a_flow_moves_with_its_history_and_names_the_secrets_it_lacks(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow, mine = await team.mara.flow(READS_SECRET), await personal(team.mara)
        for workspace, key in ((mine, "TOKEN"), (mine, "OTHER"), (team.id, "OTHER")):
            body = {"key": key, "value": "a value to keep"}
            assert (await team.mara.request("POST", f"/api/v1/workspaces/{workspace}/secrets", body)).status == 201
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        before = (await team.mara.request("GET", f"/api/v1/executions/{execution}")).json

        moved = await move(team.mara, flow, "data-team")

        assert moved.status == 200, moved
        assert moved.json["flow"]["id"] == flow
        assert (moved.json["workspace_id"], moved.json["missing_secrets"]) == (team.id, ["TOKEN"])
        assert await flows_of(team.mara, team.id) == [flow]
        assert await flows_of(team.mara, mine) == []
        assert (await team.mara.request("GET", f"/api/v1/executions/{execution}")).json == before
        listed = await team.mara.request("GET", f"/api/v1/executions?flow_id={flow}", **{HEADER: team.id})
        assert [found["id"] for found in listed.json["executions"]] == [execution]
        assert (await move(team.mara, flow, team.id)).status == 200, "a repeated request changes nothing"
    told = rows(tmp_path, "SELECT workspace_id, object_id, details FROM audit WHERE action = 'flow.moved' ORDER BY seq")
    assert told == [(mine, flow, f'{{"to":"{team.id}"}}'), (team.id, flow, f'{{"from":"{mine}"}}')]


async def test_a_move_needs_an_admin_where_the_flow_leaves_and_an_editor_where_it_arrives(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        own, shared = await team.omar.flow(RETURN), await team.flow()
        mine = await personal(team.omar)
        nowhere = await move(team.omar, own, team.id)
        id = await team.join("operator")
        as_operator = [await move(team.omar, own, team.id), await move(team.omar, shared, mine)]
        token = await team.omar.request("POST", "/api/v1/tokens", {"name": "t", "scopes": ["read", "write"]})
        program = ApiClient(team.accounts.app, token.json["token"])
        elsewhere = await move(program, own, team.id)
        assert (await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "editor"})).status == 200
        as_editor = [
            await move(team.omar, own, team.id),
            await move(team.omar, shared, mine),
            await move(team.omar, shared, team.id),
        ]
        kept = await flows_of(team.mara, team.id)
        assert (await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "admin"})).status == 200
        as_admin = await move(team.omar, shared, mine)
        unknown = await move(team.omar, "flow-1", team.id)

    assert_error(nowhere, 404, "Workspace not found")
    assert_error(elsewhere, 404, "Workspace not found")
    assert_error(unknown, 404, "Flow not found")
    assert [reply.status for reply in as_operator] == [403, 403]
    assert [reply.status for reply in as_editor] == [200, 403, 200]
    assert as_editor[1].json["error"]["message"] == "Your role in this workspace is 'editor', and this needs 'admin'"
    assert kept == [own, shared]
    assert as_admin.status == 200


async def test_a_flow_with_open_executions_moves_after_their_end(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.mara.flow(WAITS)
        execution = (await team.mara.run(flow)).json["execution_id"]
        refused = await move(team.mara, flow, team.id)
        assert (await team.mara.request("DELETE", f"/api/v1/executions/{execution}")).status == 200
        await team.mara.ended(execution)
        moved = await move(team.mara, flow, team.id)

    assert_error(refused, 409)
    assert "1 open execution: cancel what is open" in refused.error["message"]
    assert moved.status == 200


async def _cut_off(team: Team, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """Begin a move that is never advanced; return the flow and its executions."""
    monkeypatch.setattr(flow_moves, "_EXECUTIONS_AT_ONCE", 1)
    flow = await team.mara.flow(RETURN)
    ids = [(await team.mara.run(flow)).json["execution_id"] for _ in range(4)]
    for id in ids:
        await team.mara.ended(id)
    store = team.accounts.program.services.moves._store
    await store.begin(await personal(team.mara), flow, team.id, limits=team.accounts.program.engine.deps.limits)  # type: ignore[arg-type]
    listed = await team.mara.request("GET", "/api/v1/executions", **{HEADER: team.id})
    assert listed.json["total"] == 1
    return flow, ids


@pytest.mark.parametrize("by", ["a repeated request", "the server"])
async def test_a_move_that_was_cut_off_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    async with team_at(tmp_path) as team:
        flow, ids = await _cut_off(team, monkeypatch)
        assert {(await team.mara.request("GET", f"/api/v1/executions/{id}")).status for id in ids} == {200}
        if by == "the server":
            await team.accounts.program.services.moves.complete_all()
        else:
            assert (await move(team.mara, flow, team.id)).status == 200
        listed = await team.mara.request("GET", "/api/v1/executions", **{HEADER: team.id})

    assert sorted(found["id"] for found in listed.json["executions"]) == sorted(ids)
    assert rows(tmp_path, "SELECT moving_from FROM flows") == [(None,)]


async def test_a_copy_has_the_current_definition_and_no_history(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.mara.flow(RETURN)
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        beside, named = await copy(team.mara, flow), await copy(team.mara, flow, {"name": "G"})
        elsewhere = await copy(team.mara, flow, {"workspace": "data-team"})
        found = (await team.mara.request("GET", f"/api/v1/flows/{elsewhere.json['id']}")).json
        listed = await team.mara.request("GET", f"/api/v1/executions?flow_id={beside.json['id']}")
        there = await flows_of(team.mara, team.id)

    assert [reply.json["name"] for reply in (beside, named, elsewhere)] == ["Copy of F", "G", "F"]
    assert (found["definition"], found["revision"]) == (RETURN, 1)
    assert there == [elsewhere.json["id"]]
    assert listed.json["total"] == 0
    assert rows(tmp_path, "SELECT count(*) FROM audit WHERE details LIKE '%copy_of%'") == [(3,)]


async def test_the_copy_of_a_disabled_flow_is_disabled_with_its_triggers(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.omar.flow("nodes: {a: {type: return}}\ntriggers: {daily: {type: schedule, cron: '@daily'}}")
        await team.omar.request("PUT", f"/api/v1/flows/{flow}", {"disabled": True})
        copy = (await team.omar.request("POST", f"/api/v1/flows/{flow}/copy", {})).json
        armed = (await team.omar.request("GET", f"/api/v1/triggers?flow_id={copy['id']}")).json["triggers"]
        refused = await team.omar.run(copy["id"])
        enabled = await team.omar.request("PUT", f"/api/v1/flows/{copy['id']}", {"disabled": False})
        rearmed = (await team.omar.request("GET", f"/api/v1/triggers?flow_id={copy['id']}")).json["triggers"]

    assert copy["disabled"] is True
    assert [trigger["state"] for trigger in (*armed, *rearmed)] == ["paused", "armed"]
    assert (refused.status, enabled.status) == (409, 200)


async def test_a_copy_needs_an_editor_in_both_workspaces(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        shared = await team.flow()
        hidden = await copy(team.omar, shared, {"workspace": await personal(team.omar)})
        id = await team.join("operator")
        there = await copy(team.omar, shared)
        own = await copy(team.omar, await team.omar.flow(RETURN), {"workspace": team.id})
        assert (await team.mara.request("PUT", f"{team.path}/members/{id}", {"role": "editor"})).status == 200
        home = await copy(team.omar, shared, {"workspace": await personal(team.omar)})
        nowhere = await copy(team.omar, shared, {"workspace": "no-team"})

    assert_error(hidden, 404, "Flow not found")
    assert [there.status, own.status] == [403, 403]
    assert home.status == 201
    assert_error(nowhere, 404, "Workspace not found")


def rows(data_dir: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(data_dir / "flowrunner.db")) as connection:
        return connection.execute(statement).fetchall()


async def test_a_dry_run_of_a_move_checks_all_and_moves_nothing(tmp_path: Path) -> None:
    async with team_at(tmp_path, workspace_flows=1) as team:
        flow, mine = await team.mara.flow(READS_SECRET), await personal(team.mara)
        path = f"/api/v1/flows/{flow}/move?dry_run=true"

        planned = await team.mara.request("POST", path, {"workspace": team.id})
        unknown = await team.mara.request("POST", path, {"workspace": "workspace-1"})
        await team.flow()
        full = await team.mara.request("POST", path, {"workspace": team.id})

        assert (planned.status, planned.json["flow"]["id"], planned.json["workspace_id"]) == (200, flow, team.id)
        assert planned.json["missing_secrets"] == ["OTHER", "TOKEN"]
        assert_error(unknown, 404)
        assert full.json == (await move(team.mara, flow, team.id)).json | {"error": full.json["error"]}
        assert_error(full, 409)
        assert await flows_of(team.mara, mine) == [flow]
    assert rows(tmp_path, "SELECT 1 FROM audit WHERE action = 'flow.moved'") == []


async def test_a_flow_does_not_move_where_its_chain_would_be_a_loop(tmp_path: Path) -> None:
    async def save(client: ApiClient, name: str, of: str, **headers: str) -> str:
        definition = f"nodes: {{a: {{type: return}}}}\ntriggers: {{t: {{type: execution, flow: {of}}}}}"
        saved = await client.request("POST", "/api/v1/flows", {"name": name, "definition": definition}, **headers)
        assert saved.status == 201, saved
        return str(saved.json["id"])

    async with team_at(tmp_path) as team:
        flow, mine = await save(team.mara, "here", "there"), await personal(team.mara)
        await save(team.mara, "there", "here", **{HEADER: team.id})
        path = f"/api/v1/flows/{flow}/move"

        planned, moved = [
            await team.mara.request("POST", f"{path}{query}", {"workspace": team.id}) for query in ("?dry_run=true", "")
        ]

        assert_error(planned, 422)
        assert planned.error["details"]["errors"] == moved.error["details"]["errors"]
        assert moved.error["details"]["errors"][0]["code"] == "trigger.loop"
        assert await flows_of(team.mara, mine) == [flow]


async def test_open_executions_are_told_to_the_dry_run_of_a_move_too(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.mara.flow(WAITS)
        await team.mara.run(flow)
        path = f"/api/v1/flows/{flow}/move"

        planned, moved = [
            await team.mara.request("POST", f"{path}{query}", {"workspace": team.id}) for query in ("?dry_run=true", "")
        ]

    assert_error(planned, 409)
    assert planned.error["message"] == moved.error["message"]


async def test_a_dry_run_of_a_copy_saves_nothing(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        flow = await team.mara.flow(RETURN)

        planned = await team.mara.request("POST", f"/api/v1/flows/{flow}/copy?dry_run=true", {"workspace": team.id})

        assert planned.status == 200, planned
        assert (planned.json["id"], planned.json["name"], planned.json["plan"]["action"]) == ("", "F", "create")
        assert await flows_of(team.mara, team.id) == []
