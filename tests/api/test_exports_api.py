"""Exports of workspaces over REST."""

import asyncio
import gc
import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from api.shapes import assert_error
from flowrunner.domain.values import WorkspaceId
from flowrunner.services.exports import MAX_OPEN
from flowrunner.storage.triggers import SqlTriggers
from security.two_accounts import RETURN, ApiClient, assert_limited, until
from support.asgi import call

from .test_workspaces_api import HEADER, Team, team_at

SECRET = "a value to keep"


async def export(client: ApiClient, team: Team) -> Any:
    return await client.request("GET", f"{team.path}/export")


def lines(archive: zipfile.ZipFile, name: str) -> list[Any]:
    return [json.loads(line) for line in archive.read(name).splitlines()]


async def test_an_export_has_all_that_a_workspace_holds_but_values_of_secrets(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        other = await team.omar.flow(RETURN)
        flow = await team.flow()
        second = f"{RETURN} # é\ntriggers: {{hourly: {{type: schedule, every: 1h}}}}\n"
        await team.mara.request("PUT", f"/api/v1/flows/{flow}", {"definition": second})
        await team.mara.request("POST", f"{team.path}/secrets", {"key": "TOKEN", "value": SECRET})
        callback = {"url": "https://a.example/in?key=abcdefgh12345678", "events": ["execution.failed"]}
        made = await team.mara.request("POST", "/api/v1/callbacks", callback, **{HEADER: team.id})
        assert made.status == 201, made
        omar = await team.join("viewer")
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        reply = await export(team.mara, team)
        audit = await team.mara.request("GET", f"{team.path}/audit?action=workspace.exported")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/zip"
    assert reply.headers["content-disposition"] == 'attachment; filename="data-team.zip"'
    archive = zipfile.ZipFile(io.BytesIO(reply.body))
    assert archive.testzip() is None
    assert archive.read(f"flows/{flow}/revisions/1.yaml").decode() == RETURN
    assert archive.read(f"flows/{flow}/revisions/2.yaml").decode() == second
    assert archive.read(f"flows/{flow}/flow.yaml").decode() == second
    assert [(found["id"], found["revision"]) for found in lines(archive, "flows.ndjson")] == [(flow, 2)]
    assert [member["account_id"] for member in lines(archive, "members.ndjson")][-1] == omar
    assert [secret["key"] for secret in lines(archive, "secrets.ndjson")] == ["TOKEN"]
    assert [trigger["name"] for trigger in lines(archive, "triggers.ndjson")] == ["hourly"]
    assert [found["id"] for found in lines(archive, "callbacks.ndjson")] == [made.json["id"]]
    assert b"abcdefgh12345678" not in archive.read("callbacks.ndjson")
    (found,) = lines(archive, "executions.ndjson")
    assert (found["id"], found["status"], found["revision"]) == (execution, "completed", 2)
    events = lines(archive, "events.ndjson")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["execution_id"], events[-1]["type"]) == (execution, "execution.completed")
    assert not any(other in name for name in archive.namelist())
    assert not any(SECRET.encode() in archive.read(name) for name in archive.namelist())
    assert audit.json["total"] == 1


async def test_an_export_is_complete_in_however_many_portions_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FLOWS_AT_ONCE", "_EXECUTIONS_AT_ONCE", "_TRIGGERS_AT_ONCE"):
        monkeypatch.setattr(f"flowrunner.services.exports.{name}", 2)
    monkeypatch.setattr("flowrunner.storage.exports._EVENTS_AT_ONCE", 2)
    async with team_at(tmp_path) as team:
        hourly = "triggers: {hourly: {type: schedule, every: 1h}}"
        flows = [await team.flow(f"{RETURN}\n{hourly} # {number}\n") for number in range(5)]
        executions = [(await team.mara.run(flow)).json["execution_id"] for flow in flows]
        lengths = {}
        for execution in executions:
            await team.mara.ended(execution)
            page = await team.mara.request("GET", f"/api/v1/executions/{execution}/events")
            lengths[execution] = page.json["events"][-1]["seq"]
        reply = await export(team.mara, team)

    archive = zipfile.ZipFile(io.BytesIO(reply.body))
    assert [flow["id"] for flow in lines(archive, "flows.ndjson")] == sorted(flows)
    assert {name for name in archive.namelist() if name.endswith("/1.yaml")} == {
        f"flows/{flow}/revisions/1.yaml" for flow in flows
    }
    assert sorted(trigger["flow_id"] for trigger in lines(archive, "triggers.ndjson")) == sorted(flows)
    assert [execution["id"] for execution in lines(archive, "executions.ndjson")] == sorted(executions)
    seqs: dict[str, list[int]] = {}
    for event in lines(archive, "events.ndjson"):
        seqs.setdefault(event["execution_id"], []).append(event["seq"])
    assert min(lengths.values()) > 2
    assert seqs == {id: list(range(1, length + 1)) for id, length in lengths.items()}


