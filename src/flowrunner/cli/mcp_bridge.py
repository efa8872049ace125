"""The bridge of `flowrunner mcp`: an MCP server on standard input and output that passes requests to a server."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.util import find_spec
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from flowrunner import __version__
from flowrunner.cli.advice import NOT_AN_API, NOT_CONNECTED, OTHER_VERSION, advice_on, message_of
from flowrunner.cli.common import CommandFailed, common
from flowrunner.cli.connection import Target, find_target, warn_of_plain_http
from flowrunner.cli.contexts import load_contexts
from flowrunner.cli.exits import DENIED, FAILED, INTERRUPTED, UNREACHABLE
from flowrunner.client.requests import Origin, authorization
from flowrunner.tasks import alongside

if TYPE_CHECKING:
    from httpx2 import Response
    from mcp import Client
    from mcp.shared.message import SessionMessage

    from flowrunner.client import ApiError

_CONNECT_SECONDS: Final = 10.0
# A tool waits up to a minute for the end of an execution. The whole of an answer takes no longer than this.
_ANSWER_SECONDS: Final = 90.0
# The error of an answer that is late comes before that of a request without one.
_REQUEST_SECONDS: Final = 100.0
_LARGEST_ANSWER: Final = 16 * 1024 * 1024
_PING: Final = {"jsonrpc": "2.0", "id": 0, "method": "ping"}
_MAKE_ONE: Final = "make one: flowrunner token create NAME --scope mcp --scope read --scope run"
_DENIED: Final = frozenset({401, 403})
# Stand for the status of an answer that has not come, and of one that cannot be passed on.
_NO_ANSWER: Final = 504
_BAD_ANSWER: Final = 502
# Of the codes that JSON-RPC leaves to servers.
_REFUSED: Final = -32000


def run() -> None:
    """Pass requests on until the standard input ends. Raises: CommandFailed, click.UsageError."""
    if common().token == "-":  # noqa: S105
        raise click.UsageError(
            "The standard input is the agent's: give the token by FLOWRUNNER_TOKEN, or --token @FILE"
        )
    target = find_target(load_contexts())
    if target.token is None:
        raise CommandFailed(
            f"There is no token: set FLOWRUNNER_TOKEN to an API token with the scope 'mcp'\n  hint: {_MAKE_ONE}",
            DENIED,
        )
    try:
        Origin.parse(target.url)
        authorization(target.token)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    warn_of_plain_http(target.url)
    if find_spec("mcp") is None:
        raise CommandFailed(
            "This needs the package 'mcp': install FlowRunner with the extra 'mcp' (docs/mcp.md#installing-the-extra)",
            FAILED,
        )
    # A program that was started in the background ignores it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: _leave(INTERRUPTED, "interrupted"))
    asyncio.run(connect_to(target))


def _leave(code: int, message: str) -> NoReturn:
    """End the process at once. Python would wait for the thread that reads the standard input."""
    click.echo(f"flowrunner: {message}", err=True)
    os._exit(code)


class _AgentOutput(TextIOWrapper):
    """The standard output, whose end is that of the process."""

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            _leave(FAILED, "The agent no longer reads the standard output")


async def connect_to(target: Target) -> None:
    """Pass requests on to a server until the standard input ends. Raises: CommandFailed."""
    try:
        await _bridge(target)
    except ExceptionGroup as group:
        error = _first(group)
        # Answers to the first requests that are not those of an MCP server. Later ones are errors of a call.
        if not _is_of_the_server(error):
            raise
        said = str(error).splitlines()[0]
        raise CommandFailed(f"{target.url} does not answer as an MCP server: {said}", FAILED) from None


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_of_the_server(error: Exception) -> bool:
    from mcp import MCPError
    from pydantic import ValidationError

    return isinstance(error, MCPError | ValidationError)


async def _bridge(target: Target) -> None:
    import httpx2

    url = f"{target.url.strip().rstrip('/')}/mcp"
    headers = {
        "Authorization": f"Bearer {target.token}", "User-Agent": f"flowrunner-mcp/{__version__}",
        # A compressed answer could be a thousand times larger than it is.
        "Accept-Encoding": "identity",
    }  # fmt: skip
    timeout = httpx2.Timeout(_CONNECT_SECONDS, read=_ANSWER_SECONDS)
    async with httpx2.AsyncClient(headers=headers, timeout=timeout, transport=_transport()) as http:
        await _check(http, url)
        # They take a second to import.
        import anyio
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.server.stdio import stdio_server

        transport = streamable_http_client(url, http_client=http)
        # Without a limit, an answer with a wrong id would be waited for indefinitely.
        async with Client(transport, cache=None, read_timeout_seconds=_REQUEST_SECONDS) as client:
            server = _passing_on(client)
            output = anyio.wrap_file(_AgentOutput(sys.stdout.buffer, encoding="utf-8"))
            async with stdio_server(stdout=output) as (read, write), _readable(read, write) as messages:
                await server.run(messages, write, server.create_initialization_options())


@asynccontextmanager
async def _readable(read: Any, write: Any) -> AsyncIterator[Any]:
    """Give the messages that can be read, and answer the other lines, which the SDK's server drops."""
    import anyio

    send, messages = anyio.create_memory_object_stream["SessionMessage | Exception"](0)

    async def pass_on() -> None:
        async with send:
            async for message in read:
                if not isinstance(message, Exception):
                    await send.send(message)
                elif (answer := _answer_to_unreadable(message)) is not None:
                    await write.send(answer)

    async with alongside(pass_on(), name="messages of the agent"):
        yield messages


