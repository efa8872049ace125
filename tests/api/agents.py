"""An agent: the official SDK's client, with an API token of an account."""

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx2
import pytest

from support.client import Client
from support.server import clean_environment

# The SDK is half a second of imports, which each process of a run would take to collect the tests.
if TYPE_CHECKING:
    from mcp import Client as McpClient

ALL = ("mcp", "read", "run", "write")


def token_of(account: Client, *scopes: str, **headers: str) -> str:
    """A new API token of an account."""
    reply = account.post("/api/v1/tokens", {"name": "agent", "scopes": scopes or ALL}, **headers)
    assert reply.status == 201, reply
    return str(reply.json["token"])


class ToolFailed(AssertionError):
    def __init__(self, error: Any) -> None:
        super().__init__(str(error))
        self.error = error


class Agent:
    def __init__(self, client: "McpClient") -> None:
        self.client = client

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """The result of a tool. Raises: ToolFailed."""
        result = await self.client.call_tool(tool, arguments)
        assert json.loads(result.content[0].text) == result.structured_content, "both forms say the same"  # type: ignore[union-attr]
        if result.is_error:
            raise ToolFailed(result.structured_content["error"])
        return result.structured_content

    async def refused(self, tool: str, /, **arguments: Any) -> Any:
        """The error of a tool."""
        with pytest.raises(ToolFailed) as failed:
            await self.call(tool, **arguments)
        error = failed.value.error
        assert error.keys() >= {"code", "message", "hint"}
        return error

    async def read(self, address: str) -> str:
        (contents,) = (await self.client.read_resource(address)).contents
        return str(contents.text)  # type: ignore[union-attr]

    async def tools(self) -> dict[str, Any]:
        return {tool.name: tool for tool in (await self.client.list_tools()).tools}

    @classmethod
    @asynccontextmanager
    async def over_http(cls, url: str, token: str, *, mode: str = "auto") -> AsyncIterator[Self]:
        from mcp import Client as McpClient
        from mcp.client.streamable_http import streamable_http_client

        headers = {"Authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=70) as http,
            McpClient(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield cls(client)

    @classmethod
    @asynccontextmanager
    async def over_stdio(cls, variables: Mapping[str, str], *arguments: str, mode: str = "auto") -> AsyncIterator[Self]:
        """An agent of `flowrunner mcp`."""
        from mcp import Client as McpClient
        from mcp import StdioServerParameters

        command = StdioServerParameters(
            command=sys.executable, args=["-m", "flowrunner", "mcp", *arguments], env=clean_environment(**variables)
        )
        async with McpClient(command, mode=mode) as client:
            yield cls(client)


def message(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    """A message as the protocol of 2025 has it, which needs no headers of its own."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {} if params is None else params}


def called(tool: str, **arguments: Any) -> dict[str, Any]:
    return message("tools/call", {"name": tool, "arguments": arguments})
