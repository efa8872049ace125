"""The MCP server in the tests' process: limits, ended tokens, and what is broken or missing."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from api.agents import called, message
from api.shapes import NAP, SMALLEST, assert_refused
from flowrunner.api.http.authentication import SURFACE
from flowrunner.api.mcp import inner_requests, route, tools
from flowrunner.api.mcp.inner_requests import InnerAnswer, InnerRequests
from flowrunner.bootstrap.program import Program
from flowrunner.ports.audit import AuditFilter
from support.asgi import call, program_at
from support.client import PASSWORD, Reply
from support.waiting import PATIENCE_SECONDS


async def agent_of(program: Program) -> tuple[str, str, str]:
    """The session's token of a new account, a token for agents, and that one's id."""
    services = program.services
    await services.accounts.create(name="A", email="a@example.com", password=PASSWORD, role="user")
    session = (await services.sessions.login("a@example.com", PASSWORD, address="127.0.0.1")).token
    body = json.dumps({"name": "agent", "scopes": ["mcp", "read", "run", "write"]}).encode()
    made = (await call(program.app, "POST", "/api/v1/tokens", token=session, body=body)).json
    return session, made["token"], made["id"]


async def send(program: Program, token: str, value: Any) -> Reply:
    return await call(program.app, "POST", "/mcp", token=token, body=json.dumps(value).encode())


def error_in(reply: Reply) -> Any:
    assert reply.json["result"]["isError"], reply
    return reply.json["result"]["structuredContent"]["error"]


async def test_s56_s76_the_requests_of_tools_count_towards_the_limit_of_the_account(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data", account_requests=10) as program:
        _, token, _ = await agent_of(program)
        replies: list[Reply] = []
        while not replies or (replies[-1].status == 200 and not replies[-1].json["result"]["isError"]):
            replies.append(await send(program, token, called("search_flows")))

    # One request made the token, and each call is one with another inside.
    assert len(replies) == 5
    error = error_in(replies[-1])
    assert (error["code"], error["details"]["limit"]) == ("too_many_requests", "account_requests")
    assert error["retry_after"] >= 1
    assert "retry_after" in error["hint"]


async def test_s56_s76_each_call_counts_as_a_change_because_it_is_recorded(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data", account_changes=3) as program:
        _, token, _ = await agent_of(program)
        replies = [await send(program, token, called("search_docs", query="retry")) for _ in range(3)]
        listed = await send(program, token, message("tools/list"))

    assert [reply.json["result"]["isError"] for reply in replies] == [False, False, True]
    assert error_in(replies[-1])["details"]["limit"] == "account_changes"
    assert listed.status == 200, "a list of tools is no call"


async def start_of(program: Program, session: str) -> Any:
    """The only execution, once there is one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (found := (await call(program.app, "GET", "/api/v1/executions", token=session)).json)["total"]:  # noqa: ASYNC110 # a list has no events
            await asyncio.sleep(0.01)
    return found["executions"][0]


