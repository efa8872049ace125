"""Two workspaces of one account: what one holds, the other neither has, shows nor uses up."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from api.test_workspaces_api import HEADER, Team, team_at
from flowrunner.bootstrap.location import DATABASE_FILE
from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import RevisionId, WorkspaceId
from flowrunner.sandbox.pool import JailedSandbox
from security.two_accounts import RETURN

VALUE = "a-quiet-heron-of-one-workspace"


async def second_of(team: Team) -> str:
    made = await team.mara.request("POST", "/api/v1/workspaces", {"name": "Second"})
    assert made.status == 201, made
    return str(made.json["id"])


async def ran(team: Team, workspace: str, definition: str, *, input: Any = None, **headers: str) -> Any:
    """Run a flow in a workspace; return the execution once it has ended."""
    body = {"name": "F", "definition": definition}
    made = await team.mara.request("POST", "/api/v1/flows", body, **{HEADER: workspace})
    assert made.status == 201, made
    path = f"/api/v1/flows/{made.json['id']}/run"
    started = await team.mara.request("POST", path, {"input": input or {}}, **headers)
    assert started.status == 201, started
    return await team.mara.ended(started.json["execution_id"])


async def set_secret(team: Team, workspace: str, value: str) -> None:
    path = f"/api/v1/workspaces/{workspace}/secrets"
    assert (await team.mara.request("POST", path, {"key": "KEY", "value": value})).status == 201


def sql(path: Path, statement: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path / DATABASE_FILE)) as connection, connection:
        return connection.execute(statement, values).fetchall()


async def test_s71_a_secret_exists_and_is_hidden_in_its_own_workspace_alone(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        second = await second_of(team)
        await set_secret(team, team.id, VALUE)
        returns = "nodes: {a: {type: return, params: {value: '${secrets.KEY}'}}}"
        echoes = "nodes: {a: {type: return, params: {value: '${input.text}'}}}"
        own = await ran(team, team.id, returns)
        foreign = await ran(team, second, returns)
        # An answer that hides a text would say that the text is a secret elsewhere.
        echoed = {
            workspace: (await ran(team, workspace, echoes, input={"text": VALUE}))["result"]
            for workspace in (team.id, second)
        }

    assert own["status"] == "completed"
    assert VALUE not in str(own)
    assert foreign["status"] == "failed"
    assert VALUE not in str(foreign)
    assert VALUE not in str(echoed[team.id])
    assert echoed[second] == VALUE


async def test_s22_s71_each_workspace_has_a_data_key_of_its_own(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        second = await second_of(team)
        await set_secret(team, team.id, VALUE)
        await set_secret(team, second, VALUE + "-too")
        keys = sql(tmp_path, "SELECT workspace_id, wrapped FROM data_keys")
        sealed = sql(tmp_path, "SELECT sealed FROM secrets WHERE workspace_id = ?", team.id)[0][0]
        # With the data key, too: the workspace is part of what is sealed.
        sql(tmp_path, "UPDATE secrets SET sealed = ? WHERE workspace_id = ?", sealed, second)
        stolen = await ran(team, second, "nodes: {a: {type: return, params: {value: '${secrets.KEY}'}}}")
        wrapped = dict(keys)[team.id]
        sql(tmp_path, "UPDATE data_keys SET wrapped = ? WHERE workspace_id = ?", wrapped, second)
        again = await ran(team, second, "nodes: {a: {type: return, params: {value: '${secrets.KEY}'}}}")

    assert {workspace for workspace, _ in keys} == {team.id, second}
    assert len({wrapped for _, wrapped in keys}) == 2
    for failed in (stolen, again):
        assert failed["status"] == "failed"
        assert VALUE not in str(failed)


async def test_s71_a_flow_calls_flows_of_its_own_workspace_alone(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        second = await second_of(team)
        body = {"name": "inner", "definition": RETURN}
        inner = await team.mara.request("POST", "/api/v1/flows", body, **{HEADER: second})
        ended = [
            await ran(team, workspace, f"nodes: {{a: {{type: flow, params: {{flow: {named}}}}}}}")
            for workspace in (second, team.id)
            for named in ("inner", inner.json["id"])
        ]

    assert [execution["status"] for execution in ended] == ["completed", "completed", "failed", "failed"]


async def test_s71_a_compiled_flow_is_found_in_its_own_workspace_alone(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        second = await second_of(team)
        await ran(team, team.id, RETURN)
        ((revision,),) = sql(tmp_path, "SELECT revision_id FROM flows WHERE workspace_id = ?", team.id)
        library = team.accounts.program.engine.deps.library
        await library.get(WorkspaceId(team.id), RevisionId(revision))
        found = []
        for workspace in (second, await team.omars_id()):
            try:
                found.append(await library.get(WorkspaceId(workspace), RevisionId(revision)))
            except NotFound:
                continue

    assert found == []


async def test_s38_s71_a_script_worker_never_serves_two_workspaces(tmp_path: Path) -> None:
    script = "nodes: {a: {type: transform, params: {script: 'return input.n + 1'}}}"
    served: dict[int, set[Any]] = {}
    async with team_at(tmp_path) as team:
        second = await second_of(team)
        pool = team.accounts.program.engine.deps.sandbox
        assert isinstance(pool, JailedSandbox)
        for n in range(6):
            ended = await ran(team, (team.id, second)[n % 2], script, input={"n": n})
            assert ended["result"] == n + 1
            for worker in pool._idle:
                served.setdefault(id(worker), set()).add(worker.workspace_id)
        workers = list(pool._idle)

    assert {worker.workspace_id for worker in workers} == {team.id, second}
    assert all(len(workspaces) == 1 for workspaces in served.values())


async def test_s71_limits_keys_and_the_audit_log_are_the_workspaces(tmp_path: Path) -> None:
    async with team_at(tmp_path, workspace_flows=2) as team:
        second = await second_of(team)
        key = {"Idempotency_Key": "once"}
        executions = [await ran(team, workspace, RETURN, **key) for workspace in (team.id, second)]
        await ran(team, team.id, RETURN)
        body = {"name": "F", "definition": RETURN}
        full, free = [
            await team.mara.request("POST", "/api/v1/flows", body, **{HEADER: workspace})
            for workspace in (team.id, second)
        ]
        usage = [
            (await team.mara.request("GET", f"/api/v1/workspaces/{workspace}/usage")).json["flows"]
            for workspace in (team.id, second)
        ]
        audited = [
            sql(tmp_path, "SELECT count(*) FROM audit WHERE action = 'flow.created' AND workspace_id = ?", workspace)
            for workspace in (team.id, second)
        ]

    assert executions[0]["id"] != executions[1]["id"]
    assert (full.status, free.status) == (409, 201)
    assert usage == [2, 2]
    assert audited == [[(2,)], [(2,)]]
