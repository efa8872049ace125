"""Executions that a node of another execution starts."""

import hashlib
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.causes import ChildOf
from flowrunner.domain.errors import (
    Conflict,
    FlowDisabled,
    InvalidFlow,
    InvalidInput,
    LimitReached,
    NotFound,
    RedactionLimit,
    TooManyRequests,
)
from flowrunner.domain.values import JSON, FlowId, RevisionId, WorkspaceId
from flowrunner.plugin import NodeFailure, SubFlow
from flowrunner.ports.flows import FlowStore
from flowrunner.services.executions import Executions, StartedExecution, StartRequest

# The longest chain of executions of which each has started the next, and how often one flow may be in it.
MAX_DEPTH: Final = 20
MAX_RECURSION: Final = 5


class SubFlowExecutions:
    """Implements `ports.SubFlowStarter`."""

    def __init__(self, executions: Executions, flows: FlowStore) -> None:
        self._executions = executions
        self._flows = flows

    async def revision(self, workspace_id: WorkspaceId, flow: str, *, version: str | int | None) -> RevisionId:
        flow_id = await self._called(workspace_id, flow)
        try:
            if version is not None:
                return await self._flows.revision_named(workspace_id, flow_id, version)
            return (await self._flows.current(workspace_id, flow_id)).revision_id
        except NotFound:
            raise NodeFailure("flow.not_found", f"The flow '{flow}' has no version {version}") from None

    async def start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        dedupe: str | None = None,
    ) -> SubFlow:
        try:
            return await self._start(workspace_id, cause, flow, version=version, input=input, dedupe=dedupe)
        except NodeFailure:
            if dedupe is not None:
                raise
            # After a crash the step repeats its request; the flow may have been renamed or changed since the first.
            before = await self._executions.accepted_before(workspace_id, _key(cause), None)
            if before is None:
                raise
            return SubFlow(before.id, before.flow_id)

    async def _start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        dedupe: str | None,
    ) -> SubFlow:
        flow_id = await self._called(workspace_id, flow)
        key = _key(cause)
        if dedupe is not None:
            key = key_of(flow_id, dedupe)
            # A repeat is usual: a read finds it, as in `Executions.accept`, and whatever the flow has become. Only the
            # key is read: the input and the result of the execution may have megabytes.
            before = await self._executions.started_by_key(workspace_id, key)
            if before is not None:
                return SubFlow(before, flow_id, is_repeat=True)
        check_depth(cause, flow_id, flow)
        try:
            accepted = await self._accept(workspace_id, cause, flow_id, version, input, key=key)
        except NotFound:
            # Raises Unavailable if the whole workspace was deleted.
            await self._flows.called(workspace_id, flow)
            raise NodeFailure("flow.not_found", f"The flow '{flow}' has no version {version}") from None
        except InvalidFlow as error:
            raise NodeFailure("flow.invalid", f"The flow '{flow}' can no longer be read: {error}") from None
        except InvalidInput as error:
            raise NodeFailure("input.invalid", f"The input of the flow '{flow}' is invalid: {error}") from None
        except FlowDisabled as error:
            raise NodeFailure("flow.disabled", str(error)) from None
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
        return SubFlow(accepted.id, accepted.flow_id, is_repeat=dedupe is not None and accepted.is_repeat)

    async def _called(self, workspace_id: WorkspaceId, flow: str) -> FlowId:
        called = await self._flows.called(workspace_id, flow)
        if not called:
            raise NodeFailure("flow.not_found", f"There is no flow '{flow}'")
        if len(called) > 1:
            raise NodeFailure("flow.ambiguous", f"Several flows are called '{flow}': write the id of the flow to call")
        return called[0]

    async def _accept(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow_id: FlowId,
        version: str | int | None,
        input: Mapping[str, JSON],
        *,
        key: str,
    ) -> StartedExecution:
        revision_id = None
        if version is not None:
            revision_id = await self._flows.revision_named(workspace_id, flow_id, version)
        return await self._executions.accept(
            StartRequest(
                workspace_id=workspace_id,
                flow_id=flow_id,
                input=dict(input),
                cause=cause,
                revision_id=revision_id,
                idempotency_key=key,
            )
        )


def check_depth(cause: ChildOf, flow_id: FlowId, name: str) -> None:
    """Raises: NodeFailure if a step may not start another flow below those that its execution is already below.

    Args:
        name: The flow as the node names it.
    """
    if len(cause.flows) >= MAX_DEPTH:
        raise NodeFailure("flow.too_deep", f"Flows call each other more than {MAX_DEPTH} deep")
    if cause.flows.count(flow_id) >= MAX_RECURSION:
        message = f"The flow '{name}' calls itself more than {MAX_RECURSION} deep, directly or through other flows"
        raise NodeFailure("flow.recursion", message)


def key_of(flow_id: FlowId, dedupe: str) -> str:
    """Return the idempotency key of a start with ``dedupe``. Hashed, and with a blank, for the reasons of `_key`."""
    return f"{flow_id} {hashlib.sha256(dedupe.encode()).hexdigest()}"


def _key(cause: ChildOf) -> str:
    """Return the idempotency key of a step's sub-flow: after a crash the step finds the execution that it started."""
    # The blank separates it from the keys of clients. PostgreSQL accepts keys up to about 2,700 bytes, and the name of
    # a deeply nested step may be longer, so it is hashed.
    step = hashlib.sha256(cause.step.encode()).hexdigest()
    return f"{cause.execution_id} {step} {cause.failures}"
