"""The MCP server in the tests' process: limits, ended tokens, and what is broken or missing."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from api.agents import called, message
from api.shapes import NAP, SMALLEST, assert_refused
from flowrunner.api.mcp import inner_requests, route, tools
from flowrunner.api.mcp.inner_requests import InnerAnswer, InnerRequests
from flowrunner.bootstrap.program import Program
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
