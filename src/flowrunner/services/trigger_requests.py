"""Requests to start the flows of triggers that fire by themselves."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.causes import StartCause
from flowrunner.domain.errors import NotFound
from flowrunner.domain.values import JSON
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.triggers import TriggerFire, TriggerView
from flowrunner.services.executions import Executions, StartRequest
from flowrunner.services.trigger_values import input_of, labels_of

UNREADABLE: Final = "What is stored of the trigger cannot be read: save its flow again, with a change"


async def request_of(
    trigger: TriggerView,
    values: Mapping[str, JSON],
    *,
    cause: StartCause,
    idempotency_key: str,
    fire: TriggerFire | None,
    library: CompiledFlows,
    executions: Executions,
    sandbox: Sandbox,
) -> StartRequest:
    """Return the request to start the flow of a trigger.

    Args:
        values: As of `input_of`.

    Raises: NotFound, InvalidFlow, InvalidInput, Unavailable.
    """
    flow = await library.get(trigger.workspace_id, trigger.revision_id)
    written = flow.triggers.get(trigger.name)
    if written is None:
        raise NotFound("trigger")
    workspace_id = trigger.workspace_id
    config = await executions.config_of(flow, workspace_id)
    return StartRequest(
        workspace_id=workspace_id,
        flow_id=trigger.flow_id,
        revision_id=trigger.revision_id,
        input=await input_of(written, flow, values, config=config, workspace_id=workspace_id, sandbox=sandbox),
        labels=await labels_of(written, flow, values, config=config, workspace_id=workspace_id, sandbox=sandbox),
        cause=cause,
        idempotency_key=idempotency_key,
        fire=fire,
        config=config,
    )