async def test_s09_s76_a_wait_ends_with_the_token_and_the_execution_goes_on(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        session, token, id = await agent_of(program)
        saved = await send(program, token, called("save_flow", name="F", definition=NAP))
        flow = saved.json["result"]["structuredContent"]["flow_id"]

        waiting = asyncio.create_task(send(program, token, called("run_flow", flow_id=flow, wait_seconds=60)))
        await start_of(program, session)
        assert (await call(program.app, "DELETE", f"/api/v1/tokens/{id}", token=session)).status == 200

        assert error_in(await asyncio.wait_for(waiting, PATIENCE_SECONDS))["code"] == "unauthorized"
        assert "completed_at" not in await start_of(program, session)


async def test_s62_a_wait_ends_when_its_client_leaves(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        session, token, _ = await agent_of(program)
        saved = await send(program, token, called("save_flow", name="F", definition=NAP))
        flow = saved.json["result"]["structuredContent"]["flow_id"]
        leaves = asyncio.Event()

        body = json.dumps(called("run_flow", flow_id=flow, wait_seconds=60)).encode()
        waiting = asyncio.create_task(call(program.app, "POST", "/mcp", token=token, body=body, leaves=leaves))
        await start_of(program, session)
        leaves.set()

        await asyncio.wait([waiting], timeout=PATIENCE_SECONDS)
        assert waiting.done()


async def test_a_flow_that_changes_while_an_agent_saves_it_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with program_at(tmp_path / "data") as program:
        session, token, _ = await agent_of(program)
        saved = await send(program, token, called("save_flow", name="F", definition=SMALLEST))
        flow = saved.json["result"]["structuredContent"]["flow_id"]
        path, sent = f"/api/v1/flows/{flow}", InnerRequests.send

        async def change_before(api: InnerRequests, method: str, *parts: str, **more: Any) -> InnerAnswer:
            if method == "PUT":
                body = json.dumps({"name": "Theirs"}).encode()
                assert (await call(program.app, "PUT", path, token=session, body=body)).status == 200
            return await sent(api, method, *parts, **more)

        monkeypatch.setattr(InnerRequests, "send", change_before)
        reply = await send(program, token, called("save_flow", flow_id=flow, revision=1, definition=NAP))

        assert error_in(reply)["code"] == "precondition_failed"
        found = (await call(program.app, "GET", path, token=session)).json
        assert (found["name"], found["definition"]) == ("Theirs", SMALLEST)


async def test_an_agent_is_told_of_steps_that_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_MOST_STEPS", 2)
    nodes = [f"  n{n}: {{type: transform, params: {{value: 1}}, next: n{n + 1}}}" for n in range(2)]
    definition = "\n".join(["nodes:", *nodes, "  n2: {type: return}", ""])
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)
        found = []
        for text in (definition, SMALLEST):
            saved = await send(program, token, called("save_flow", name="F", definition=text))
            flow = saved.json["result"]["structuredContent"]["flow_id"]
            ended = await send(program, token, called("run_flow", flow_id=flow, wait_seconds=60))
            id = ended.json["result"]["structuredContent"]["execution_id"]
            reply = await send(program, token, called("get_execution", execution_id=id))
            found.append(reply.json["result"]["structuredContent"])

    assert [(len(one["steps"]), one.get("steps_left_out")) for one in found] == [(2, True), (1, None)]


async def test_the_headers_of_a_call_are_not_those_of_its_requests(tmp_path: Path) -> None:
    headers = {"if-none-match": "*", "if-match": '"other"', "idempotency-key": "k", "prefer": "wait=0"}
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)

        async def result_of(tool: str, **arguments: Any) -> Any:
            body = json.dumps(called(tool, **arguments)).encode()
            reply = await call(program.app, "POST", "/mcp", token=token, body=body, headers=headers)
            return reply.json["result"]["structuredContent"]

        saved = [await result_of("save_flow", name=name, definition=SMALLEST) for name in ("A", "B")]
        changed = await result_of("save_flow", flow_id=saved[0]["flow_id"], revision=1, definition=NAP)
        found = await result_of("search_flows")

    assert changed["revision"] == 2
    assert {flow["name"] for flow in found["flows"]} == {"A", "B"}


async def test_an_answer_to_a_tool_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)
        await send(program, token, called("save_flow", name="A", definition=SMALLEST))
        whole = await send(program, token, called("search_flows"))
        monkeypatch.setattr(inner_requests, "_MOST_BYTES", 100)
        cut = await send(program, token, called("search_flows"))

    assert not whole.json["result"]["isError"]
    assert error_in(cut)["code"] == "too_large"


async def test_s57_a_bug_of_a_tool_is_told_by_an_id_alone(tmp_path: Path) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError("SELECT password FROM /secret/place")

    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)
        whole = program.app.state.flowrunner
        for broken in ({"flows": Broken()}, {"audit": Broken()}, {"workspaces": Broken()}):
            services = dataclasses.replace(whole.services, **broken)
            program.app.state.flowrunner = dataclasses.replace(whole, services=services)
            for sent in (
                called("search_flows"),
                called("get_flow", flow_id="flow-1"),
                called("flow_x"),
                message("tools/list"),
                message("resources/read", {"uri": "flowrunner://flows/x"}),
            ):
                reply = await send(program, token, sent)
                assert reply.status in (200, 500)
                assert b"secret" not in reply.body
                assert b"ZeroDivision" not in reply.body


