"""Node type `agent`: a language model that calls tools, in turns, until it answers.

The language makes the nodes inside an agent (`flowrunner.language.agents`): one of type `llm` that asks the model, and
one for each tool. Each question and each call is a run of one of them, and the conversation is what they have returned.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowrunner.domain.counted import counted
from flowrunner.domain.errors import quoted
from flowrunner.domain.values import left_after, memory_of
from flowrunner.language.agents import ASK, MOST_TOOLS, REJECTED, TOOL_NAME, tool_name
from flowrunner.nodes.durations import Duration
from flowrunner.nodes.http import Headers, is_long_value, on_thread, url_faults
from flowrunner.nodes.http_request import HttpRequestParams
from flowrunner.nodes.llm import ANSWER, MOST_MESSAGES, ModelParams
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
# Characters and elements, as `left_after` counts them: of what a tool gives to the model, of all that the turns add to
# the conversation, and of the names, descriptions and schemas of all tools.
MOST_OF_A_RESULT: Final = 50_000
MOST_OF_ALL_TURNS: Final = 1_000_000
MOST_OF_TOOLS: Final = 200_000
# Less than those of an event.
MOST_BYTES_OF_RESULT: Final = 1_500_000
# Less than those of the data of an error, as JSON and in memory.
MOST_BYTES_OF_ERROR: Final = 250_000
_NO_STEPS: Final[dict[str, JSON]] = {"steps": None}
_MOST_FAULTS: Final = 10
_MOST_OF_A_MESSAGE: Final = 2000


# For a tool that cannot have its name.
_INSTEAD: Final = "call this tool by a flow with a node of type 'mcp'"


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
            if not TOOL_NAME.fullmatch(name):
                message = f"{quoted(name)} is no name of 1 to 64 letters, digits, - and _, as models want it"
                raise ValueError(f"{message}: {_INSTEAD}")
        return self


class AgentTool(Params):
    name: str | None = Field(default=None, max_length=64, description="By default that of its flow.")
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
        names = Counter((ASK, REJECTED))
        for tool in self.tools:
            one = tool_name({"name": tool.name, "flow": tool.flow})
            names.update(tool.mcp.tools if tool.mcp is not None else (str(one),))
        if names.total() > MOST_TOOLS + 2:
            raise ValueError(f"'tools' has {names.total() - 2} tools; the most is {MOST_TOOLS}")
        if self.response_schema is not None:
            names[ANSWER] += 1
        for name, count in names.items():
            if count > 1:
                message = f"the name {quoted(str(name))} is that of another tool, or taken"
                is_listed = any(tool.mcp is not None and name in tool.mcp.tools for tool in self.tools)
                raise ValueError(f"{message}: {_INSTEAD}" if is_listed else message)
        return self


class _Tool(Params):
    """A tool, as the agent itself reads it.

    Attributes:
        fixed: The inputs of its flow that the document gives.
        mcp: The tools of an MCP server that the model may call; ``name`` is the node that lists them.
    """

    name: str
    description: str | None = Field(default=None, max_length=4000)
    parameters: dict[str, Any] = Field(default={"type": "object"})
    flow: str | None = Field(default=None, min_length=1, max_length=200)
    version: str | int | None = None
    fixed: list[str] = Field(default=[])
    mcp: list[str] | None = None


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
        faults = [*super().check(params), *url_faults(params, "base_url")]
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
        turns = _turns_of(event)
        if not turns:
            _check_length(_tools_of(event))
            return RunScopes(keys=[str(len(event.keys))], inputs=[None], starts=[ASK], keeps_results=True)
        last = turns[-1]
        if not last.calls:
            context.log("info", f"The model has answered in turn {len(turns)}", {"usage": _usage(turns)})
            result: JSON = await _soon(event, _result, turns)
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
            messages = await _soon(event, _with_messages, params, _turns_of(event))
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
        for tool in listed if isinstance(listed, list) else ():
            if isinstance(tool, Mapping) and tool.get("name") in names:
                protocol = found.get("protocol")
                tools.append({"description": None, "parameters": {"type": "object"}, **tool, "protocol": protocol})
    return tools


# Turns


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of a tool. Attributes: error: As flows read it. has_ended: It has a result or an error."""

    key: str
    id: str
    name: str
    arguments: JSON
    result: JSON
    error: JSON
    has_ended: bool

    @property
    def is_rejected(self) -> bool:
        return isinstance(self.error, Mapping) and self.error["node"] == REJECTED


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question. Attributes: answer: The result of the node that has asked. next_key: The scope after its calls."""

    answer: Mapping[str, Any]
    calls: Sequence[_Call]
    next_key: int

    @property
    def is_over(self) -> bool:
        return all(call.has_ended for call in self.calls)


def _turns_of(event: ScopesEnded) -> list[_Turn]:
    """Return the turns that the model has answered. The scope of a question is followed by those of its calls."""
    details: Any = event.details or {}
    # The first scopes list the tools of MCP servers.
    turns, key = [], len(details.get("servers", ()))
    while str(key) in event.results:
        found = event.results[str(key)]
        # In a test of a flow, a mock may have given anything.
        answer: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        calls = list(_calls_of(answer, event, key + 1))
        key += 1 + len(calls)
        turns.append(_Turn(answer, calls, key))
    return turns


def _calls_of(answer: Mapping[str, Any], event: ScopesEnded, first: int) -> Iterator[_Call]:
    written = answer.get("tool_calls")
    for place, call in enumerate(written if isinstance(written, list) else ()):
        given: Mapping[str, Any] = call if isinstance(call, Mapping) else {}
        key = str(first + place)
        yield _Call(
            key=key,
            id=str(given.get("id") or f"call_{key}")[:200],
            name=str(given.get("name", ""))[:200],
            arguments=given.get("arguments", {}),
            result=event.results.get(key),
            error=event.errors.get(key),
            has_ended=key in event.results or key in event.errors,
        )


async def _open_calls(turns: Sequence[_Turn], event: ScopesEnded, context: StepContext) -> RunScopes:
    """Return the calls of the last turn to be made. Raises: NodeFailure."""
    details: Any = event.details
    number, last = len(turns), turns[-1]
    if number >= details["max_turns"]:
        most = counted(details["max_turns"], "turn")
        raise NodeFailure(
            "agent.turns",
            f"The model has not answered within {most}: raise 'max_turns', or give it tools that lead to an answer",
            data=await _soon(event, _error_data, turns),
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
            context.log("info", f"Turn {number}: the model calls {quoted(call.name)}")
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


async def _fault_of(call: _Call, tools: Mapping[str, Any], context: StepContext, *, is_told: bool) -> str | None:
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


# The conversation


def _with_messages(params: Mapping[str, Any], turns: Sequence[_Turn]) -> list[JSON]:
    """Return the messages of the next question. Raises: NodeFailure if they are too long together."""
    written = params.get("messages")
    first = written if isinstance(written, list) else [{"role": "user", "content": params.get("prompt")}]
    messages = [*first, *_messages(turns)]
    if len(messages) > MOST_MESSAGES:
        raise NodeFailure(
            "agent.too_long", f"The conversation has {len(messages)} messages; the most is {MOST_MESSAGES}"
        )
    return messages


def _messages(turns: Sequence[_Turn]) -> list[JSON]:
    """Return what the turns have added to the conversation. Raises: NodeFailure."""
    messages: list[JSON] = []
    left = MOST_OF_ALL_TURNS
    for turn in turns:
        added = list(_messages_of(turn))
        left = left_after(added, left)
        if left < 0:
            message = f"The answers and the results of tools have more than {MOST_OF_ALL_TURNS} characters together"
            raise NodeFailure("agent.too_long", f"{message}: let tools return less with 'output'")
        messages += added
    return messages


def _messages_of(turn: _Turn) -> Iterator[JSON]:
    answer: dict[str, JSON] = {"role": "assistant", "content": turn.answer.get("content")}
    if turn.calls:
        # Servers reject names that no tool can have, which a model may make up.
        names = [call.name if TOOL_NAME.fullmatch(call.name) else "unknown" for call in turn.calls]
        answer["tool_calls"] = [
            {"id": call.id, "name": name, "arguments": call.arguments}
            for call, name in zip(turn.calls, names, strict=True)
        ]
    elif answer["content"] is None:
        answer["content"] = msgspec.json.encode(turn.answer.get("structured")).decode()
    yield answer
    for call in turn.calls:
        if call.has_ended:
            yield {"role": "tool", "tool_call_id": call.id, "content": _told(call)}


def _told(call: _Call) -> str:
    """Return what the model reads of a call."""
    value = call.result
    if isinstance(call.error, Mapping):
        error: dict[str, JSON] = {"type": call.error["type"], "message": call.error["message"]}
        data = call.error.get("data")
        # What a server says about its error may help the model. The rest, such as headers, does not.
        if isinstance(data, Mapping) and data.get("body") is not None:
            error["body"] = data["body"]
        value = {"error": error}
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) <= MOST_OF_A_RESULT:
        return text
    return f"{text[:MOST_OF_A_RESULT]}\n(cut off: these are the first {MOST_OF_A_RESULT} of {len(text)} characters)"


async def _soon(event: ScopesEnded, make: Any, *given: Any) -> Any:
    """Call a function that reads all results: on a thread if they are long, so that the event loop stays free."""
    is_long = is_long_value([list(event.results.values()), list(event.errors.values())])
    return await on_thread(make, *given) if is_long else make(*given)


# The result


def _result(turns: Sequence[_Turn]) -> JSON:
    last = turns[-1].answer
    result: dict[str, JSON] = {
        **{key: last.get(key) for key in ("content", "structured", "finish_reason")},
        "turns": len(turns),
        "steps": _steps(turns),
        "messages": None,
        "usage": _usage(turns),
        "model": last.get("model"),
    }
    # An answer must not be lost because of what has led to it. All of that is in the steps of the execution, too.
    with suppress(NodeFailure):
        result["messages"] = _messages(turns)
    shorter: Sequence[dict[str, JSON]] = ({"messages": None}, {"steps": _steps(turns, has_arguments=False)}, _NO_STEPS)
    return _fitting(result, shorter, lambda value: len(msgspec.json.encode(value)) <= MOST_BYTES_OF_RESULT)


def _error_data(turns: Sequence[_Turn]) -> JSON:
    """Return the data of the error after the last turn."""
    data: dict[str, JSON] = {
        "turns": len(turns),
        "content": turns[-1].answer.get("content"),
        "steps": _steps(turns),
        "usage": _usage(turns),
    }
    shorter: Sequence[dict[str, JSON]] = ({"steps": _steps(turns, has_arguments=False)}, _NO_STEPS, {"content": None})
    return _fitting(data, shorter, _fits_an_error)


def _fits_an_error(data: JSON) -> bool:
    return max(len(msgspec.json.encode(data)), memory_of(data)) <= MOST_BYTES_OF_ERROR


def _fitting(value: dict[str, JSON], shorter: Sequence[dict[str, JSON]], fits: Callable[[JSON], bool]) -> JSON:
    """Return a value with as many of the shorter members as it needs to fit."""
    for members in shorter:
        if fits(value):
            break
        value |= members
    return value


def _steps(turns: Sequence[_Turn], *, has_arguments: bool = True) -> JSON:
    return [
        {
            "turn": number,
            "tool": call.name,
            "arguments": call.arguments if has_arguments else None,
            "error": _short(call.error),
        }
        for number, turn in enumerate(turns, 1)
        for call in turn.calls
        if call.has_ended
    ]


def _short(error: JSON) -> JSON:
    return {"type": error["type"], "message": error["message"]} if isinstance(error, Mapping) else None


def _usage(turns: Sequence[_Turn]) -> JSON:
    total: dict[str, JSON] = {}
    for name in ("input_tokens", "output_tokens"):
        counts = [usage.get(name) for turn in turns if isinstance(usage := turn.answer.get("usage"), Mapping)]
        known = [count for count in counts if type(count) is int]
        total[name] = sum(known) if known else None
    return total