async def test_a_flow_that_is_deleted_during_an_export_hides_no_trigger_of_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.services.exports._TRIGGERS_AT_ONCE", 1)
    read_page = SqlTriggers.page
    async with team_at(tmp_path) as team:
        hourly = f"{RETURN}\ntriggers: {{hourly: {{type: schedule, every: 1h}}}}\n"
        flows = sorted([await team.flow(f"{hourly}# {number}\n") for number in range(3)])

        async def delete_after_the_first(self: SqlTriggers, *args: Any, **options: Any) -> Any:
            page = await read_page(self, *args, **options)
            if [trigger.flow_id for trigger in page[0]] == flows[:1]:
                await team.mara.request("DELETE", f"/api/v1/flows/{flows[0]}")
            return page

        monkeypatch.setattr(SqlTriggers, "page", delete_after_the_first)
        reply = await export(team.mara, team)

    archive = zipfile.ZipFile(io.BytesIO(reply.body))
    assert [trigger["flow_id"] for trigger in lines(archive, "triggers.ndjson")] == flows


async def test_an_export_lacks_what_was_deleted(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        gone, flow = await team.flow(), await team.flow()
        for number in (2, 3):
            await team.mara.request("PUT", f"/api/v1/flows/{flow}", {"definition": f"{RETURN} # {number}\n"})
        await team.mara.request("POST", f"{team.path}/secrets", {"key": "TOKEN", "value": SECRET})
        callback = {"url": "https://a.example/in", "events": ["execution.failed"]}
        made = await team.mara.request("POST", "/api/v1/callbacks", callback, **{HEADER: team.id})
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        deleted = [
            await team.mara.request("DELETE", path)
            for path in (
                f"/api/v1/flows/{gone}",
                f"/api/v1/flows/{flow}/revisions/2",
                f"{team.path}/secrets/TOKEN",
                f"/api/v1/callbacks/{made.json['id']}",
                f"/api/v1/executions/{execution}/record",
            )
        ]
        reply = await export(team.mara, team)

    assert {one.status for one in deleted} == {200}
    archive = zipfile.ZipFile(io.BytesIO(reply.body))
    documents = {name for name in archive.namelist() if name.startswith("flows/")}
    assert documents == {f"flows/{flow}/{name}.yaml" for name in ("flow", "revisions/1", "revisions/3")}
    for name in ("secrets", "callbacks", "executions", "events"):
        assert lines(archive, f"{name}.ndjson") == [], name


async def test_an_export_has_the_entries_of_the_store_beyond_one_portion(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        for number in range(51):
            body = {"value": {"n": number}}
            await team.mara.request("PUT", f"/api/v1/store/entry?key=k{number:02}", body, **{HEADER: team.id})
        other = "/api/v1/store/entry?key=a&namespace=other"
        await team.mara.request("PUT", other, {"value": None, "ttl": "7d"}, **{HEADER: team.id})
        await team.mara.request("PUT", "/api/v1/store/entry?key=elsewhere", {"value": 1})
        archive = zipfile.ZipFile(io.BytesIO((await export(team.mara, team)).body))

    *entries, last = lines(archive, "store.ndjson")
    assert [(entry["key"], entry["value"]) for entry in entries] == [(f"k{n:02}", {"n": n}) for n in range(51)]
    assert {entry["expires_at"] for entry in entries} == {None}
    assert (last["namespace"], last["key"], last["value"]) == ("other", "a", None)
    assert last["expires_at"] > last["created_at"]


async def test_only_admins_who_have_logged_in_export_a_workspace(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        hidden = await export(team.omar, team)
        await team.join("editor")
        as_editor = await export(team.omar, team)
        body = {"name": "t", "scopes": ["read", "members"]}
        token = (await team.mara.request("POST", "/api/v1/tokens", body, **{HEADER: team.id})).json["token"]
        by_token = await export(ApiClient(team.accounts.app, token), team)

    assert_error(hidden, 404, "Workspace not found")
    assert_error(as_editor, 403)
    assert_error(by_token, 403)


@pytest.mark.parametrize("change", [("DELETE", None), ("PUT", {"role": "editor"})], ids=["removed", "demoted"])
@pytest.mark.parametrize("path", ["/export", "/audit"])
async def test_what_a_former_admin_still_reads_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, change: tuple[str, Any]
) -> None:
    monkeypatch.setattr("flowrunner.services.audit._ROWS_AT_ONCE", 1)
    async with team_at(tmp_path) as team:
        omar = await team.join("admin")
        pieces = 0

        async def end() -> None:
            nonlocal pieces
            pieces += 1
            if pieces == 1:
                method, body = change
                assert (await team.mara.request(method, f"{team.path}/members/{omar}", body)).status == 200

        headers = {"accept": "application/x-ndjson"}
        with pytest.raises(EOFError):
            await call(
                team.accounts.app,
                "GET",
                f"{team.path}{path}",
                token=team.omar.token,
                headers=headers,
                after_piece=end,
            )

    assert pieces == 1


@pytest.mark.parametrize("end_of", ["membership", "execution"])
async def test_s10_a_log_whose_reader_or_execution_is_gone_is_cut_off(tmp_path: Path, end_of: str) -> None:
    many = "{type: foreach, params: {items: '${Array(120).fill(1)}'}, nodes: {b: {type: log, params: {message: x}}}}"
    async with team_at(tmp_path) as team:
        omar, flow = await team.join("viewer"), await team.flow(f"nodes: {{a: {many}}}")
        execution = (await team.mara.run(flow)).json["execution_id"]
        await team.mara.ended(execution)
        pieces = 0

        async def end() -> None:
            nonlocal pieces
            pieces += 1
            if pieces == 1:
                paths = {
                    "membership": f"{team.path}/members/{omar}",
                    "execution": f"/api/v1/executions/{execution}/record",
                }
                assert (await team.mara.request("DELETE", paths[end_of])).status == 200

        path = f"/api/v1/executions/{execution}/logs?limit=1000"
        with pytest.raises(EOFError):
            await call(team.accounts.app, "GET", path, token=team.omar.token, after_piece=end)

    assert pieces == 1


async def test_memory_does_not_grow_with_what_is_exported(tmp_path: Path) -> None:
    """Ten times as many large events take no more memory."""
    peaks = []
    async with team_at(tmp_path) as team:
        flow = await team.flow("nodes: {a: {type: return, params: {value: '${input.text}'}}}")
        session = await team.accounts.program.services.sessions.authenticate(team.mara.token or "")
        caller = session.acting_in(WorkspaceId(team.id))
        for count in (3, 27):
            for _ in range(count):
                body = {"input": {"text": "x" * 200_000}}
                started = await team.mara.request("POST", f"/api/v1/flows/{flow}/run", body)
                await team.mara.ended(started.json["execution_id"])
            tracemalloc.start()
            _, portions = await team.accounts.program.services.exports.export(caller)
            async for _ in portions:
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    assert peaks[1] < peaks[0] + 1_000_000


async def test_few_exports_of_a_workspace_are_read_at_a_time(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        services = team.accounts.program.services
        session = await services.sessions.authenticate(team.mara.token or "")
        caller = session.acting_in(WorkspaceId(team.id))
        one, other = [(await services.exports.export(caller))[1] for _ in range(MAX_OPEN)]
        await anext(one)
        refused = await export(team.mara, team)
        elsewhere = await team.mara.request("GET", f"/api/v1/workspaces/{session.workspace_id}/export")
        # One is given up in the middle, the other before it began.
        del one, other
        gc.collect()
        # Generators inside others end one after the other.
        await asyncio.sleep(0.05)
        fine = [(await export(team.mara, team)).status for _ in range(MAX_OPEN + 1)]
        audit = await team.mara.request("GET", f"{team.path}/audit?action=workspace.exported")

    assert_limited(refused, "workspace_exports", MAX_OPEN)
    assert elsewhere.status == 200
    assert fine == [200] * (MAX_OPEN + 1)
    assert audit.json["total"] == 2 * MAX_OPEN + 1


async def test_an_export_says_the_same_as_the_api(tmp_path: Path) -> None:
    async with team_at(tmp_path) as team:
        await team.mara.request("POST", f"{team.path}/secrets", {"key": "TOKEN", "value": SECRET})
        await team.mara.request("PUT", "/api/v1/config/CHANNEL", {"value": ["#ops"]}, **{HEADER: team.id})
        await team.join("viewer")
        child = await team.flow(f'metadata: {{description: D, version: "1.2", tags: [a, b]}}\n{RETURN}')
        parent = await team.flow(f"nodes: {{a: {{type: flow, params: {{flow: '{child}'}}}}}}\n")
        fails = await team.flow("nodes: {a: {type: fail, params: {message: no paper}}}\n")
        waits = await team.flow(
            "triggers: {t: {type: schedule, every: 1h}}\nnodes: {a: {type: wait, params: {key: k}}}\n"
        )
        await team.mara.request("PUT", f"/api/v1/flows/{child}", {"name": "Other"})
        (trigger,) = (await team.mara.request("GET", "/api/v1/triggers", **{HEADER: team.id})).json["triggers"]
        await team.mara.request("POST", f"/api/v1/triggers/{trigger['id']}/pause")
        callback = {"url": "https://a.example/in", "events": ["execution.failed"], "flow_id": fails, "name": "C"}
        made = await team.mara.request("POST", "/api/v1/callbacks", callback, **{HEADER: team.id})
        await team.mara.request("PUT", f"/api/v1/callbacks/{made.json['id']}", {"enabled": False})
        for flow in (parent, fails):
            execution = (await team.mara.run(flow)).json["execution_id"]
            await team.mara.ended(execution)
        await team.mara.request("POST", f"/api/v1/executions/{execution}/rerun")
        waiting = (await team.mara.run(waits)).json["execution_id"]

        async def is_waiting() -> bool:
            return bool((await team.mara.request("GET", f"/api/v1/executions/{waiting}")).json["status"] == "waiting")

        await until(is_waiting)
        shown = {
            name: (await team.mara.request("GET", f"{path}/{name}?limit=50", **{HEADER: team.id})).json[name]
            for path, names in (
                (team.path, ("secrets", "members")),
                ("/api/v1", ("config", "flows", "triggers", "callbacks", "executions")),
            )
            for name in names
        }
        archive = zipfile.ZipFile(io.BytesIO((await export(team.mara, team)).body))

    for name, rows in shown.items():
        exported = lines(archive, f"{name}.ndjson")
        # These are named otherwise, or only in one of the two.
        kept = exported[0].keys() - {"paused_at", "address", "disabled", "template"}
        expected = [{key: row.get(key) for key in sorted(kept)} for row in rows]
        found = [{key: row[key] for key in sorted(kept)} for row in exported]
        assert sorted(found, key=str) == sorted(expected, key=str)
    assert len(shown["executions"]) == 5
    once = ("secrets", "config", "triggers", "callbacks")
    assert {name: len(rows) for name, rows in shown.items() if name in once} == {
        "secrets": 1, "config": 1, "triggers": 1, "callbacks": 1,
    }  # fmt: skip
    (paused,), (off,) = lines(archive, "triggers.ndjson"), lines(archive, "callbacks.ndjson")
    assert paused["paused_at"] is not None
    assert (off["address"], off["disabled"]) == ("https://a.example/in", True)