def _answer_to_unreadable(error: Exception) -> "SessionMessage | None":
    """Return the answer to a line that is no message; None to one that is empty."""
    import mcp_types as types
    from mcp.shared.message import SessionMessage
    from pydantic import ValidationError

    found = error.errors(include_url=False)[0] if isinstance(error, ValidationError) else None
    if found is not None and found["type"] == "json_invalid":
        if isinstance(found["input"], str) and not found["input"].strip():
            return None
        code, message = types.PARSE_ERROR, f"The line is not JSON: {found['ctx']['error']}"
    else:
        code, message = types.INVALID_REQUEST, "The line is no JSON-RPC message"
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=types.ErrorData(code=code, message=message)))


async def _check(http: Any, url: str) -> None:
    """Send a first request, whose refusal ends the command. Raises: CommandFailed."""
    answer = await http.post(url, json=_PING)
    if answer.is_success and not _is_pong(answer.content):
        raise CommandFailed(f"{url} is no MCP server\n  hint: {NOT_AN_API}", FAILED)
    if not answer.is_success:
        message = answer.json()["error"]["message"]
        if answer.status_code == _NO_ANSWER:
            raise CommandFailed(f"{message}\n  hint: {NOT_CONNECTED}", UNREACHABLE)
        raise CommandFailed(message, DENIED if answer.status_code in _DENIED else FAILED)


def _transport() -> Any:
    """Return a transport whose failures and refusals are errors of the protocol, with advice in their messages.

    The SDK's client would end with the first, and agents show of the second no more than the message.
    """
    import httpx2

    class _Transport(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    answer = await super().handle_async_request(request)
                    content = await _read(answer)
            except httpx2.TransportError as error:
                return _error(_NO_ANSWER, f"The server at {request.url} cannot be reached: {error}")
            except TimeoutError:
                return _error(_NO_ANSWER, f"The server at {request.url} has not answered in {_ANSWER_SECONDS:g} s")
            except _UnusableAnswer as error:
                return _error(_BAD_ANSWER, str(error))
            if answer.is_success or _is_answer_to_a_request(content):
                return httpx2.Response(answer.status_code, headers=answer.headers, content=content)
            # The SDK's client waits for the answer behind a redirect, which nobody sends.
            status = answer.status_code if answer.status_code >= 400 else _BAD_ANSWER
            return _error(status, _message_in(answer.status_code, content))

    return _Transport()


class _UnusableAnswer(Exception):
    """An answer that is not passed on."""


async def _read(answer: "Response") -> bytes:
    """Return the body of an answer. Raises: _UnusableAnswer: It is too large, or compressed."""
    try:
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise _UnusableAnswer("The server has sent a compressed answer, which nobody asked for")
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > _LARGEST_ANSWER:
                raise _UnusableAnswer(
                    f"The server's answer has more than {_LARGEST_ANSWER // 1024**2} MiB: ask for less"
                )
        return bytes(content)
    finally:
        await answer.aclose()


def _error(status: int, message: str) -> "Response":
    import httpx2

    error = {"jsonrpc": "2.0", "id": None, "error": {"code": _REFUSED, "message": message}}
    return httpx2.Response(status, json=error)


def _is_pong(content: bytes) -> bool:
    try:
        found = json.loads(content)
        return found["jsonrpc"] == "2.0" and found["id"] == _PING["id"] and isinstance(found["result"], dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _is_answer_to_a_request(content: bytes) -> bool:
    """Return whether it is an error of the protocol, and not that of a request which no method has seen."""
    try:
        found = json.loads(content)
        return "jsonrpc" in found and found["id"] is not None and isinstance(found["error"]["message"], str)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _message_in(status: int, content: bytes) -> str:
    from flowrunner.client import ApiError

    try:
        found = json.loads(content)["error"]
        # Earlier servers refuse as the REST API does.
        found = found.get("data", found)
        hint, docs = (text if isinstance(text := found.get(name), str) else None for name in ("hint", "docs"))
        error = ApiError(status, str(found["code"]), str(found["message"]), hint=hint, docs=docs)
        advice = _advice_on(error)
        return f"{message_of(error)} ({advice})" if advice else message_of(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"The server has answered {status}, as no FlowRunner does"


def _advice_on(error: "ApiError") -> str | None:
    if error.status == HTTPStatus.UNAUTHORIZED:
        return _MAKE_ONE
    advice = advice_on(error)
    # The agent has written what cannot be read, and not this program.
    return None if advice == OTHER_VERSION else advice


def _passing_on(client: "Client") -> Any:
    """Return an MCP server that asks another one."""
    import mcp_types as types
    from mcp.server.lowlevel import Server

    def cursor_of(params: types.PaginatedRequestParams | None) -> str | None:
        return None if params is None else params.cursor

    async def list_tools(context: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return await client.list_tools(cursor=cursor_of(params))

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        return await client.call_tool(params.name, params.arguments)

    async def list_resources(context: Any, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
        return await client.list_resources(cursor=cursor_of(params))

    async def list_templates(
        context: Any, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return await client.list_resource_templates(cursor=cursor_of(params))

    async def read_resource(context: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        return await client.read_resource(params.uri)

    return Server(
        "flowrunner",
        version=__version__,
        title="FlowRunner",
        instructions=client.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )
