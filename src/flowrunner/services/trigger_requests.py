"""Requests to start the flows of triggers that fire by themselves."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.causes import StartCause
from flowrunner.domain.errors import NotFound
from flowrunner.domain.flow import Flow
from flowrunner.domain.triggers import Trigger
from flowrunner.domain.values import JSON
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.triggers import TriggerFire, TriggerView
from flowrunner.services.executions import Executions, StartRequest
from flowrunner.services.trigger_values import FiredTrigger

UNREADABLE: Final = "What is stored of the trigger cannot be read: save its flow again, with a change"


class TriggerRequests:
    """The maker of these requests."""

    def __init__(self, library: CompiledFlows, executions: Executions, sandbox: Sandbox) -> None:
        self._library = library
        self._executions = executions
        self._sandbox = sandbox

    async def make(
        self,
        trigger: TriggerView,
        values: Mapping[str, JSON],
        *,
        cause: StartCause,
        idempotency_key: str,
        fire: TriggerFire | None,
    ) -> StartRequest:
        """Return the request to start the flow of a trigger.

        Args:
            values: As of `FiredTrigger`.

        Raises: NotFound, InvalidFlow, InvalidInput, Unavailable.
        """
        flow, written = await self._written(trigger)
        if written is None:
            raise NotFound("trigger")
        workspace_id = trigger.workspace_id
        config = await self._executions.config_of(flow, workspace_id)
        fired = FiredTrigger(
            trigger=written,
            flow=flow,
            values=values,
            config=config,
            workspace_id=workspace_id,
            sandbox=self._sandbox,
        )
        return StartRequest(
            workspace_id=workspace_id,
            flow_id=trigger.flow_id,
            revision_id=trigger.revision_id,
            input=await fired.input(),
            labels=await fired.labels(),
            cause=cause,
            idempotency_key=idempotency_key,
            fire=fire,
            config=config,
        )

    async def reads_last(self, trigger: TriggerView) -> bool:
        """Return whether a schedule reads `trigger.last`. Raises: NotFound, InvalidFlow, Unavailable."""
        _, written = await self._written(trigger)
        return written is not None and written.reads_last

    async def _written(self, trigger: TriggerView) -> tuple[Flow, Trigger | None]:
        """Return the flow of a trigger, and the trigger as the flow's document has it."""
        flow = await self._library.get(trigger.workspace_id, trigger.revision_id)
        return flow, flow.triggers.get(trigger.name)
