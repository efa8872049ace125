"""Headers that every answer has: what is left of rate limits, and the state of what is read."""

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from api.shapes import NAP, SMALLEST, assert_error
from flowrunner.api.execution_answers import ExecutionDetailAnswer
from flowrunner.api.executions import _state_of
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.server import ROUTERS
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId
from flowrunner.ports.executions import ExecutionDetail
from flowrunner.settings import Settings
from support.asgi import call, program_at
from support.client import PASSWORD, Client
from support.databases import NOON


async def token_for(program: Any) -> str:
    await program.services.accounts.create(name="U", email="u@example.com", password=PASSWORD, role="user")
    return str((await program.services.sessions.login("u@example.com", PASSWORD, address="127.0.0.1")).token)


async def test_each_answer_says_what_is_left_of_the_callers_requests(tmp_path: Path) -> None:
    async with program_at(tmp_path, account_requests=3, account_changes=None) as program:
        token = await token_for(program)
        left = []
        for path in ("/api/v1/flows", "/api/v1/flows/flow-1", "/api/v1/accounts"):
            reply = await call(program.app, "GET", path, token=token)
            assert reply.headers["ratelimit-policy"] == '"account_requests";q=3;w=60'
            left.append(reply.headers["ratelimit"])
        assert left == ['"account_requests";r=2;t=20', '"account_requests";r=1;t=40', '"account_requests";r=0;t=60']

        reply = await call(program.app, "GET", "/api/v1/flows", token=token)
        assert_error(reply, 429)
        assert reply.headers["retry-after"] == "20"
        assert reply.headers["ratelimit-policy"] == '"account_requests";q=3;w=60'
        assert reply.headers["ratelimit"] == '"account_requests";r=0;t=20'


async def test_a_change_also_says_what_is_left_of_changes_and_a_stranger_what_is_left_of_the_address(
    tmp_path: Path,
) -> None:
    async with program_at(tmp_path, account_requests=100, account_changes=50, anonymous_requests=10) as program:
        token = await token_for(program)
        policies: list[str] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                policies.extend(v.decode() for k, v in message["headers"] if k == b"ratelimit-policy")

        async def app(scope: Any, receive: Any, _: Any) -> None:
            await program.app(scope, receive, send)

        body = json.dumps({"name": "N", "definition": SMALLEST}).encode()
        for bearer in (token, None):
            with pytest.raises(IndexError):
                await call(app, "POST", "/api/v1/flows", token=bearer, body=body)

        changing = ['"account_requests";q=100;w=60', '"account_changes";q=50;w=3600']
        assert policies == [*changing, '"anonymous_requests";q=10;w=60']


async def test_an_installation_without_limits_says_nothing_about_them(tmp_path: Path) -> None:
    async with program_at(tmp_path, account_requests=None, account_changes=None) as program:
        reply = await call(program.app, "GET", "/api/v1/flows", token=await token_for(program))

        assert reply.status == 200
        assert not {"ratelimit", "ratelimit-policy"} & reply.headers.keys()


async def test_an_installation_without_limits_does_all_that_others_do(tmp_path: Path) -> None:
    limits = [name for name, kind in get_type_hints(Settings).items() if kind == int | None]
    described = openapi_document([route for router in ROUTERS for route in router.routes])["paths"]
    lists = [
        path
        for path, item in described.items()
        if "get" in item and "{" not in path and path not in ("/metrics", "/api/v1/store/entry")
    ]
    assert len(limits) > 10
    assert len(lists) > 20

    async with program_at(tmp_path, metrics_token="a token of readers", **dict.fromkeys(limits)) as program:
        services, app = program.services, program.app
        id = (await services.accounts.create(name="A", email="a@example.com", password=PASSWORD, role="admin")).id
        logins = [
            await call(app, "POST", "/api/v1/auth/login", body=json.dumps(given).encode())
            for given in (
                {"username": "a@example.com", "password": each} for each in ("another one than that", PASSWORD)
            )
        ]
        send = partial(call, app, token=logins[1].json["token"])
        secret = await send("POST", f"/api/v1/accounts/{id}/secrets", body=b'{"key": "K", "value": "a secret value"}')
        flow = await send("POST", "/api/v1/flows", body=json.dumps({"name": "N", "definition": SMALLEST}).encode())
        start = f"/api/v1/flows/{flow.json['id']}/run"
        run = await send("POST", start, body=b"{}", headers={"prefer": "wait=30"})
        metrics = await call(app, "GET", "/metrics", token="a token of readers")
        read = {path: (await send("GET", path)).status for path in lists}

    assert [reply.status for reply in (*logins, secret, flow, run, metrics)] == [401, 200, 201, 201, 200, 200]
    assert run.json["status"] == "completed"
    assert {path for path, status in read.items() if status != 200} == set()


