"""Node type `mcp`: list or call the tools of a server that speaks the Model Context Protocol over streamable HTTP.

Source: https://modelcontextprotocol.io/specification/2026-07-28/basic/transports, and 2025-11-25 for earlier servers.
"""

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowrunner.domain.errors import quoted
from flowrunner.domain.values import left_after
from flowrunner.nodes.http import (
    ERRORS,
    Headers,
    header_texts,
    http_failure,
    is_long_value,
    on_thread,
    read_soon,
    url_faults,
    with_headers,
    with_own,
)
from flowrunner.nodes.http_answers import UNREADABLE, json_of
from flowrunner.plugin import JSON, HttpAnswer, HttpClient, NodeFailure, NodeType, ParamFault, Params, StepContext

if TYPE_CHECKING:
    from asyncio import Task

# The revision without sessions, of which each request stands alone, and the latest with a handshake.
STATELESS: Final = "2026-07-28"
HANDSHAKE: Final = "2025-11-25"
Revision = Literal["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"]
_WITH_HANDSHAKE: Final = ("2025-11-25", "2025-06-18", "2025-03-26")
MOST_TOOLS: Final = 1000
# Characters and elements of all names, descriptions and schemas, as `left_after` counts them.
MOST_OF_TOOLS: Final = 500_000
_MOST_PAGES: Final = 50
_MOST_OF_A_MESSAGE: Final = 2000
_MOST_OF_A_SESSION: Final = 1000
# Of JSON-RPC, an integer that JavaScript can read.
_LARGEST_CODE: Final = 2**53 - 1
_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "flowrunner", "version": "1"}
_CLOSING_SECONDS: Final = 2.0
# Sessions of a workspace that are ended at the same time. The others are left to their servers, which end sessions by
# themselves, too.
_MOST_CLOSING: Final = 100
# Tools of a page, and parts of a result: what is beyond is not read.
_MOST_ELEMENTS: Final = 5000
# Of a server that does not know the revision, or the method: it is asked again by a handshake.
_NOT_OF_THE_REVISION: Final = frozenset({400, 404, 405, 406, 415, 422, 426, 501})


