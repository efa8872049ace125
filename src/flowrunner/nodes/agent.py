"""Node type `agent`: a language model that calls tools, in turns, until it answers.

The language makes the nodes inside an agent (`flowrunner.language.agents`): one of type `llm` that asks the model, and
one for each tool. Each question and each call is a run of one of them, and the conversation is what they have returned.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import quoted
from flowrunner.domain.values import left_after
from flowrunner.language.agents import ANSWER, ASK, MOST_MCP_NAME, MOST_NAME, MOST_TOOLS, REJECTED, tool_name
from flowrunner.nodes.agent_turns import ToolCall, Turn, conversation_of, error_data_of, result_of, turns_of, usage_of
from flowrunner.nodes.durations import Duration
from flowrunner.nodes.http import Headers, is_long_value, on_thread, url_faults
from flowrunner.nodes.http_request import HttpRequestParams
from flowrunner.nodes.llm import ModelParams, with_hints
from flowrunner.nodes.mcp import Revision
from flowrunner.plugin import (
    JSON,
    NodeFailure,
    NodeType,
    ParamFault,
    Params,
    RunScopes,
    ScopesEnded,
    StepContext,
)

# Calls in one answer.
MOST_CALLS: Final = 32
DEFAULT_TURNS: Final = 10
MOST_TURNS: Final = 100
# Characters and elements of the names, descriptions and schemas of all tools, as `left_after` counts them.
MOST_OF_TOOLS: Final = 200_000
_MOST_FAULTS: Final = 10
_MOST_OF_A_MESSAGE: Final = 2000
_BEGINS_WITH_ARGUMENT: Final = re.compile(r"\s*\$\{[^}]*\bcall\b")
# After the scheme, or a part of the server's name: https://${…}, https://example.com${…}.
_HAS_ARGUMENT_IN_SERVER: Final = re.compile(r"\s*[^\s$](?:(?<=:)//|[^/?#\\$]|\$(?!\{))*\$\{[^}]*\bcall\b")


class McpServer(Params):
    url: str = Field(min_length=1, max_length=8192)
    headers: Headers = Field(default={})
    tools: list[str] = Field(min_length=1, max_length=MOST_TOOLS, description="Those that the model may call.")
    protocol: Revision | None = Field(
        default=None, description="Revision of the protocol; the server is asked if absent."
    )

    @model_validator(mode="after")
    def _with_names(self) -> Self:
        for name in self.tools:
            if not 0 < len(name) <= MOST_MCP_NAME:
                raise ValueError(f"{quoted(name)} is no name of 1 to {MOST_MCP_NAME} characters")
        if len(set(self.tools)) < len(self.tools):
            raise ValueError("'tools' names a tool twice")
        return self


class AgentTool(Params):
    name: str | None = Field(default=None, max_length=MOST_NAME, description="By default that of its flow.")
    description: str | None = Field(
        default=None, max_length=4000, description="By which the model decides whether to call it."
    )
    parameters: dict[str, Any] | None = Field(default=None, description="JSON Schema of its arguments.")
    http_request: HttpRequestParams | None = Field(
        default=None, alias="http.request", description="Its request. ${call.arguments.…} reads the arguments."
    )
    flow: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Id or name of its flow, whose inputs are the arguments.",
    )
    version: str | int | None = Field(default=None, description="Revision of the flow; the current one if absent.")
    input: dict[str, Any] | None = Field(
        default=None, description="Inputs of the flow that the model neither sees nor changes."
    )
    mcp: McpServer | None = Field(default=None, description="Server whose tools the model may call.")
    timeout: Duration | None = Field(default=None, description="How long one attempt of a call may take.")
    retry: Any = Field(default=None, description="As of a node.")
    output: Any = Field(default=None, description="What the model reads of the result: ${result.body.items}")
    idempotent: bool | None = Field(default=None, description="As of a node.")

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        if [self.http_request, self.flow, self.mcp].count(None) != 2:
            raise ValueError("give one of 'http.request', 'flow' and 'mcp'")
        if self.mcp is not None:
            for key in ("name", "description", "parameters", "version", "input"):
                if key in self.model_fields_set:
                    raise ValueError(f"leave '{key}' out: the MCP server names and describes its tools")
            return self
        if tool_name({"name": self.name, "flow": self.flow}) is None:
            raise ValueError("give a 'name' of 1 to 64 letters, digits, - and _")
        if self.flow is not None and self.parameters is not None:
            raise ValueError("leave 'parameters' out: those of a flow are its inputs")
        if self.flow is None and {"version", "input"} & self.model_fields_set:
            raise ValueError("'version' and 'input' are those of a flow")
        if self.flow is None and self.description is None:
            raise ValueError("give a 'description', by which the model decides whether to call it")
        return self


class AgentParams(ModelParams):
    tools: list[AgentTool] = Field(default=[], max_length=MOST_TOOLS, description="That the model may call.")
    max_turns: int = Field(default=DEFAULT_TURNS, ge=1, le=MOST_TURNS, description="How often it asks the model.")
    concurrency: int = Field(
        default=4, ge=1, le=MOST_CALLS, description="How many calls of one answer run at the same time; 1: in order."
    )
    on_tool_error: Literal["tell", "fail"] = Field(
        default="tell", description="After a failed call: tell the model; fail the node."
    )

    @model_validator(mode="after")
    def _with_names(self) -> Self:
        own = [str(tool_name({"name": tool.name, "flow": tool.flow})) for tool in self.tools if tool.mcp is None]
        total = len(own) + sum(len(tool.mcp.tools) for tool in self.tools if tool.mcp is not None)
        if total > MOST_TOOLS:
            raise ValueError(f"'tools' has {total} tools; the most is {MOST_TOOLS}")
        # Those of MCP servers get other names where they cannot have their own.
        names = Counter((ASK, REJECTED, *own))
        if self.response_schema is not None:
            names[ANSWER] += 1
        for name, count in names.items():
            if count > 1:
                raise ValueError(f"the name {quoted(name)} is that of another tool, or taken")
        return self


class _Tool(Params):
    """A tool, as the agent itself reads it.

    Attributes:
        fixed: The inputs of its flow that the document gives.
        mcp: The tools of an MCP server that the model may call, by the names of their nodes, by which the model knows
            them; ``name`` is the node that lists them.
    """

    name: str
    description: str | None = Field(default=None, max_length=4000)
    parameters: dict[str, Any] = Field(default={"type": "object"})
    flow: str | None = Field(default=None, min_length=1, max_length=200)
    version: str | int | None = None
    fixed: list[str] = Field(default=[])
    mcp: dict[str, str] | None = None


class AgentOwnParams(Params):
    """The parameters that the agent reads itself; the others are those of the nodes inside."""

    tools: list[_Tool] = Field(default=[], max_length=MOST_TOOLS)
    max_turns: int = Field(default=DEFAULT_TURNS, ge=1, le=MOST_TURNS)
    concurrency: int = Field(default=4, ge=1, le=MOST_CALLS)
    on_tool_error: Literal["tell", "fail"] = "tell"


class Agent(NodeType[AgentOwnParams]):
    """Lets a language model call tools, in turns, until it answers."""

    type = "agent"
    examples = (
        "type: agent\nparams:\n  provider: openai\n  api_key: ${secrets.LLM_KEY}\n  model: gpt-4o-mini\n"
        "  prompt: ${input.question}\n  tools:\n    - name: weather\n      description: The present weather of a town\n"
        "      parameters: {type: object, properties: {town: {type: string}}, required: [town]}\n"
        "      http.request: {url: 'https://weather.example.com/now', query: {town: '${call.arguments.town}'}}\n"
        "    - flow: Find an order\noutput: ${result.content}\n",
    )
    Params = AgentParams
    OwnParams = AgentOwnParams
    # Those that a flow names most often; tools and other servers fail with any.
    errors: ClassVar[tuple[str, ...]] = ("*", "agent", "llm", "http")
    timeout_seconds = None
    starts_executions = True
    result_keys = ("content", "structured", "finish_reason", "turns", "steps", "messages", "usage", "model")
    schemas: ClassVar[tuple[str, ...]] = ("response_schema",)

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return True

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        faults = [*with_hints(super().check(params)), *url_faults(params, "base_url")]
        # The nodes inside are made of what is written, so that expressions cannot give it.
        tools = params.get("tools", [])
        if _is_expression(tools):
            faults.append(_not_written(("tools",), "a list"))
        for place, tool in enumerate(tools[:MOST_TOOLS] if isinstance(tools, list) else ()):
            if _is_expression(tool):
                faults.append(_not_written(("tools", place), "a map"))
            if not isinstance(tool, dict):
                continue
            if _is_expression(tool.get("input")):
                faults.append(_not_written(("tools", place, "input"), "a map"))
            request = tool.get("http.request")
            url = request.get("url") if isinstance(request, dict) else None
            if isinstance(url, str):
                faults += _faults_of_url(url, ("tools", place, "http.request", "url"))
            server = tool.get("mcp")
            names = server.get("tools") if isinstance(server, dict) else None
            if _is_expression(names) or (isinstance(names, list) and any(map(_is_expression, names))):
                faults.append(_not_written(("tools", place, "mcp", "tools"), "a list of names"))
        return faults

    async def run(self, params: AgentOwnParams, context: StepContext) -> RunScopes:
        servers = {tool.name: tool.mcp for tool in params.tools if tool.mcp is not None}
        details = {
            **params.model_dump(include={"max_turns", "concurrency", "on_tool_error"}),
            "tools": [await _definition(tool, context) for tool in params.tools if tool.mcp is None],
            "servers": list(servers.values()),
        }
        if servers:
            return RunScopes(
                keys=[str(number) for number in range(len(servers))],
                inputs=[None] * len(servers),
                starts=list(servers),
                concurrency=len(servers),
                keeps_results=True,
                details=details,
            )
        _check_length(details["tools"])
        return RunScopes(keys=["0"], inputs=[None], starts=[ASK], keeps_results=True, details=details)

    async def on_scopes_ended(
        self, params: AgentOwnParams | None, context: StepContext, event: ScopesEnded
    ) -> JSON | RunScopes:
        details: Any = event.details
        turns = turns_of(event)
        if not turns:
            _check_length(_tools_of(event))
            return RunScopes(keys=[str(len(event.keys))], inputs=[None], starts=[ASK], keeps_results=True)
        last = turns[-1]
        if not last.calls:
            context.log("info", f"The model has answered in turn {len(turns)}", {"usage": usage_of(turns)})
            result: JSON = await _soon(event, result_of, turns)
            return result
        if not last.is_over:
            return await _open_calls(turns, event, context)
        for call in last.calls:
            # A call that was not made is the fault of the model, which may correct it.
            if call.error is not None and call.key in event.keys and not call.is_rejected:
                error: Any = call.error
                if details["on_tool_error"] == "fail" or error["type"] in _NEVER_TOLD:
                    raise NodeFailure(error["type"], f"{call.name}: {error['message']}", data=error["data"])
        return RunScopes(keys=[str(last.next_key)], inputs=[None], starts=[ASK], keeps_results=True)

    async def inner_params(self, node: str, params: JSON, input: JSON, event: ScopesEnded) -> JSON:
        if not isinstance(params, dict):
            return params
        if node == ASK:
            prompt, given = params.get("prompt"), params.get("messages")
            if not (isinstance(given, list) if prompt is None else isinstance(prompt, str) and given is None):
                # The type `llm` says what is wrong with them.
                return params
            messages = await _soon(event, conversation_of, params, turns_of(event))
            tools: list[JSON] = [{key: tool[key] for key in _OF_MODEL} for tool in _tools_of(event)]
            return {**{k: v for k, v in params.items() if k != "prompt"}, "messages": messages, "tools": tools}
        if "tool" in params:
            spoken = next((t["protocol"] for t in _tools_of(event) if t["name"] == node and "protocol" in t), None)
            return params if spoken is None else {**params, "protocol": spoken}
        fixed = params.get("input", {})
        if "flow" in params and isinstance(fixed, dict) and isinstance(input, dict):
            return {**params, "input": {**input["arguments"], **fixed}}
        return params


# Agents that call each other without end would pay for questions at each depth, with every call that is told.
_NEVER_TOLD: Final = frozenset({"flow.recursion", "flow.too_deep"})


def _is_expression(value: JSON) -> bool:
    return isinstance(value, str) and "${" in value


def _warning(code: str, keys: tuple[str | int, ...], hint: str) -> ParamFault:
    message = (
        "begins with an argument, so that the model chooses the server, which gets the request with its credentials"
    )
    return ParamFault(keys=keys, code=code, message=message, hint=hint, is_warning=True)


def _faults_of_url(url: str, keys: tuple[str | int, ...]) -> list[ParamFault]:
    hint = "begin with the server: https://example.com/${call.arguments.id}"
    if _BEGINS_WITH_ARGUMENT.match(url):
        return [_warning("agent.url", keys, hint)]
    if _HAS_ARGUMENT_IN_SERVER.match(url):
        return [ParamFault(keys=keys, code="param", message="has an argument in the name of the server", hint=hint)]
    return []


def _not_written(keys: tuple[str | int, ...], kind: str) -> ParamFault:
    return ParamFault(keys=keys, code="param", message=f"must be {kind}, and no expression")


_OF_MODEL: Final = ("name", "description", "parameters")


async def _definition(tool: _Tool, context: StepContext) -> dict[str, JSON]:
    """Return a tool as the model sees it. Raises: NodeFailure if there is no such flow."""
    if tool.flow is None:
        return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    flow = await context.flows.describe(tool.flow, version=tool.version)
    schema: dict[str, Any] = dict(flow.inputs)
    for key in ("properties", "required"):
        if key in schema and tool.fixed:
            named = schema[key]
            left = [name for name in named if name not in tool.fixed]
            schema[key] = {name: named[name] for name in left} if isinstance(named, Mapping) else left
    description = tool.description or flow.description or f"Runs the flow {flow.name or tool.name}"
    return {"name": tool.name, "description": description, "parameters": schema}


def _check_length(tools: JSON) -> None:
    """Raises: NodeFailure."""
    if left_after(tools, MOST_OF_TOOLS) < 0:
        message = f"The descriptions and schemas of the tools have more than {MOST_OF_TOOLS} characters together"
        raise NodeFailure("agent.too_long", message)


def _tools_of(event: ScopesEnded) -> list[dict[str, Any]]:
    """Return the tools that the model is shown: those of the document, and those that MCP servers have listed."""
    # A node inside that somebody tries has no agent that has begun.
    details: Any = event.details or {}
    tools = list(details.get("tools", ()))
    for number, names in enumerate(details.get("servers", ())):
        found: Any = event.results.get(str(number))
        # In a test of a flow, a mock may have given anything.
        listed = found.get("tools") if isinstance(found, Mapping) else None
        # Earlier versions recorded the tools alone, by whose names their nodes were called.
        own_names = names if isinstance(names, Mapping) else dict(zip(names, names, strict=True))
        shown = {tool: name for name, tool in own_names.items()}
        for tool in listed if isinstance(listed, list) else ():
            if isinstance(tool, Mapping) and isinstance(tool.get("name"), str) and tool["name"] in shown:
                own = {"name": shown[tool["name"]], "tool": tool["name"], "protocol": found.get("protocol")}
                tools.append({"description": None, "parameters": {"type": "object"}, **tool, **own})
    return tools


# Calls


async def _open_calls(turns: Sequence[Turn], event: ScopesEnded, context: StepContext) -> RunScopes:
    """Return the calls of the last turn to be made. Raises: NodeFailure."""
    details: Any = event.details
    number, last = len(turns), turns[-1]
    if number >= details["max_turns"]:
        most = counted(details["max_turns"], "turn")
        raise NodeFailure(
            "agent.turns",
            f"The model has not answered within {most}: raise 'max_turns', or give it tools that lead to an answer",
            data=await _soon(event, error_data_of, turns),
        )
    if len(last.calls) > MOST_CALLS:
        message = f"The model asks for {len(last.calls)} calls at once; the most is {MOST_CALLS}"
        raise NodeFailure("agent.calls", message)
    tools = {tool["name"]: tool for tool in _tools_of(event)}
    called = {call.name for turn in turns[:-1] for call in turn.calls}
    starts: list[str] = []
    inputs: list[JSON] = []
    for call in last.calls:
        given: dict[str, JSON] = {"id": call.id, "name": call.name, "arguments": call.arguments}
        fault = await _fault_of(call, tools, context, is_told=call.name in called)
        called.add(call.name)
        if fault is None:
            starts.append(call.name)
            called_as = tools[call.name].get("tool", call.name)
            meant = "" if called_as == call.name else f", the tool {quoted(called_as)} of its server"
            context.log("info", f"Turn {number}: the model calls {quoted(call.name)}{meant}")
        else:
            starts.append(REJECTED)
            given["fault"] = fault
            context.log("warn", f"Turn {number}: the model cannot call {quoted(call.name)}: {fault}")
        inputs.append(given)
    return RunScopes(
        keys=[call.key for call in last.calls],
        inputs=inputs,
        starts=starts,
        concurrency=details["concurrency"],
        ignore_failures=True,
        keeps_results=True,
    )


async def _fault_of(call: ToolCall, tools: Mapping[str, Any], context: StepContext, *, is_told: bool) -> str | None:
    """Return why a call cannot be made, for the model; None if it can.

    Args:
        is_told: The log has what there is to say about the tool.

    Raises:
        NodeFailure: If the document gives a schema that cannot be read.
    """
    tool = tools.get(call.name)
    if tool is None:
        return f"There is no tool {quoted(call.name)}. The tools are: {', '.join(tools) or 'none'}"
    if not isinstance(call.arguments, dict):
        return "The arguments are no JSON object"
    try:
        faults = await context.check(call.arguments, tool["parameters"])
    except ValueError as error:
        if "protocol" not in tool:
            raise NodeFailure(
                "input.invalid", f"The arguments of the tool {call.name} cannot be checked: {error}"
            ) from None
        # Servers write schemas for other validators, and check the arguments themselves.
        if not is_told:
            message = f"The arguments of {quoted(call.name)} are checked by the MCP server alone: {error}"
            context.log("warn", message[:_MOST_OF_A_MESSAGE])
        return None
    if not faults:
        return None
    return f"The arguments do not fit their schema: {'; '.join(faults[:_MOST_FAULTS])}"[:_MOST_OF_A_MESSAGE]


async def _soon(event: ScopesEnded, make: Any, *given: Any) -> Any:
    """Call a function that reads all results: on a thread if they are long, so that the event loop stays free."""
    is_long = is_long_value([list(event.results.values()), list(event.errors.values())])
    return await on_thread(make, *given) if is_long else make(*given)
