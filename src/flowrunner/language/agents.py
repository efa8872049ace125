"""The nodes inside a node of type `agent`: one that asks the model, and one for each tool."""

import re
from collections.abc import Collection, Mapping
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
# The tool by which a model of Anthropic gives an answer of a given form, and the name of the form for OpenAI.
ANSWER: Final = "answer"
MOST_TOOLS: Final = 32
MOST_NAME: Final = 64
TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# Of the protocol: names of the tools of MCP servers.
MOST_MCP_NAME: Final = 128

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
        tools: The tools of MCP servers, by the names of their nodes, which the model is shown.
        places: Keys in the agent's node as written, by those that they have in ``nodes``.
        schemas: Schemas of arguments, by their keys in the agent's node.
    """

    params: dict[str, JSON] = field(default_factory=dict)
    nodes: dict[str, JSON] = field(default_factory=dict)
    alike: dict[str, str] = field(default_factory=dict)
    tools: dict[str, str] = field(default_factory=dict)
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
        first = tools[:MOST_TOOLS]
        taken = {ASK, REJECTED, *(name for tool in first if (name := _own_name(tool)) is not None)}
        if params.get("response_schema") is not None:
            taken.add(ANSWER)
        agent.params["tools"] = [
            _tool(agent, tool, ("params", "tools", place), taken) for place, tool in enumerate(first)
        ]
    agent.nodes[REJECTED] = {"type": "fail", "params": {"error": "input.invalid", "message": "${call.fault}"}}
    agent.places["nodes", REJECTED] = ()
    return agent


def _own_name(tool: JSON) -> str | None:
    return tool_name(tool) if isinstance(tool, dict) and "mcp" not in tool else None


def _tool(agent: AgentParts, tool: JSON, at: Keys, taken: set[str]) -> JSON:
    """Add the node of a tool to the agent; return what the agent itself needs of it."""
    if not isinstance(tool, dict):
        return tool
    if "mcp" in tool:
        return _mcp(agent, tool, at, taken)
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


def _mcp(agent: AgentParts, tool: Mapping[str, JSON], at: Keys, taken: set[str]) -> JSON:
    """Add the node that lists the tools of an MCP server, and one for each of those that the model may call."""
    given = tool["mcp"]
    server: Mapping[str, JSON] = given if isinstance(given, dict) else {}
    names = _mcp_names(server)
    common = {key: tool[key] for key in _OF_NODE if key in tool}
    params = {key: server[key] for key in ("url", "headers", "protocol") if key in server}
    # No tool has this name, because those have no blanks.
    lists = f"list {at[-1]}"
    agent.nodes[lists] = {
        "type": "mcp",
        "params": {**params, "tools": list[JSON](names)},
        **{key: tool[key] for key in ("timeout", "retry") if key in tool},
    }
    # Of valid tools all: as many tools as servers, and the node that asks.
    names = names[: max(0, 2 * MOST_TOOLS + 1 - len(agent.nodes))]
    added: dict[str, JSON] = {}
    for name in names:
        shown = _shown_name(name, taken)
        taken.add(shown)
        added[shown] = agent.tools[shown] = name
        called: JSON = {**params, "tool": name, "arguments": "${call.arguments}"}
        agent.nodes[shown] = {"type": "mcp", "params": called, "output": "${result.text}", **common}
    first = next(iter(added), "")
    agent.alike.update((shown, first) for shown in added if shown != first)
    for node in (lists, *added):
        agent.places["nodes", node] = at
        agent.places["nodes", node, "params"] = (*at, "mcp")
    return {"name": lists, "mcp": added}


def _mcp_names(server: Mapping[str, JSON]) -> list[str]:
    """Return the tools of an MCP server that the model may call."""
    names = server.get("tools")
    found = [name for name in names[:MOST_TOOLS] if isinstance(name, str)] if isinstance(names, list) else []
    return [name for name in dict.fromkeys(found) if 0 < len(name) <= MOST_MCP_NAME]


def _shown_name(name: str, taken: Collection[str]) -> str:
    """Return the name by which models know a tool of an MCP server: its own, if they can and no other tool has it."""
    own = _NO_NAME.sub("_", name)[:MOST_NAME]
    shown, number = own or "tool", 2
    while shown in taken:
        end = f"_{number}"
        shown, number = f"{own[: MOST_NAME - len(end)]}{end}", number + 1
    return shown


def tool_name(tool: Mapping[str, JSON]) -> str | None:
    """Return the name of a tool, by default that of its flow; None if it has none."""
    name, flow = tool.get("name"), tool.get("flow")
    if name is None and isinstance(flow, str) and "${" not in flow:
        name = _NO_NAME.sub("_", flow).strip("_")[:MOST_NAME]
    return name if isinstance(name, str) and TOOL_NAME.fullmatch(name) else None