class McpParams(Params):
    url: str = Field(min_length=1, max_length=8192, description="Of the server, such as https://mcp.example.com/mcp")
    headers: Headers = Field(default={})
    tool: str | None = Field(default=None, min_length=1, max_length=128, description="To call; absent to list tools.")
    arguments: dict[str, Any] = Field(default={}, description="Of the tool.")
    tools: list[str] = Field(default=[], max_length=MOST_TOOLS, description="Those to list; all if absent.")
    protocol: Revision | None = Field(
        default=None, description="Revision of the protocol; the server is asked if absent."
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.tool is None and self.arguments:
            raise ValueError("'arguments' are those of a 'tool'")
        if self.tool is not None and self.tools:
            raise ValueError("'tools' lists tools, and 'tool' calls one: give one of them")
        return self


class Mcp(NodeType[McpParams]):
    """Calls a tool of an MCP server, or lists its tools."""

    type = "mcp"
    examples = (
        "type: mcp\nparams:\n  url: https://mcp.example.com/mcp\n"
        "  headers: {Authorization: 'Bearer ${secrets.MCP_TOKEN}'}\n"
        "  tool: search\n  arguments: {text: '${input.question}'}\noutput: ${result.text}\n",
    )
    Params = McpParams
    errors: ClassVar[tuple[str, ...]] = (*ERRORS, "mcp")
    timeout_seconds = 60.0

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return "tool" not in params

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return [*super().check(params), *url_faults(params)]

    async def run(self, params: McpParams, context: StepContext) -> JSON:
        server = _McpClient(params, context)
        revision = params.protocol or await server.revision()
        try:
            if revision != STATELESS:
                await server.open_session(revision)
            result = await (_tools(server, params) if params.tool is None else _call(server, params))
        except NodeFailure:
            server.close_session()
            raise
        server.close_session()
        return result


@dataclass(slots=True)
class _McpClient:
    """The client of one step.

    Attributes:
        session: Headers of each request after the handshake.
        spoken: The revision that is spoken.
        sent: Messages so far, other than calls.
    """

    params: McpParams
    context: StepContext
    session: dict[str, str] = field(default_factory=dict)
    spoken: str = STATELESS
    sent: int = 0

    async def revision(self) -> str:
        """Ask the server for the revision that it speaks. Raises: NodeFailure."""
        try:
            answer = await self.request("server/discover", {})
        except NodeFailure as error:
            family, _, status = error.type.partition(".")
            if error.type == "mcp.error" or (family == "http" and status in map(str, _NOT_OF_THE_REVISION)):
                return HANDSHAKE
            raise
        versions = answer.get("supportedVersions")
        return STATELESS if isinstance(versions, list) and STATELESS in versions else HANDSHAKE

    async def open_session(self, revision: str) -> None:
        """Begin with the handshake of the earlier revisions. Raises: NodeFailure."""
        self.spoken = revision
        params: dict[str, JSON] = {"protocolVersion": revision, "capabilities": {}, "clientInfo": _CLIENT}
        answer = await self._send("initialize", params)
        message = await self._message(answer, "initialize")
        spoken = message.get("protocolVersion")
        if spoken not in _WITH_HANDSHAKE:
            raise NodeFailure("mcp.protocol", f"The server speaks no revision that FlowRunner does: {self.params.url}")
        self.spoken = spoken
        self.session = {"MCP-Protocol-Version": spoken}
        session = answer.headers.get("mcp-session-id")
        if session is not None:
            if len(session) > _MOST_OF_A_SESSION or not (session.isascii() and session.isprintable()):
                raise NodeFailure("mcp.invalid_answer", "The server gives its session an id that cannot be sent back")
            self.session["Mcp-Session-Id"] = session
        await self._send("notifications/initialized", {}, is_notification=True)

    def close_session(self) -> None:
        """End the session in a task of its own, because a result that waits for it could be lost by a crash."""
        http = self.context.http
        if "Mcp-Session-Id" not in self.session or len(_closing.get(http, ())) >= _MOST_CLOSING:
            return
        # Imported here, because `flowrunner validate` needs the parameters of this type and no event loop.
        from asyncio import create_task

        own = {**self.session, "Idempotency-Key": self._next_key()}
        headers = with_own(with_headers(header_texts(self.params.headers), own), self.context)
        task = create_task(_close(http, self.params.url, headers))
        _closing.setdefault(http, set()).add(task)
        task.add_done_callback(partial(_forget, http))

    def _next_key(self) -> str:
        # A server that recognizes repeats must tell the requests of one step apart.
        self.sent += 1
        return f"{self.context.idempotency_key}.{self.sent}"

    async def request(self, method: str, params: Mapping[str, JSON]) -> Mapping[str, Any]:
        """Return the result of a request. Raises: NodeFailure."""
        return await self._message(await self._send(method, params), method)

    async def _send(self, method: str, params: Mapping[str, JSON], *, is_notification: bool = False) -> HttpAnswer:
        """Send a message. Raises: NodeFailure, also for a status that is an error without a message."""
        own = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **self.session}
        if method != "tools/call":
            own["Idempotency-Key"] = self._next_key()
        if self.spoken == STATELESS:
            own |= {"MCP-Protocol-Version": STATELESS, "Mcp-Method": method}
            if method == "tools/call":
                own["Mcp-Name"] = _in_header(str(params["name"]))
            meta: dict[str, JSON] = {
                f"{_META}protocolVersion": STATELESS,
                f"{_META}clientInfo": _CLIENT,
                f"{_META}clientCapabilities": {},
            }
            params = {**params, "_meta": meta}
        message: dict[str, JSON] = {
            "jsonrpc": "2.0",
            "method": method,
            "params": params,
            **({} if is_notification else {"id": 1}),
        }
        is_long = is_long_value(message)
        async with self.context.http.hold(is_long=is_long) as http:
            body = await on_thread(msgspec.json.encode, message) if is_long else msgspec.json.encode(message)
            headers = with_own(with_headers(header_texts(self.params.headers), own), self.context)
            answer = await http.request(
                "POST", self.params.url, headers=headers, body=body, on_long=self.context.hold_long_value
            )
        has_message = _kind_of(answer) == "application/json" and not is_notification
        if not 200 <= answer.status <= 299 and not has_message:
            raise await http_failure(self.context, answer)
        return answer

    async def _message(self, answer: HttpAnswer, method: str) -> Mapping[str, Any]:
        """Return the result in an answer. Raises: NodeFailure."""
        found: Any = await read_soon(self.context, answer, _read)
        error = found.get("error") if isinstance(found, Mapping) else None
        if isinstance(error, Mapping):
            # The protocol has integers alone, and anything else may have any length.
            given, text = error.get("code"), str(error.get("message", ""))
            code = given if type(given) is int and abs(given) <= _LARGEST_CODE else None
            number = "" if code is None else f" ({code})"
            message = f"The MCP server rejects {method}: {quoted(text, most=_MOST_OF_A_MESSAGE)}{number}"
            raise NodeFailure("mcp.error", message, data={"code": code, "status_code": answer.status})
        if not 200 <= answer.status <= 299:
            raise await http_failure(self.context, answer)
        result = found.get("result") if isinstance(found, Mapping) else None
        if not isinstance(result, Mapping):
            raise NodeFailure("mcp.invalid_answer", f"The answer to {method} from {answer.url} is no message of MCP")
        if result.get("resultType", "complete") != "complete":
            raise NodeFailure("mcp.unsupported", f"The MCP server asks for further input before it answers {method}")
        return result