def test_a_list_that_has_not_changed_is_not_sent_again(account: Client) -> None:
    account.new_flow(SMALLEST)
    for path in ("/api/v1/flows", "/api/v1/executions?limit=5", "/api/v1/tokens", "/api/v1/workspaces"):
        got = account.get(path)
        known = {"If-None-Match": got.headers["etag"]}
        again = account.request("GET", path, headers=known)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", got.headers["etag"]), path
        assert account.request("HEAD", path, headers=known).status == 304
        assert account.request("GET", path, headers={"If-None-Match": '"other"'}).body == got.body
        assert_error(account.request("GET", path, headers={"If-None-Match": "x"}), 400)
    before = account.get("/api/v1/flows").headers["etag"]
    account.new_flow(SMALLEST)
    assert account.request("GET", "/api/v1/flows", headers={"If-None-Match": before}).status == 200


def test_a_description_of_the_interfaces_is_not_sent_again(account: Client) -> None:
    for path in ("/api/v1/openapi.json", "/api/v1/asyncapi.json"):
        got = account.get(path)
        tag = got.headers["etag"]
        again = account.request("GET", path, headers={"If-None-Match": tag})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag), path
        assert account.request("GET", path, headers={"If-None-Match": '"other"'}).body == got.body
        assert_error(account.request("GET", path, headers={"If-None-Match": "other"}), 400)


def test_the_state_of_an_execution_is_new_after_each_event_and_another_in_each_view(account: Client) -> None:
    id = account.run(account.new_flow(NAP))
    account.until_it_waits(id)
    path = f"/api/v1/executions/{id}"
    states = [account.get(path, view=view).headers["etag"] for view in ("full", "preview", "summary")]
    assert len(set(states)) == 3
    assert account.request("GET", path, headers={"If-None-Match": states[0]}).status == 304
    account.delete(path)
    account.ended(id)
    changed = account.request("GET", path, headers={"If-None-Match": states[0]})
    assert (changed.status, changed.json["status"]) == (200, "cancelled")


def test_an_execution_has_another_state_after_what_no_event_of_it_tells() -> None:
    execution = ExecutionDetail(
        id=ExecutionId("exec-1"), flow_id=FlowId("flow-1"), status=Status.FAILED, started_at=NOON, completed_at=NOON,
        error="e", last_seq=7, input=b"{}", result=None, revision_id=RevisionId("rev-1"),
    )  # fmt: skip
    changes: list[dict[str, Any]] = [
        {}, {"last_seq": 8}, {"waiting_for": b"[]"}, {"revision": 2}, {"flow_name": "N"}, {"repaired_by": "exec-2"},
    ]  # fmt: skip

    states = {_state_of(dataclasses.replace(execution, **change), most) for change in changes for most in (None, 0)}

    assert len(states) == 2 * len(changes)


def test_each_field_of_an_execution_follows_from_its_events_or_counts_in_its_state() -> None:
    from_events = {
        "id", "flow_id", "status", "started_at", "completed_at", "error", "input", "result", "failure", "parent_id",
        "rerun_of", "last_seq", "revision_id", "duration", "error_type", "failed_node", "log_counts", "logs", "labels",
        "trigger", "trigger_id", "started_by", "config",
    }  # fmt: skip
    in_the_state = {"waiting_for", "waiting_at", "revision", "flow_name", "repaired_by"}
    # Whoever adds a field has thought about what changes it.
    assert {field.name for field in dataclasses.fields(ExecutionDetail)} <= from_events | in_the_state
    assert set(ExecutionDetailAnswer.__struct_fields__) <= from_events | in_the_state
