"""The resources of the MCP server: flows, executions, the schema of flows, and the documentation."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from flowrunner.api.mcp.calls import AgentCall
from flowrunner.api.mcp.errors import ToolError
from flowrunner.api.mcp.tools import TOOLS
from flowrunner.domain.account import Right

SCHEMA: Final = "flowrunner://schema/flow"
_ADDRESS: Final = re.compile(r"flowrunner://(?P<kind>flows|executions|docs|schema)/(?P<name>[A-Za-z0-9_#-]{1,200})")


@dataclass(frozen=True, slots=True)
class Template:
    address: str
    name: str
    description: str
    media_type: str


TEMPLATES: Final = (
    Template("flowrunner://flows/{id}", "flow", "The definition of a flow.", "application/yaml"),
    Template(
        "flowrunner://executions/{id}",
        "execution",
        "An execution, with the beginnings of its values, and its steps.",
        "application/json",
    ),
    Template("flowrunner://docs/{topic}", "docs", "A page of the documentation, or one section.", "text/markdown"),
)


class ResourceText(NamedTuple):
    media_type: str
    text: str


async def read(call: AgentCall, address: str) -> ResourceText:
    """Return a resource. Raises: ToolError; as `AgentCall.admit`."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ToolError("not_found", "There is no such resource", f"read {SCHEMA}, or one that a template describes")
    kind, name = found["kind"], found["name"]
    ids: Mapping[str, str] = {"flows": {"flow_id": name}, "executions": {"execution_id": name}}.get(kind, {})
    await call.admit("resource", kind, {Right.READ}, ids)
    match kind:
        case "flows":
            flow = await call.api.get("flows", name)
            return ResourceText("application/yaml", flow["definition"])
        case "executions":
            tool = TOOLS["get_execution"]
            result = await tool.answer(call, {"execution_id": name, "view": "preview"})
            return ResourceText("application/json", msgspec.json.encode(result).decode())
        case "schema" if address == SCHEMA:
            schema = await call.api.send("GET", "schemas", "flow")
            return ResourceText("application/schema+json", schema.body.decode())
        case "docs" if (page := call.manual.find(name)) is not None:
            return ResourceText("text/markdown", page)
    raise ToolError("not_found", "There is no such resource", f"the pages are: {', '.join(call.manual.pages)}")