# The tasks that end sessions, by the client of their workspace: the event loop itself keeps no task.
_closing: Final[dict[HttpClient, set["Task[None]"]]] = {}


def _forget(client: HttpClient, task: "Task[None]") -> None:
    _closing[client].discard(task)
    if not _closing[client]:
        del _closing[client]


async def _close(client: HttpClient, url: str, headers: Mapping[str, str]) -> None:
    from asyncio import timeout

    # The server ends sessions by itself, too. A client that was closed meanwhile, with its server, raises RuntimeError.
    with suppress(NodeFailure, TimeoutError, RuntimeError):
        async with timeout(_CLOSING_SECONDS), client.hold() as http:
            await http.request("DELETE", url, headers=headers)


def _in_header(text: str) -> str:
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def _kind_of(answer: HttpAnswer) -> str:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower()


def _read(answer: HttpAnswer) -> JSON:
    """Return the message that answers a request, from JSON or from a stream of events; None if there is none."""
    try:
        text = answer.body.decode()
        if _kind_of(answer) != "text/event-stream":
            return json_of(text)
        for event in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
            lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
            message = json_of("\n".join(lines)) if lines else None
            # Others are notifications, such as progress.
            if isinstance(message, Mapping) and message.get("id") == 1 and ("result" in message or "error" in message):
                return message
    except UNREADABLE:
        return None
    return None


async def _tools(server: _McpClient, params: McpParams) -> JSON:
    """Return `{protocol, tools}`. Raises: NodeFailure."""
    found: dict[str, JSON] = {}
    cursor: JSON = None
    wanted, left = set(params.tools), MOST_OF_TOOLS
    for _ in range(_MOST_PAGES):
        page = await server.request("tools/list", {} if cursor is None else {"cursor": cursor})
        listed = page.get("tools")
        for tool in listed[:_MOST_ELEMENTS] if isinstance(listed, list) else ():
            name = tool.get("name") if isinstance(tool, Mapping) else None
            if not isinstance(name, str) or (wanted and name not in wanted):
                continue
            description, schema = tool.get("description"), tool.get("inputSchema")
            found[name] = {
                "name": name,
                "description": description if isinstance(description, str) else None,
                "parameters": schema if isinstance(schema, Mapping) else {"type": "object"},
            }
            left = left_after(found[name], left)
            if left < 0 or len(found) > MOST_TOOLS:
                raise NodeFailure("mcp.too_large", "The tools of the MCP server have too long descriptions: name some")
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or (wanted and wanted <= found.keys()):
            break
    else:
        raise NodeFailure("mcp.too_large", f"The list of tools has more than {_MOST_PAGES} pages")
    if missing := sorted(wanted - found.keys()):
        raise NodeFailure("mcp.no_tool", f"The MCP server has no tool {quoted(missing[0])}")
    return {"protocol": server.spoken, "tools": [found[name] for name in params.tools or found]}


async def _call(server: _McpClient, params: McpParams) -> JSON:
    """Return `{protocol, text, structured, content}`. Raises: NodeFailure."""
    answer = await server.request("tools/call", {"name": params.tool, "arguments": params.arguments})
    content = answer.get("content")
    first = content[:_MOST_ELEMENTS] if isinstance(content, list) else []
    blocks = [block for block in first if isinstance(block, Mapping)]
    texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
    structured = answer.get("structuredContent")
    text = "\n".join(texts) if texts else None
    if text is None and structured is not None:
        write = partial(msgspec.json.encode, structured)
        text = (await on_thread(write) if is_long_value(structured) else write()).decode()
    if answer.get("isError") is True:
        said = "The tool has failed" if text is None else quoted(text, most=_MOST_OF_A_MESSAGE)
        raise NodeFailure("mcp.tool", f"The tool {params.tool} says: {said}", data={"body": text})
    others: list[JSON] = [dict(block) for block in blocks if block.get("type") != "text"]
    server.context.log("info", f"Tool {params.tool} called")
    return {"protocol": server.spoken, "text": text, "structured": structured, "content": others}
