"""Flows as tools: those of the caller's workspace whose documents ask for it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flowrunner.api.http.state import services_of
from flowrunner.api.mcp.brevity import plain, shortened
from flowrunner.api.mcp.calls import AgentCall
from flowrunner.api.mcp.errors import ToolError
from flowrunner.api.mcp.tools import started
from flowrunner.domain.account import Right
from flowrunner.domain.flow_tools import PREFIX, PublishedFlow
from flowrunner.stored_json import StoredJson

_MOST_OF_TITLE: Final = 100
_MOST_OF_DESCRIPTION: Final = 500
_WAIT_SECONDS: Final = 30
_RIGHTS: Final = frozenset({Right.RUN})


async def published(call: AgentCall) -> Sequence[PublishedFlow]:
    """Return the flows that the caller can call."""
    return await services_of(call.request).flows.tools(call.caller) if call.caller.rights >= _RIGHTS else ()


def is_published(name: str) -> bool:
    """Return whether a tool of this name could be a flow."""
    return name.startswith(PREFIX)


def title_of(flow: PublishedFlow) -> str:
    return plain(flow.name, _MOST_OF_TITLE)


def description_of(flow: PublishedFlow) -> str:
    said = plain(flow.description, _MOST_OF_DESCRIPTION)
    return (
        f"{said or title_of(flow)} (This runs a flow of the workspace, and waits up to {_WAIT_SECONDS} s for its end.)"
    )


_INPUTS: Final = StoredJson[dict[str, Any]](dict[str, Any], column="flows.tool_inputs")


def schema_of(flow: PublishedFlow) -> dict[str, Any] | None:
    """Return the schema of the inputs; None if it cannot be read, until the flow is saved again."""
    return _INPUTS.read(flow.tool.inputs, id=flow.id)


async def run(call: AgentCall, name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Run the flow that has a name as a tool. Raises: ToolError; as `AgentCall.admit`."""
    found = next(
        (flow for flow in await services_of(call.request).flows.tools(call.caller) if flow.tool.name == name), None
    )
    # A caller who may not run flows does not learn which exist.
    await call.admit("tool", "flow", _RIGHTS, {} if found is None else {"flow_id": found.id})
    if found is None:
        raise ToolError("not_found", "No flow of this workspace is a tool of this name", "list the tools")
    result = await started(call, "flows", found.id, "run", body={"input": dict(arguments)}, wait=_WAIT_SECONDS)
    shown: Mapping[str, Any] = await asyncio.to_thread(shortened, result)
    return shown
