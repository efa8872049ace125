"""Executions: started, watched, cancelled, and forgotten in time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import (
    Conflict,
    InvalidFlow,
    InvalidInput,
    LimitReached,
    NotFound,
    TooManyRequests,
    invalid,
)
from flowrunner.domain.events import Event
from flowrunner.domain.execution import Status
from flowrunner.domain.explain import FOR_ROOM
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import Limits
from flowrunner.domain.values import JSON, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports import (
    Clock,
    CompiledFlows,
    ConcurrencyLimitReached,
    Dispatcher,
    DuplicateRequest,
    ExecutionDetail,
    ExecutionReader,
    ExecutionView,
    FlowStore,
    LogLine,
    NewExecution,
    Page,
    Sandbox,
    UsageReader,
)
from flowrunner.services.admission import InputForms, concurrency_slot_of
from flowrunner.services.ids import new_id
from flowrunner.services.usage import StoredBytes

# A line may have 64 KiB: more of them are read and sent one portion after the other.
_LINES_AT_ONCE: Final = 50
_PURGE_BATCH: Final = 200
_PURGE_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedExecution:
    """An execution that now exists.

    Attributes:
        is_repeat: It did before, by the same idempotency key.
        revision: Number of the flow's revision that it runs, where that was looked up.
    """

    id: ExecutionId
    flow_id: FlowId
    status: Status
    created_at: datetime
    is_repeat: bool = False
    revision: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who or what an execution is started for.

    Attributes:
        by: The account of a caller; None for what starts by itself.
        caller: For the audit log; what starts by itself is told by what it belongs to.
        parent_id: The execution that waits for its end.
        started_for: The step of another execution: `{execution_id, step, failures, flows}`.
    """

    workspace_id: WorkspaceId
    by: WorkspaceId | None = None
    caller: Caller | None = None
    parent_id: ExecutionId | None = None
    started_for: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What a new execution keeps of one before it: see `domain.rerun`.

    Attributes:
        asked: The request in full, to tell a repeat of it from another one with its idempotency key.
        keys_of: The execution whose idempotency keys its steps send, if those are not its own.
    """

    of: ExecutionId
    from_step: str | None
    prefix: Sequence[tuple[Event, datetime]]
    asked: JSON
    keys_of: ExecutionId | None = None


class Executions:
    def __init__(
        self,
        reader: ExecutionReader,
        flows: FlowStore,
        library: CompiledFlows,
        dispatcher: Dispatcher,
        *,
        usage: UsageReader,
        limits: Limits,
        sandbox: Sandbox,
        schemas: SchemaEngine,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._flows = flows
        self._library = library
        self._dispatcher = dispatcher
        self._sandbox = sandbox
        self._inputs = InputForms(schemas)
        self._limits = limits
        self._usage = usage
        self._stored = StoredBytes(usage, limits, clock)
        self._clock = clock

    async def run(
        self, caller: Caller, flow_id: FlowId, input: Mapping[str, JSON], *, idempotency_key: str | None = None
    ) -> StartedExecution:
        """Start an execution; it exists for good when this returns.

        Raises:
            NotFound.
            InvalidInput: If the input is not what the flow asks for, or the key was used for another request.
            Conflict: If too many executions of the flow are under way, or the account keeps as much as it
                may (LimitReached).
            TooManyRequests: If it would have to wait, as many of the account do as may.
            Unavailable.
        """
        origin = Origin(workspace_id=caller.workspace_id, by=caller.workspace_id, caller=caller)
        return await self.accept(origin, flow_id, input, idempotency_key=idempotency_key)

    async def accept(
        self,
        origin: Origin,
        flow_id: FlowId,
        input: Mapping[str, JSON],
        *,
        revision_id: RevisionId | None = None,
        idempotency_key: str | None = None,
        repetition: Repetition | None = None,
    ) -> StartedExecution:
        """Start an execution of the flow's present revision, or of another one. Raises: as `run`."""
        digest = None
        # A step that a crash cut off asks again for what it has started, whatever its input comes to by now.
        if idempotency_key is not None and origin.caller is not None:
            digest = digest_of([flow_id, input] if repetition is None else repetition.asked)
        try:
            current = await self._flows.current(origin.workspace_id, flow_id)
            revision_id = current.revision_id if revision_id is None else revision_id
            flow = await self._library.get(origin.workspace_id, revision_id)
            checked = await self._inputs.check(origin.workspace_id, revision_id, flow, input)
            slot = await concurrency_slot_of(
                flow, origin.workspace_id, flow_id, checked, name=current.name, sandbox=self._sandbox
            )
            await self._stored.check(origin.workspace_id)
        except (NotFound, InvalidFlow, InvalidInput, LimitReached):
            # A request that was accepted keeps its answer, whatever has become of the flow.
            before = await self.accepted_before(origin.workspace_id, idempotency_key, digest)
            if before is None:
                raise
            return before
        now = self._clock.now()
        id = ExecutionId(new_id("exec", now))
        new = NewExecution(
            id=id,
            workspace_id=origin.workspace_id,
            flow_id=flow_id,
            revision_id=revision_id,
            started_at=now,
            idempotency_key=idempotency_key,
            request_digest=digest,
            by=origin.by,
            parent_id=origin.parent_id,
            started_for=origin.started_for,
            flow_name=current.name,
            slot=slot,
            rerun_of=None if repetition is None else repetition.of,
            rerun_from=None if repetition is None else repetition.from_step,
            keys_of=None if repetition is None else repetition.keys_of,
            prefix=() if repetition is None else repetition.prefix,
            audit=None if origin.caller is None else _start_of(id, flow_id, origin.caller, repetition, at=now),
        )
        try:
            status = await self._start(new, flow, checked)
        except DuplicateRequest as repeat:
            return await self._repeat(origin.workspace_id, repeat.execution_id, repeat.request_digest, asked=digest)
        except TooManyRequests:
            before = await self.accepted_before(origin.workspace_id, idempotency_key, digest)
            if before is None:
                raise
            return before
        return StartedExecution(id=new.id, flow_id=flow_id, status=status, created_at=now)

    async def accepted_before(
        self, workspace_id: WorkspaceId, idempotency_key: str | None, digest: str | None
    ) -> StartedExecution | None:
        """What was accepted under the key; None if it is free. Raises: InvalidInput if that was another request."""
        if idempotency_key is None:
            return None
        before = await self._reader.request(workspace_id, idempotency_key)
        return None if before is None else await self._repeat(workspace_id, *before, asked=digest)

    async def _start(self, new: NewExecution, flow: Flow, input: Mapping[str, JSON]) -> Status:
        try:
            await self._dispatcher.start(new, flow, input)
            return Status.RUNNING
        except ConcurrencyLimitReached:
            limit, slot = flow.limits.concurrency, new.slot
            assert limit is not None, "turns are taken of flows with a limit"
            assert slot is not None, "turns are taken of flows with a limit"
        if limit.on_limit == "reject":
            raise Conflict(f"As many executions of this flow are under way as may be: {limit.most}")
        if self._limits.queued is not None:
            self._limits.check_queued(await self._usage.queued(new.workspace_id))
        try:
            await self._dispatcher.start(replace(new, slot=replace(slot, is_queued=True)), flow, input)
        finally:
            # What is said to have failed may be there, and a place may have become free since it was asked for.
            if limit.on_limit == "replace":
                self._dispatcher.replace(new.id)
            self._dispatcher.release_slot(slot.key)
        return Status.RUNNING

    async def _repeat(
        self, workspace_id: WorkspaceId, id: ExecutionId, digest: str | None, *, asked: str | None
    ) -> StartedExecution:
        if digest != asked:
            raise key_was_reused()
        before = await self._reader.get(workspace_id, id)
        return StartedExecution(
            id=before.id, flow_id=before.flow_id, status=before.status, created_at=before.started_at, is_repeat=True
        )

    async def get(self, caller: Caller, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        found = await self._reader.get(caller.workspace_id, id)
        is_queued = not found.status.is_final and self._dispatcher.waits_to_become_active(id)
        return replace(found, waiting_for=FOR_ROOM) if is_queued else found

    async def page(
        self, caller: Caller, *, flow_id: FlowId | None, statuses: Sequence[Status], page: Page
    ) -> tuple[Sequence[ExecutionView], int]:
        return await self._reader.page(caller.workspace_id, flow_id=flow_id, statuses=statuses, page=page)

    async def logs(
        self, caller: Caller, id: ExecutionId, *, level: str | None, page: Page
    ) -> tuple[AsyncIterator[Sequence[LogLine]], int]:
        """Return the lines of a page in portions, which are read as they are taken, and the total. Raises: NotFound."""
        portion = replace(page, limit=min(page.limit, _LINES_AT_ONCE))
        first, total = await self._reader.logs(caller.workspace_id, id, level=level, page=portion)
        return self._portions(first, id, level=level, limit=page.limit), total

    async def _portions(
        self, lines: Sequence[LogLine], id: ExecutionId, *, level: str | None, limit: int
    ) -> AsyncIterator[Sequence[LogLine]]:
        while lines:
            yield lines
            limit -= len(lines)
            if limit == 0 or len(lines) < _LINES_AT_ONCE:
                return
            lines = await self._reader.logs_after(
                id, level=level, after=lines[-1].seq, limit=min(limit, _LINES_AT_ONCE)
            )

    async def cancel(self, caller: Caller, id: ExecutionId, *, force: bool = False) -> None:
        """Cancel an execution; done when its flow has ended. One that was cancelled before stays as it is.

        Args:
            force: The handlers of its end do not run, or no further.

        Raises: NotFound; Conflict if it had ended before, or its flow had ended otherwise.
        """
        found = await self._reader.get(caller.workspace_id, id)
        if found.status.is_final:
            raise Conflict(f"The execution has already ended: it is {found.status.value}")
        details: dict[str, JSON] = {"force": True} if force else {}
        entry = act(caller, "execution.cancelled", "execution", id, at=self._clock.now(), details=details)
        await self._dispatcher.cancel(id, reason="cancelled by a user", audit=entry, force=force)

    async def cancel_all(self, workspace_id: WorkspaceId) -> None:
        """Cancel whatever the account has under way."""
        page = Page(limit=_PURGE_BATCH, offset=0)
        while True:
            open_ones, _ = await self._reader.page(
                workspace_id, flow_id=None, statuses=(Status.RUNNING, Status.WAITING), page=page
            )
            if not open_ones:
                return
            for execution in open_ones:
                try:
                    # Nothing of a deleted account begins any more, and so no handler does.
                    await self._dispatcher.cancel(execution.id, reason="the account was deleted", force=True)
                except Conflict:
                    continue

    async def purge(self, *, older_than: timedelta) -> int:
        """Delete what ended longer ago than that, a little at a time; gives how many were."""
        before = self._clock.now() - older_than
        total, has_more = 0, True
        while has_more:
            purged, has_more = await self._reader.purge(ended_before=before, limit=_PURGE_BATCH)
            total += purged
            # Executions under way go first.
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)
        has_more = True
        while has_more:
            has_more = await self._reader.give_space_back()
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)
        return total


def key_was_reused() -> InvalidInput:
    return invalid("Idempotency-Key", "was used before, with another request", code="reused", hint="take another key")


def digest_of(asked: JSON) -> str:
    """What a request is compared by with another one of the same idempotency key."""
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def _start_of(
    id: ExecutionId, flow_id: FlowId, caller: Caller, repetition: Repetition | None, *, at: datetime
) -> AuditEntry:
    details: dict[str, JSON] = {"flow_id": flow_id}
    if repetition is not None:
        details["rerun_of"] = repetition.of
    action = "execution.started" if repetition is None else "execution.rerun"
    return act(caller, action, "execution", id, at=at, details=details)
