"""The nodes inside a node of type `agent`: one that asks the model, and one for each tool."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import Keys

AGENT: Final = "agent"
# The call of a tool `{id, name, arguments}` in the expressions of the tool.
CALL: Final = "call"
# The node that asks the model, and the one that answers a call that cannot be made.
ASK: Final = "ask"
REJECTED: Final = "rejected"
MOST_TOOLS: Final = 32
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]+", re.ASCII)
# Keys of the agent's node that are those of the node that asks.
_OF_ASKING: Final = ("retry", "idempotent")
# Parameters of the agent that are not those of the node that asks.
_OWN: Final = ("tools", "max_turns", "concurrency", "on_tool_error")
# Keys of a tool that are those of its node.
_OF_NODE: Final = ("timeout", "retry", "output", "idempotent")
_OF_FLOW: Final = ("flow", "version", "input")
_KEPT: Final = ("name", "description", "parameters", "flow", "version")


@dataclass(slots=True)
class AgentParts:
    """The parts of an agent.

    Attributes:
        params: What it evaluates itself: its parameters without those of the nodes inside.
        nodes: The nodes inside, as a document would have them; those of the first 32 tools.
        alike: Nodes that differ in their parameter `tool` alone from another one, by its name.
        places: Keys in the agent's node as written, by those that they have in ``nodes``.
        schemas: Schemas of arguments, by their keys in the agent's node.
    """

    params: dict[str, JSON] = field(default_factory=dict)
    nodes: dict[str, JSON] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)
    places: dict[Keys, Keys] = field(default_factory=dict)
    schemas: dict[Keys, JSON] = field(default_factory=dict)


def agent_of(node: Mapping[str, JSON]) -> AgentParts:
    """Return the parts of a node of type `agent`; tools with faults are left out."""
    given = node.get("params")
    params: Mapping[str, JSON] = given if isinstance(given, dict) else {}
    agent = AgentParts({key: params[key] for key in _OWN if key in params})
    asking = {key: value for key, value in params.items() if key not in _OWN}
    agent.nodes[ASK] = {"type": "llm", "params": asking, **{key: node[key] for key in _OF_ASKING if key in node}}
    agent.places["nodes", ASK] = ()
    tools = params.get("tools")
    if isinstance(tools, list):
        # More are a fault, which costs no more than it has to.
        first = enumerate(tools[:MOST_TOOLS])
        agent.params["tools"] = [_tool(agent, tool, ("params", "tools", place)) for place, tool in first]
    agent.nodes[REJECTED] = {"type": "fail", "params": {"error": "input.invalid", "message": "${call.fault}"}}
    agent.places["nodes", REJECTED] = ()
    return agent


def _tool(agent: AgentParts, tool: JSON, at: Keys) -> JSON:
    """Add the node of a tool to the agent; return what the agent itself needs of it."""
    if not isinstance(tool, dict):
        return tool
    if "mcp" in tool:
        return _mcp(agent, tool, at)
    name = tool_name(tool)
    inside: Keys = ("nodes", name or "")
    common = {key: tool[key] for key in _OF_NODE if key in tool}
    fixed = tool.get("input")
    if isinstance(tool.get("parameters"), dict):
        agent.schemas[*at, "parameters"] = tool["parameters"]
    if name is not None and name not in (*agent.nodes, REJECTED):
        if "http.request" in tool:
            # The model reads the body, unless the tool says something else.
            written = {"type": "http.request", "params": tool["http.request"], "output": "${result.body}"}
            agent.nodes[name] = {**written, **common}
            agent.places[inside] = at
            agent.places[*inside, "params"] = (*at, "http.request")
        elif "flow" in tool:
            agent.nodes[name] = {"type": "flow", "params": {k: tool[k] for k in _OF_FLOW if k in tool}, **common}
            agent.places[inside] = at
            agent.places[*inside, "params"] = at
    return {
        **{key: tool[key] for key in _KEPT if key in tool},
        "name": name,
        "fixed": sorted(fixed) if isinstance(fixed, dict) else [],
    }


def _mcp(agent: AgentParts, tool: Mapping[str, JSON], at: Keys) -> JSON:
    """Add the node that lists the tools of an MCP server, and one for each of those that the model may call."""
    given = tool["mcp"]
    server: Mapping[str, JSON] = given if isinstance(given, dict) else {}
    names = mcp_names(server)
    common = {key: tool[key] for key in _OF_NODE if key in tool}
    params = {key: server[key] for key in ("url", "headers", "protocol") if key in server}
    # No tool has this name, because those have no blanks.
    lists = f"list {at[-1]}"
    agent.nodes[lists] = {
        "type": "mcp",
        "params": {**params, "tools": list[JSON](names)},
        **{key: tool[key] for key in ("timeout", "retry") if key in tool},
    }
    added = [name for name in names if name not in agent.nodes and name != REJECTED]
    # Of valid tools all: as many tools as servers, and the node that asks.
    added = added[: max(0, 2 * MOST_TOOLS + 1 - len(agent.nodes))]
    for name in added:
        called: JSON = {**params, "tool": name, "arguments": "${call.arguments}"}
        agent.nodes[name] = {"type": "mcp", "params": called, "output": "${result.text}", **common}
    agent.alike.update((name, added[0]) for name in added[1:])
    for name in (lists, *added):
        agent.places["nodes", name] = at
        agent.places["nodes", name, "params"] = (*at, "mcp")
    return {"name": lists, "mcp": list[JSON](names)}


def mcp_names(server: Mapping[str, JSON]) -> list[str]:
    """Return the tools of an MCP server that the model may call."""
    names = server.get("tools")
    found = (
        [name for name in names[:MOST_TOOLS] if isinstance(name, str) and TOOL_NAME.fullmatch(name)]
        if isinstance(names, list)
        else []
    )
    return list(dict.fromkeys(found))


def tool_name(tool: Mapping[str, JSON]) -> str | None:
    """Return the name of a tool, by default that of its flow; None if it has none."""
    name, flow = tool.get("name"), tool.get("flow")
    if name is None and isinstance(flow, str) and "${" not in flow:
        name = _NO_NAME.sub("_", flow).strip("_")[:64]
    return name if isinstance(name, str) and TOOL_NAME.fullmatch(name) else None