async def test_without_the_extra_the_answer_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "_PROTOCOL", "flowrunner.api.mcp.not_installed")
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)

        reply = await send(program, token, message("tools/list"))

    assert_refused(reply, 503)
    assert "extra 'mcp'" in reply.error["message"]


async def test_s76_a_request_of_a_tool_comes_from_whoever_called_it(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        session, token, id = await agent_of(program)
        body = json.dumps(called("save_flow", name="A", definition=SMALLEST)).encode()
        flow = json.dumps({"name": "B", "definition": SMALLEST}).encode()
        headers = {"host": "127.0.0.1:8080"}
        at: Any = {"headers": headers, "address": "192.0.2.7"}
        assert (await call(program.app, "POST", "/mcp", token=token, body=body, **at)).status == 200
        assert (await call(program.app, "POST", "/api/v1/flows", token=session, body=flow, **at)).status == 201
        rows = [
            row async for rows in program.services.audit._portions(AuditFilter(action="flow.created")) for row in rows
        ]

    by_session, by_tool = ((row.entry.actor, row.entry.address, row.entry.credential) for row in rows)
    assert by_tool == (by_session[0], "192.0.2.7", f"token:{id}")
    assert by_session[1] == "192.0.2.7"


async def test_a_request_of_a_tool_has_what_routes_know_of_the_call_and_no_more() -> None:
    seen = list[Any]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, await receive()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    outer: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "https", "method": "POST",
        "path": "/mcp", "raw_path": b"/mcp", "root_path": "/below", "query_string": b"a=1", "state": {"of": "the call"},
        "client": ("192.0.2.7", 1), "server": ("127.0.0.1", 80), "app": app, "request_id": "one-id", SURFACE: "mcp",
        "headers": [
            (b"host", b"flows.example.com"), (b"authorization", b"Bearer t"), (b"cookie", b"c=1"),
            (b"content-type", b"text/plain"), (b"x-forwarded-for", b"198.51.100.1"), (b"idempotency-key", b"k"),
            (b"flowrunner-workspace", b"w"), (b"prefer", b"wait=9"), (b"x-request-id", b"other"),
        ],
    }  # fmt: skip
    requests = InnerRequests(Request(outer), asyncio.Event())

    await requests.get("flows", limit=0, q=None, is_open=False, name="é&")
    await requests.post("flows", "flow-1", "run", body={"input": None}, headers={"Prefer": "wait=1"})

    kept = ("type", "asgi", "http_version", "scheme", "client", "server", SURFACE)
    for scope, _ in seen:
        assert {name: scope[name] for name in kept} == {name: outer[name] for name in kept}
        assert (scope["root_path"], scope["state"]) == ("", {})
    common = [(b"host", b"flows.example.com"), (b"authorization", b"Bearer t"), (b"x-request-id", b"one-id")]
    (got, of_get), (posted, of_post) = seen
    assert (got["method"], got["path"], got["headers"]) == ("GET", "/api/v1/flows", common)
    assert got["query_string"] == b"limit=0&is_open=false&name=%C3%A9%26"
    assert (posted["method"], posted["path"]) == ("POST", "/api/v1/flows/flow-1/run")
    assert posted["headers"] == [*common, (b"content-type", b"application/json"), (b"prefer", b"wait=1")]
    assert posted["query_string"] == b""
    assert (of_get["body"], of_post["body"]) == (b"", b'{"input":null}')


async def test_a_tool_that_needs_no_arguments_is_called_without_them(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)
        params = {"name": "list_node_types"}

        bare = await send(program, token, message("tools/call", params))
        empty = await send(program, token, message("tools/call", {**params, "arguments": {}}))

    assert not bare.json["result"]["isError"]
    assert bare.json["result"] == empty.json["result"]


async def test_pages_of_the_manual_are_listed_by_the_names_by_which_they_are_read(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        _, token, _ = await agent_of(program)
        listed = (await send(program, token, message("resources/list"))).json["result"]["resources"]

    pages = {one["name"]: one for one in listed if one["uri"].startswith("flowrunner://docs/")}
    assert all(one["uri"] == f"flowrunner://docs/{name}" for name, one in pages.items())
    assert (pages["flow-language"]["title"], len(pages) > 20) == ("The flow language", True)
