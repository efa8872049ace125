"""The page about the MCP server: its configurations connect an agent, and its tables are complete."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import httpx2

from docs.pages import DOCS, rows, section
from flowrunner.api.mcp.resources import SCHEMA, TEMPLATES
from flowrunner.api.mcp.tools import TOOLS
from support.client import Client
from support.server import clean_environment

PATH: Final = DOCS / "mcp.md"
PAGE: Final = PATH.read_text()
_JSON: Final = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HTTP: Final = re.compile(r"^```http\n(\w+) (\S+)\n\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def configurations(url: str, token: str) -> dict[str, Any]:
    """What the page says to write into the settings of a client, for this server."""
    texts = [text for text in _JSON.findall(PAGE) if "mcpServers" in text]
    here = [text.replace("http://127.0.0.1:8080", url).replace("fr_pat_…", token) for text in texts]
    servers = [json.loads(text)["mcpServers"]["flowrunner"] for text in here]
    return {"command" if "command" in server else server["type"]: server for server in servers}


async def test_each_configuration_connects_an_agent_with_the_token_that_the_page_makes(
    account: Client, tmp_path: Path
) -> None:
    import mcp
    from mcp.client.streamable_http import streamable_http_client

    ((method, path, body),) = _HTTP.findall(PAGE)
    made = account.request(method, path, body.encode(), {"Content-Type": "application/json"})
    assert made.status == 201, made
    found = configurations(account.url, made.json["token"])
    assert found.keys() == {"http", "command"}

    async with (
        httpx2.AsyncClient(headers=found["http"]["headers"], timeout=60) as http,
        mcp.Client(streamable_http_client(found["http"]["url"], http_client=http)) as client,
    ):
        over_http = {tool.name for tool in (await client.list_tools()).tools}
    program = found["command"]
    assert program["command"] == "flowrunner"
    command = mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "flowrunner", *program["args"]],
        env=clean_environment(HOME=str(tmp_path), **program["env"]),
    )
    async with mcp.Client(command) as client:
        over_stdio = {tool.name for tool in (await client.list_tools()).tools}

    assert over_http == over_stdio == TOOLS.keys()


def test_the_page_lists_every_tool_with_the_scopes_that_it_needs() -> None:
    listed = {
        row[0].strip("`"): {word.strip("` ") for word in row[1].split(",")} for row in rows(section(PATH, "Tools"))
    }

    assert listed == {name: {right.value for right in tool.rights} for name, tool in TOOLS.items()}


def test_the_page_lists_every_resource() -> None:
    listed = {row[0].strip("`") for row in rows(section(PATH, "Resources"))}

    assert listed == {SCHEMA, *(template.address for template in TEMPLATES)}
