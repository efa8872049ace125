"""Executions that a node of another execution starts."""

import hashlib
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.errors import (
    Conflict,
    InvalidFlow,
    InvalidInput,
    LimitReached,
    NotFound,
    RedactionLimit,
    TooManyRequests,
)
from flowrunner.domain.values import JSON, FlowId
from flowrunner.plugin import NodeFailure, SubFlow
from flowrunner.ports import FlowStore, ParentStep
from flowrunner.services.executions import Executions, Origin, StartedExecution

# The longest chain of executions that wait for each other, and how often one flow may be in it.
MAX_DEPTH: Final = 20
MAX_RECURSION: Final = 5


class SubFlowExecutions:
    """Implements `ports.SubFlowStarter`."""

    def __init__(self, executions: Executions, flows: FlowStore) -> None:
        self._executions = executions
        self._flows = flows

    async def start(
        self, parent: ParentStep, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool
    ) -> SubFlow:
        try:
            return await self._start(parent, flow, version=version, input=input, wait=wait)
        except NodeFailure:
            # After a crash the step repeats its request; the flow may have been renamed or changed since the first.
            before = await self._executions.accepted_before(parent.workspace_id, _key(parent), None)
            if before is None:
                raise
            return SubFlow(before.id, before.flow_id)

    async def _start(
        self, parent: ParentStep, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool
    ) -> SubFlow:
        flow_id = await self._called(parent, flow)
        self._check_depth(parent, flow_id)
        try:
            accepted = await self._accept(parent, flow_id, version, input, wait=wait)
        except NotFound:
            raise NodeFailure("flow.not_found", f"The flow '{flow}' has no version {version}") from None
        except InvalidFlow as error:
            raise NodeFailure("flow.invalid", f"The flow '{flow}' can no longer be read: {error}") from None
        except InvalidInput as error:
            raise NodeFailure("input.invalid", f"The input of the flow '{flow}' is invalid: {error}") from None
        except RedactionLimit as error:
            raise NodeFailure("limit.redaction", str(error)) from None
        except LimitReached as error:
            raise NodeFailure(f"limit.{error.limit}", str(error)) from None
        except TooManyRequests as error:
            seconds = error.retry_after.total_seconds()
            raise NodeFailure(f"limit.{error.limit}", str(error), retry_after=seconds) from None
        except Conflict as error:
            raise NodeFailure("limit.concurrency", str(error)) from None
        # A start repeated after a crash may return the execution of the flow that had the name before.
        return SubFlow(accepted.id, accepted.flow_id)

    async def _called(self, parent: ParentStep, flow: str) -> FlowId:
        called = await self._flows.called(parent.workspace_id, flow)
        if not called:
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}'")
        if len(called) > 1:
            raise NodeFailure("flow.ambiguous", f"Several flows are called '{flow}': write the id of the flow to call")
        return called[0]

    async def _accept(
        self, parent: ParentStep, flow_id: FlowId, version: str | int | None, input: Mapping[str, JSON], *, wait: bool
    ) -> StartedExecution:
        revision_id = None
        if version is not None:
            revision_id = await self._flows.revision_named(parent.workspace_id, flow_id, version)
        origin = Origin(
            workspace_id=parent.workspace_id,
            parent_id=parent.execution_id if wait else None,
            started_for={
                "execution_id": parent.execution_id,
                "step": parent.step,
                "failures": parent.failures,
                "flows": list(parent.flows),
            },
        )
        return await self._executions.accept(
            origin, flow_id, dict(input), revision_id=revision_id, idempotency_key=_key(parent)
        )

    def _check_depth(self, parent: ParentStep, flow_id: FlowId) -> None:
        if len(parent.flows) >= MAX_DEPTH:
            raise NodeFailure("flow.too_deep", f"Flows call each other more than {MAX_DEPTH} deep")
        if parent.flows.count(flow_id) >= MAX_RECURSION:
            message = f"The flow {flow_id} calls itself more than {MAX_RECURSION} deep, by itself or through others"
            raise NodeFailure("flow.recursion", message)


def _key(parent: ParentStep) -> str:
    """Return the idempotency key of a step's sub-flow: after a crash the step finds the execution that it started."""
    # The blank separates it from the keys of clients. PostgreSQL accepts keys up to about 2,700 bytes, and the name of
    # a deeply nested step may be longer, so it is hashed.
    step = hashlib.sha256(parent.step.encode()).hexdigest()
    return f"{parent.execution_id} {step} {parent.failures}"
