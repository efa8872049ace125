"""The tools of the MCP server: what each takes, needs and does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from flowrunner.api.mcp import arguments as takes
from flowrunner.api.mcp.brevity import MOST_BYTES, MOST_BYTES_IN_FULL, fitting, picked, shortened, text_of
from flowrunner.api.mcp.calls import AgentCall
from flowrunner.api.mcp.errors import ToolError
from flowrunner.domain.account import Right

A = TypeVar("A", bound=BaseModel)
Result = dict[str, Any]

_MOST_FAULTS: Final = 20
_MOST_LINES: Final = 800
_MOST_STEPS: Final = 100
_MOST_OF_DESCRIPTION: Final = 300


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        rights: The caller needs all of them; others do not see the tool.
        reads_only: It changes nothing.
        destroys: It may end or overwrite something, or have effects outside.
        repeats: Calling it again with the same arguments changes nothing more.
        reaches_out: It may reach other systems, through the nodes of a flow.
        most: Bytes of its result.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    rights: frozenset[Right]
    run: Callable[[AgentCall, Any], Awaitable[Result]]
    reads_only: bool = False
    destroys: bool = False
    repeats: bool = False
    reaches_out: bool = False
    most: int = MOST_BYTES

    @cached_property
    def schema(self) -> dict[str, Any]:
        return takes.schema_of(self.arguments)

    async def call(self, call: AgentCall, given: Mapping[str, Any]) -> Result:
        """Return the result. Raises: ToolError; as `AgentCall.admit`."""
        await call.admit("tool", self.name, self.rights, given)
        return await self.answer(call, given)

    async def answer(self, call: AgentCall, given: Mapping[str, Any]) -> Result:
        """Return the result of a call that is admitted. Raises: ToolError."""
        result = await self.run(call, self._parsed(given))
        return await asyncio.to_thread(shortened, result, self.most)

    def _parsed(self, given: Mapping[str, Any]) -> BaseModel:
        try:
            return self.arguments.model_validate(dict(given))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)[:_MOST_FAULTS]
            faults = [{"path": ".".join(map(str, one["loc"])), "message": one["msg"]} for one in found]
            hint = f"{self.name} takes: {', '.join(self.arguments.model_fields)}"
            message = "; ".join(f"{fault['path']}: {fault['message']}" for fault in faults[:3])
            raise ToolError("validation_error", message, hint, {"errors": faults}) from None


# Flows


async def _page(call: AgentCall, *path: str, limit: int, entry: Callable[[Result], Result], **query: Any) -> Result:
    """Return a page of a list, named by the end of its path, with as many entries as one answer has room for.

    Entries that are left out of a page would be behind its cursor, so a shorter page is asked for.
    """
    name = path[-1]
    while True:
        found = await call.api.get(*path, **query, limit=limit)
        entries = [entry(one) for one in found[name]]
        count = await asyncio.to_thread(fitting, entries)
        if len(entries) <= max(1, count):
            return {name: entries, **picked(found, "next_cursor")}
        limit = max(1, count)


async def _search_flows(call: AgentCall, given: takes.SearchFlowsArguments) -> Result:
    def entry(flow: Result) -> Result:
        return {
            **picked(flow, "id", "name", "tags", "revision", "disabled", "updated_at"),
            "description": text_of(flow["description"], _MOST_OF_DESCRIPTION),
        }

    asked = {"q": given.query, "tag": given.tag, "cursor": given.cursor or ""}
    return await _page(call, "flows", limit=given.limit, entry=entry, **asked)


async def _get_flow(call: AgentCall, given: takes.GetFlowArguments) -> Result:
    flow = await call.api.get("flows", given.flow_id)
    lines = flow["definition"].split("\n")
    first = given.first_line - 1
    part, size = list[str](), 0
    for line in lines[first : first + _MOST_LINES]:
        size += len(line.encode()) + 1
        if size > MOST_BYTES // 2 and part:
            break
        part.append(line)
    following = first + len(part)
    return {
        **picked(flow, "id", "name", "description", "tags", "revision", "version", "disabled", "updated_at"),
        "definition": "\n".join(part),
        "lines": len(lines),
        # The rest of a definition that is too long for one answer.
        **({"next_line": following + 1} if part and following < len(lines) else {}),
    }


async def _list_node_types(call: AgentCall, given: takes.ListNodeTypesArguments) -> Result:
    found = await call.api.get("node-types")
    words = (given.query or "").lower().split()
    return {
        "node_types": [
            picked(one, "name", "description")
            for one in found["node_types"]
            if all(word in f"{one['name']} {one['description']}".lower() for word in words)
        ]
    }


async def _describe_node_type(call: AgentCall, given: takes.DescribeNodeTypeArguments) -> Result:
    found = await call.api.get("node-types")
    for one in found["node_types"]:
        if one["name"] == given.name:
            return {**one, "common_errors": found["common_errors"]}
    names = ", ".join(one["name"] for one in found["node_types"])
    raise ToolError("not_found", f"There is no node type '{text_of(given.name, 60)}'", f"the node types are: {names}")


async def _validate_flow(call: AgentCall, given: takes.ValidateFlowArguments) -> Result:
    found: Result = await call.api.post("flows", "validate", body={"definition": given.definition})
    return found


async def _save_flow(call: AgentCall, given: takes.SaveFlowArguments) -> Result:
    body = {"definition": given.definition} | ({} if given.name is None else {"name": given.name})
    query = {"dry_run": given.dry_run or None}
    if given.flow_id is None:
        if given.revision is not None:
            raise ToolError("validation_error", "revision: is of a flow that is saved", "name it by flow_id")
        saved = await (await call.api.send("POST", "flows", query=query, body=body)).json()
        return _saved(saved)
    if given.revision is None:
        raise ToolError(
            "validation_error", "revision: is required to change a flow", "read it with get_flow, and change that text"
        )
    stored = await call.api.send("GET", "flows", given.flow_id)
    if (present := (await stored.json())["revision"]) != given.revision:
        raise ToolError(
            "precondition_failed",
            f"The flow has changed since: it is at revision {present} now",
            "read the flow again with get_flow, and save the change with its present revision",
            {"revision": present},
        )
    # Between both requests, the flow may change: the state that was read is required.
    headers = {"If-Match": stored.headers["etag"]}
    changed = await call.api.send("PUT", "flows", given.flow_id, query=query, body=body, headers=headers)
    return _saved(await changed.json())


def _saved(flow: Result) -> Result:
    named = {"flow_id": flow["id"]} if flow["id"] else {}
    return {**named, **picked(flow, "name", "revision", "tags", "disabled", "plan")}


# Executions


async def _run_flow(call: AgentCall, given: takes.RunFlowArguments) -> Result:
    return await started(
        call,
        "flows",
        given.flow_id,
        "run",
        body={"input": given.input},
        wait=given.wait_seconds,
        key=given.idempotency_key,
    )


async def _rerun(call: AgentCall, given: takes.RerunArguments) -> Result:
    body: Result = {} if given.from_node is None else {"from": given.from_node}
    if given.elements is not None:
        body["elements"] = given.elements
    if "node_input" in given.model_fields_set:
        body["node_input"] = given.node_input
    if given.input is not None:
        body["input"] = given.input
    return await started(
        call,
        "executions",
        given.execution_id,
        "rerun",
        body=body,
        wait=given.wait_seconds,
        key=given.idempotency_key,
    )


async def started(call: AgentCall, *path: str, body: Result, wait: int, key: str | None = None) -> Result:
    """Start an execution, and return it as far as it has come when the wait ends."""
    headers = {"Prefer": f"wait={wait}"} if wait else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    found: Result = await call.api.post(*path, body=body, headers=headers)
    if "completed_at" not in found:
        found["hint"] = "it has not ended: call get_execution with this execution_id"
    elif found["status"] != "completed":
        found["hint"] = "get_execution shows its steps, and get_execution_logs its log"
    return found


async def _get_execution(call: AgentCall, given: takes.GetExecutionArguments) -> Result:
    execution: Result = await call.api.get("executions", given.execution_id, view=given.view)
    found = await call.api.get("executions", given.execution_id, "steps", limit=_MOST_STEPS)
    names = ["step", "node_type", "status", "attempts", "duration", "error", "action", "wait", "scopes"]
    if given.view != "summary":
        names += ["input", "result"]
    steps = [picked(step, *names) for step in found["steps"]]
    more = {"steps_left_out": True} if "next_cursor" in found else {}
    whole = {**execution, "steps": steps, **more}
    return whole if given.view == "full" else await asyncio.to_thread(shortened, whole)


async def _get_execution_logs(call: AgentCall, given: takes.GetExecutionLogsArguments) -> Result:
    def entry(line: Result) -> Result:
        return picked(line, "timestamp", "level", "message", "node_id", "step", "data")

    asked = {"min_level": given.min_level, "node": given.node, "q": given.query, "cursor": given.cursor or ""}
    return await _page(call, "executions", given.execution_id, "logs", limit=given.limit, entry=entry, **asked)


async def _get_step_params(call: AgentCall, given: takes.GetStepParamsArguments) -> Result:
    path = "executions", given.execution_id, "steps"
    found = (await call.api.get(*path, step=given.step, limit=1))["steps"]
    if not found:
        raise ToolError("not_found", "There is no such step", "get_execution shows the steps")
    params: Result = await call.api.get(*path, str(found[0]["id"]), "params", attempt=given.attempt)
    return params


async def _cancel_execution(call: AgentCall, given: takes.CancelExecutionArguments) -> Result:
    query = {"force": given.force or None}
    done: Result = await (await call.api.send("DELETE", "executions", given.execution_id, query=query)).json()
    return {"execution_id": given.execution_id, **done}


async def _test_node(call: AgentCall, given: takes.TestNodeArguments) -> Result:
    if (given.definition is None) == (given.flow_id is None):
        raise ToolError("validation_error", "definition: give it, or flow_id, but not both", "name the flow to test")
    definition = given.definition
    if given.flow_id is not None:
        definition = (await call.api.get("flows", given.flow_id))["definition"]
    body = {"definition": definition, "node": given.node, "input": given.input, "flow_input": given.flow_input}
    tried: Result = await call.api.post("nodes", "try", body={**body, "results": given.results, "vars": given.vars})
    return tried


async def _search_docs(call: AgentCall, given: takes.SearchDocsArguments) -> Result:
    found = call.manual.search(given.query, limit=given.limit)
    more = "read a section whole as the resource flowrunner://docs/{topic}"
    return {"sections": found, "hint": more if found else "try other words: " + ", ".join(call.manual.pages)}


_READ: Final = frozenset({Right.READ})
_RUN: Final = frozenset({Right.RUN})
_TOOLS: Final = (
    Tool(
        name="search_flows",
        title="Search flows",
        description="List the flows of the workspace, or those with a text in their name or description.",
        arguments=takes.SearchFlowsArguments,
        rights=_READ,
        run=_search_flows,
        reads_only=True,
    ),
    Tool(
        name="get_flow",
        title="Read a flow",
        description="Return a flow with its YAML definition and its revision, which save_flow requires.",
        arguments=takes.GetFlowArguments,
        rights=_READ,
        run=_get_flow,
        reads_only=True,
        most=MOST_BYTES_IN_FULL,
    ),
    Tool(
        name="list_node_types",
        title="List node types",
        description="List the node types that flows can use, each with one line about it.",
        arguments=takes.ListNodeTypesArguments,
        rights=_READ,
        run=_list_node_types,
        reads_only=True,
    ),
    Tool(
        name="describe_node_type",
        title="Describe a node type",
        description="Return the parameters of a node type as a JSON Schema, its actions, its errors, and examples.",
        arguments=takes.DescribeNodeTypeArguments,
        rights=_READ,
        run=_describe_node_type,
        reads_only=True,
        most=MOST_BYTES_IN_FULL,
    ),
    Tool(
        name="validate_flow",
        title="Validate a flow",
        description="Report every error and warning of a definition with line, column and a hint. Nothing is saved.",
        arguments=takes.ValidateFlowArguments,
        rights=_READ,
        run=_validate_flow,
        reads_only=True,
    ),
    Tool(
        name="save_flow",
        title="Save a flow",
        description="Save a new flow, or change one: with its flow_id, and the revision that the change starts from."
        " An earlier revision can be restored.",
        arguments=takes.SaveFlowArguments,
        rights=frozenset({Right.WRITE, Right.READ}),
        run=_save_flow,
        destroys=True,
    ),
    Tool(
        name="run_flow",
        title="Run a flow",
        description="Start an execution and wait up to 60 seconds for its end. Its effects are real.",
        arguments=takes.RunFlowArguments,
        rights=_RUN,
        run=_run_flow,
        destroys=True,
        reaches_out=True,
    ),
    Tool(
        name="get_execution",
        title="Read an execution",
        description="Return the state of an execution, why and where it failed, what it waits for, and its steps.",
        arguments=takes.GetExecutionArguments,
        rights=_READ,
        run=_get_execution,
        reads_only=True,
        most=MOST_BYTES_IN_FULL,
    ),
    Tool(
        name="get_execution_logs",
        title="Read the log of an execution",
        description="Return lines of the log of an execution, in their order.",
        arguments=takes.GetExecutionLogsArguments,
        rights=_READ,
        run=_get_execution_logs,
        reads_only=True,
    ),
    Tool(
        name="get_step_params",
        title="Read the parameters of a step",
        description="Return what a step was given after its expressions were evaluated, such as the URL and the body of"
        " a request, and the expressions that failed. Secrets are named, and nothing runs.",
        arguments=takes.GetStepParamsArguments,
        rights=_READ,
        run=_get_step_params,
        reads_only=True,
    ),
    Tool(
        name="cancel_execution",
        title="Cancel an execution",
        description="Cancel an execution that has not ended.",
        arguments=takes.CancelExecutionArguments,
        rights=_RUN,
        run=_cancel_execution,
        destroys=True,
        repeats=True,
    ),
    Tool(
        name="rerun",
        title="Run an execution again",
        description="Start a new execution that repeats one with the present definition of its flow: whole, with"
        " another input, or from one of its nodes on. Its effects are real.",
        arguments=takes.RerunArguments,
        rights=_READ | _RUN,
        run=_rerun,
        destroys=True,
        reaches_out=True,
    ),
    Tool(
        name="test_node",
        title="Test a node",
        description="Run one attempt of one node of a definition with the given values, and return its evaluated"
        " parameters and its result or error. Its effects are real: a request is sent.",
        arguments=takes.TestNodeArguments,
        rights=frozenset({Right.WRITE, Right.RUN}),
        run=_test_node,
        destroys=True,
        reaches_out=True,
    ),
    Tool(
        name="search_docs",
        title="Search the documentation",
        description="Return the sections of FlowRunner's documentation that fit some words best.",
        arguments=takes.SearchDocsArguments,
        rights=_READ,
        run=_search_docs,
        reads_only=True,
    ),
)
TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in _TOOLS}
