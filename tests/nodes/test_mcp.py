"""`mcp` against servers of the official SDK, with and without sessions, that answer as JSON or as events."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flowrunner.domain.values import WorkspaceId
from flowrunner.nodes import mcp
from flowrunner.nodes.mcp import Mcp
from flowrunner.plugin import HttpClient, NodeFailure
from flowrunner.security.egress import EgressClient, EgressClients
from flowrunner.security.egress_policy import EgressPolicy
from support.contexts import PlainContext
from support.databases import MARA, OMAR
from support.networks import LOOPBACK

from .conftest import Peer

NODE: Final = Mcp()


def sdk_server() -> MCPServer:
    made = MCPServer("shop")

    @made.tool(description="Adds two numbers")
    async def add(a: int, b: int, context: Context[Any, Any]) -> int:
        await context.report_progress(1, 2)
        return a + b

    @made.tool()
    async def greet(name: str) -> str:
        return f"Hello, {name} \u00e9"

    @made.tool()
    async def fail(why: str) -> str:
        raise ToolError(why)

    return made


class Recorded:
    """An application that notes the requests to another."""

    def __init__(self, inner: ASGIApp) -> None:
        self.inner = inner
        self.seen: list[tuple[str, dict[str, str], Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = b""

        async def noting() -> Message:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    self.seen.append((scope["method"], headers, json.loads(body) if body else None))
            return message

        await self.inner(scope, noting, send)

    @property
    def asked(self) -> list[str]:
        return [method if body is None else body["method"] for method, _, body in self.seen]


@pytest.fixture(params=["json", "events", "json without sessions"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, Recorded]]:
    kind: str = request.param
    app = Recorded(sdk_server().streamable_http_app(json_response="json" in kind, stateless_http="without" in kind))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
        running = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 # it tells nobody
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{port}/mcp", app
        server.should_exit = True
        await running


async def run(client: HttpClient, url: str, **params: Any) -> Any:
    return await NODE.run(NODE.read({"url": url, **params}), PlainContext(client))


@pytest.mark.parametrize("protocol", ["2026-07-28", "2025-11-25", None])
async def test_tools_are_listed_and_called_by_each_revision(
    client: EgressClient, served: tuple[str, Recorded], protocol: str | None
) -> None:
    url, app = served
    listed = await run(client, url, protocol=protocol)
    called = await run(client, url, protocol=protocol, tool="add", arguments={"a": 2, "b": 3})
    greeted = await run(client, url, protocol=protocol, tool="greet", arguments={"name": "Mara"})

    spoken = protocol or "2026-07-28"
    assert listed["protocol"] == spoken
    assert [tool["name"] for tool in listed["tools"]] == ["add", "greet", "fail"]
    assert listed["tools"][0]["description"] == "Adds two numbers"
    assert listed["tools"][0]["parameters"]["required"] == ["a", "b"]
    assert (called["text"], called["structured"], called["protocol"]) == ("5", {"result": 5}, spoken)
    assert (greeted["text"], greeted["content"]) == ("Hello, Mara \u00e9", [])
    assert app.asked.count("tools/call") == 2
    assert ("initialize" in app.asked) == (spoken != "2026-07-28")


async def test_a_session_is_ended_also_after_an_error(client: EgressClient, served: tuple[str, Recorded]) -> None:
    url, app = served
    await run(client, url, protocol="2025-11-25", tool="add", arguments={"a": 2, "b": 3})
    with pytest.raises(NodeFailure):
        await run(client, url, protocol="2025-11-25", tool="fail", arguments={"why": "no bread left"})

    called = [headers for _, headers, body in app.seen if body and body["method"] == "tools/call"]
    given = [headers["mcp-session-id"] for headers in called if "mcp-session-id" in headers]
    while app.asked.count("DELETE") < len(given):  # noqa: ASYNC110 # they end by themselves
        await asyncio.sleep(0.01)
    assert {headers["mcp-session-id"] for method, headers, _ in app.seen if method == "DELETE"} == set(given)


@pytest.mark.parametrize("protocol", ["2026-07-28", "2025-11-25"])
async def test_a_tool_that_fails_or_that_there_is_not_is_an_error(
    client: EgressClient, served: tuple[str, Recorded], protocol: str
) -> None:
    url, _ = served
    with pytest.raises(NodeFailure, match="no bread left") as failed:
        await run(client, url, protocol=protocol, tool="fail", arguments={"why": "no bread left"})
    assert failed.value.type == "mcp.tool"

    with pytest.raises(NodeFailure) as failed:
        await run(client, url, protocol=protocol, tool="nothing")
    assert failed.value.type in ("mcp.tool", "mcp.error")

    with pytest.raises(NodeFailure, match="no tool 'nothing'") as failed:
        await run(client, url, protocol=protocol, tools=["add", "nothing"])
    assert failed.value.type == "mcp.no_tool"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, "application/json", "[]"), "mcp.invalid_answer"),
        ((200, "application/json", "{"), "mcp.invalid_answer"),
        ((200, "application/json", "[" * 100_000), "mcp.invalid_answer"),
        ((200, "application/json", '{"jsonrpc": "2.0", "id": 1, "result": 7}'), "mcp.invalid_answer"),
        ((200, "application/json", '{"id": 1, "result": {"resultType": "input_required"}}'), "mcp.unsupported"),
        ((200, "application/json", '{"id": 1, "error": {"code": -32602, "message": "no"}}'), "mcp.error"),
        ((200, "text/html", "<html>"), "mcp.invalid_answer"),
        ((200, "text/event-stream", "data: {\n\n"), "mcp.invalid_answer"),
        ((200, "text/event-stream", 'data: {"id": 2, "result": {}}\n\n'), "mcp.invalid_answer"),
        ((200, "text/event-stream", ": ping\n\n" * 1000), "mcp.invalid_answer"),
        ((200, "text/event-stream", "\xff\xfe"), "mcp.invalid_answer"),
        ((401, "application/json", '{"error": "invalid_token"}'), "http.401"),
        ((403, "text/plain", "no"), "http.403"),
        ((429, "application/json", "{}"), "http.429"),
        ((503, "text/plain", ""), "http.503"),
        ((302, "text/plain", ""), "http.302"),
    ],
)
async def test_whatever_a_server_answers_is_an_error(
    client: EgressClient, peer: Peer, answer: tuple[int, str, str], error: str
) -> None:
    status, kind, body = answer
    url = peer.give("/mcp", status, body.encode("latin-1"), Content_Type=kind)
    for params in ({"tool": "add"}, {}):
        with pytest.raises(NodeFailure) as failed:
            await run(client, url, protocol="2026-07-28", **params)
        assert failed.value.type == error


@pytest.mark.parametrize("code", ["x" * 100_000, [1] * 100_000, {"a": 1}, 1.5, True, None])
async def test_a_code_of_an_error_that_is_no_integer_is_not_shown(client: EgressClient, peer: Peer, code: Any) -> None:
    body = json.dumps({"id": 1, "error": {"code": code, "message": "no"}})
    url = peer.give("/mcp", 200, body, Content_Type="application/json")

    with pytest.raises(NodeFailure, match=r"^The MCP server rejects tools/call: 'no'$") as failed:
        await run(client, url, protocol="2026-07-28", tool="add")

    assert failed.value.data == {"code": None, "status_code": 200}


async def test_endless_lists_and_long_descriptions_are_rejected(client: EgressClient, peer: Peer) -> None:
    def page(**more: Any) -> str:
        return json.dumps({"id": 1, "result": {"tools": [{"name": "t", "inputSchema": {}}], **more}})

    url = peer.give("/mcp", 200, page(nextCursor="again"), Content_Type="application/json")
    with pytest.raises(NodeFailure, match="more than 50 pages"):
        await run(client, url, protocol="2026-07-28")
    assert len({seen.headers["idempotency-key"] for seen in peer.seen}) == 50

    url = peer.give("/mcp", 200, page(nextCursor="a\r\nEvil: 1\u00e9"), Content_Type="application/json")
    with pytest.raises(NodeFailure, match="more than 50 pages"):
        await run(client, url, protocol="2026-07-28")
    assert not [seen for seen in peer.seen if "evil" in seen.headers]

    tools = [{"name": f"t{n}", "description": "x" * 2000} for n in range(300)]
    long = json.dumps({"id": 1, "result": {"tools": tools}})
    url = peer.give("/mcp", 200, long, Content_Type="application/json")
    with pytest.raises(NodeFailure, match="too long descriptions"):
        await run(client, url, protocol="2026-07-28")


async def test_a_list_is_read_until_it_has_the_tools_that_are_named(client: EgressClient, peer: Peer) -> None:
    page = json.dumps({"id": 1, "result": {"tools": [{"name": "t"}, {"name": "u"}], "nextCursor": "again"}})
    url = peer.give("/mcp", 200, page, Content_Type="application/json")
    listed = await run(client, url, protocol="2026-07-28", tools=["t"])

    assert [tool["name"] for tool in listed["tools"]] == ["t"]
    assert len(peer.seen) == 1


async def test_the_requests_of_a_call_have_the_key_of_the_step_and_the_authors_headers(
    client: EgressClient, peer: Peer
) -> None:
    answer = json.dumps(
        {"id": 1, "result": {"content": [{"type": "text", "text": "ok"}, {"type": "image", "data": "YQ=="}]}}
    )
    url = peer.give("/mcp", 200, answer, Content_Type="application/json")
    result = await run(client, url, protocol="2026-07-28", tool="a\u00e9", headers={"Authorization": "Bearer t"})

    assert result == {"protocol": "2026-07-28", "text": "ok", "structured": None,
                      "content": [{"type": "image", "data": "YQ=="}]}  # fmt: skip
    (seen,) = peer.seen
    assert seen.headers["authorization"] == "Bearer t"
    assert seen.headers["idempotency-key"] == PlainContext(client).idempotency_key
    assert (seen.headers["mcp-method"], seen.headers["mcp-name"]) == ("tools/call", "=?base64?YcOp?=")
    assert json.loads(seen.body)["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


async def test_the_name_of_a_tool_that_a_header_would_lose_blanks_of_is_encoded(
    client: EgressClient, peer: Peer
) -> None:
    url = peer.give("/mcp", 200, json.dumps({"id": 1, "result": {}}), Content_Type="application/json")
    await run(client, url, protocol="2026-07-28", tool=" look ")

    assert peer.seen[0].headers["mcp-name"] == "=?base64?IGxvb2sg?="


@pytest.mark.parametrize("status", [400, 404, 405, 406, 415, 422, 426, 501])
async def test_a_server_of_an_earlier_revision_is_asked_by_a_handshake(
    client: EgressClient, peer: Peer, status: int
) -> None:
    url = peer.give("/mcp", status, "Bad Request: no session", Content_Type="text/plain")
    with pytest.raises(NodeFailure) as failed:
        await run(client, url, tool="add")

    assert failed.value.type == f"http.{status}"
    assert [json.loads(seen.body)["method"] for seen in peer.seen] == ["server/discover", "initialize"]


INITIALIZED = {"id": 1, "result": {"protocolVersion": "2025-11-25", "capabilities": {}}}


class Session:
    """A server with a session: what it answers to each method; what is not named is an empty result."""

    def __init__(self, **answers: tuple[int, dict[str, Any]] | None) -> None:
        self.answers = answers
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.hangs = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        method = json.loads(body)["method"] if body else scope["method"]
        self.seen.append((method, {name.decode(): value.decode() for name, value in scope["headers"]}))
        self.asked.set()
        answer = self.answers.get(method.partition("/")[2] or method, (200, {"id": 1, "result": {}}))
        if answer is None:
            await self.hangs.wait()
            return
        status, found = (200, INITIALIZED) if method == "initialize" else answer
        headers = [(b"content-type", b"application/json"), (b"mcp-session-id", b"s1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.seen]

    async def until(self, method: str) -> None:
        while method not in self.methods:
            self.asked.clear()
            await self.asked.wait()


@asynccontextmanager
async def listening(app: Session) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110 # it tells nobody
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        app.hangs.set()
        server.should_exit = True
        await running


async def test_a_result_does_not_wait_for_the_end_of_its_session(client: EgressClient) -> None:
    app = Session(DELETE=None)
    async with listening(app) as url:
        result = await run(client, url, tool="add", protocol="2025-11-25")

        assert result["protocol"] == "2025-11-25"
        assert "DELETE" not in app.methods
        await app.until("DELETE")
    assert app.methods == ["initialize", "notifications/initialized", "tools/call", "DELETE"]


async def test_no_more_than_a_hundred_sessions_of_a_workspace_are_ended_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # None is given up meanwhile, however slow the machine is.
    monkeypatch.setattr(mcp, "_CLOSING_SECONDS", 600.0)
    app, clients = Session(DELETE=None), EgressClients(EgressPolicy([LOOPBACK]))
    try:
        async with listening(app) as url:
            # The client of a workspace is made anew for each step.
            for _ in range(110):
                await run(clients.of(WorkspaceId(MARA)), url, tool="add", protocol="2025-11-25")
            of_mara = [len(tasks) for tasks in mcp._closing.values()]
            await run(clients.of(WorkspaceId(OMAR)), url, tool="add", protocol="2025-11-25")
            of_both = [len(tasks) for tasks in mcp._closing.values()]
    finally:
        await clients.close()

    assert (of_mara, of_both) == ([100], [100, 1])


async def test_a_session_is_ended_that_could_not_begin(client: EgressClient) -> None:
    app = Session(initialized=(500, {}))
    async with listening(app) as url:
        with pytest.raises(NodeFailure):
            await run(client, url, tool="add", protocol="2025-11-25")
        await app.until("DELETE")

    assert app.methods == ["initialize", "notifications/initialized", "DELETE"]


async def test_the_end_of_a_session_has_the_depth_of_the_execution_and_a_key_of_its_own(client: EgressClient) -> None:
    app = Session()
    async with listening(app) as url:
        await run(client, url, tool="add", protocol="2025-11-25", headers={"Flowrunner-Depth": "0"})
        await app.until("DELETE")

    sent = dict(app.seen)
    assert sent["DELETE"]["flowrunner-depth"] == sent["tools/call"]["flowrunner-depth"] == "1"
    assert len({headers["idempotency-key"] for _, headers in app.seen}) == len(app.seen)


@pytest.mark.parametrize("code", ["x" * 900_000, ["x"] * 1000, 10**400, True, None])
async def test_a_code_that_is_no_number_is_left_out_of_the_error(client: EgressClient, peer: Peer, code: Any) -> None:
    body = json.dumps({"id": 1, "error": {"code": code, "message": "no"}})
    url = peer.give("/mcp", 200, body, Content_Type="application/json")
    with pytest.raises(NodeFailure) as failed:
        await run(client, url, protocol="2026-07-28", tool="add")

    assert (str(failed.value), failed.value.data) == (
        "The MCP server rejects tools/call: 'no'", {"code": None, "status_code": 200}
    )  # fmt: skip


async def test_the_first_parts_of_a_result_are_read(client: EgressClient, peer: Peer) -> None:
    body = json.dumps({"id": 1, "result": {"content": [{"type": "text", "text": "x"}] * 6000}})
    url = peer.give("/mcp", 200, body, Content_Type="application/json")

    result = await run(client, url, protocol="2026-07-28", tool="add")
    assert result["text"].count("x") == 5000
