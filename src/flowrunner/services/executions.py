"""Executions: start, read and cancel."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Final

import structlog

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.causes import ChildOf, Requested, Rerun, StartCause
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import (
    Conflict,
    FlowDisabled,
    QueueFull,
    StartsPaused,
    TooManyRequests,
    Unavailable,
    invalid,
    quoted,
)
from flowrunner.domain.events import Event
from flowrunner.domain.explain import FOR_ROOM, ROOM
from flowrunner.domain.flow import Flow, OnLimit
from flowrunner.domain.labels import NO_LABELS, checked_labels
from flowrunner.domain.request_keys import key_was_reused, stored_form
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ids import first_id, new_id, time_of
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.clock import Clock
from flowrunner.ports.concurrency import ConcurrencyLimitReached, ConcurrencyLimits, ConcurrencySlot
from flowrunner.ports.config import ConfigReader
from flowrunner.ports.dispatch import Dispatcher
from flowrunner.ports.executions import (
    ExecutionDetail,
    ExecutionFilter,
    ExecutionReader,
    ExecutionView,
    ListedLines,
    LogFilter,
    LogLine,
)
from flowrunner.ports.flows import CompiledFlows, CurrentFlow, FlowStore
from flowrunner.ports.journal import DuplicateRequest, NewExecution
from flowrunner.ports.page import Listed, Page
from flowrunner.ports.sandbox import Sandbox
from flowrunner.ports.triggers import TriggerFire
from flowrunner.retrying import retry, rising
from flowrunner.services.admission import InputForms, concurrency_slot_of
from flowrunner.services.readmission import readmit
from flowrunner.services.request_keys import digest_of_request
from flowrunner.services.start_slots import StartSlots
from flowrunner.services.usage import UsageLimits
from flowrunner.tasks import all_ended, cancel_all

# A line may have 64 KiB: longer pages are read and sent in portions.
LINES_AT_ONCE: Final = 50
# Together, because each waits for the turns of what runs.
_CANCELLED_AT_ONCE: Final = 20
_OUTAGE_DELAY: Final = rising(1.0, 5.0, 30.0)

logger = structlog.get_logger()


@static_dataclass(frozen=True, slots=True, kw_only=True)
class StartedExecution:
    """The execution that a request started, or had started before.

    Attributes:
        is_repeat: An earlier request with the same idempotency key started it.
        revision: Number of the flow's revision that it runs, if it was looked up.
    """

    id: ExecutionId
    flow_id: FlowId
    status: Status
    created_at: datetime
    is_repeat: bool = False
    revision: int | None = None

    @classmethod
    def of(cls, found: ExecutionDetail, *, is_repeat: bool) -> "StartedExecution":
        """Return an execution that is there already."""
        return cls(
            id=found.id, flow_id=found.flow_id, status=found.status, created_at=found.started_at, is_repeat=is_repeat
        )


@static_dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """A request to start an execution, whatever the cause.

    Attributes:
        caller: The caller to name in the audit log; None if no account asks at this moment.
        revision_id: The revision to run; None for the flow's current one.
        idempotency_key: A second request with this key returns the execution that the first one started.
        sent_key: The key as a client sent it, which earlier versions have stored instead.
        is_new: No earlier request has used the key, so that it is not looked up.
        digest: Digest of the request, to tell its repeat from another request with the same key. None if all requests
            with the key are equal: after a crash a step repeats its request, possibly with another input.
        labels: Labels that were checked.
        kept: Events that a rerun keeps of another execution.
        fire: The change of the trigger that starts it, in the same transaction.
        current: What was just read of the flow; None to read it now.
        config: The configuration values of the flow, which its trigger has just read; None to read them now.
        overlap: What happens while an execution with the same trigger is open; a limit of the flow's own comes first.
        id: The id of the new execution, for a caller that subscribes to it before it starts.
    """

    workspace_id: WorkspaceId
    flow_id: FlowId
    input: Mapping[str, JSON]
    cause: StartCause
    caller: Caller | None = None
    revision_id: RevisionId | None = None
    idempotency_key: str | None = None
    sent_key: str | None = None
    is_new: bool = False
    digest: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    kept: Sequence[tuple[Event, datetime]] = ()
    fire: TriggerFire | None = None
    current: CurrentFlow | None = None
    config: Mapping[str, JSON] | None = None
    overlap: OnLimit | None = None
    id: ExecutionId | None = None


class Executions:
    def __init__(
        self,
        reader: ExecutionReader,
        flows: FlowStore,
        library: CompiledFlows,
        dispatcher: Dispatcher,
        *,
        concurrency: ConcurrencyLimits,
        usage: UsageLimits,
        config: ConfigReader,
        sandbox: Sandbox,
        schemas: SchemaEngine,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._flows = flows
        self._library = library
        self._dispatcher = dispatcher
        self._concurrency = concurrency
        self._config = config
        self._sandbox = sandbox
        self._inputs = InputForms(schemas)
        self._usage = usage
        self._slots = StartSlots()
        self._clock = clock
        self._cancelling: set[asyncio.Task[None]] = set()

    async def run(
        self,
        caller: Caller,
        flow_id: FlowId,
        input: Mapping[str, JSON],
        *,
        labels: Mapping[str, str] = NO_LABELS,
        idempotency_key: str | None = None,
        id: ExecutionId | None = None,
    ) -> StartedExecution:
        """Start an execution; it is durable when this returns.

        Args:
            labels: Names and values that lists select executions by.
            id: A new id of `new_execution_id`, if the caller needs it before.

        Raises:
            NotFound.
            InvalidInput: If the input does not match the flow's schemas, a label is invalid, or the key was used for
                another request.
            Conflict: If the flow is disabled, its concurrency limit is reached, or the workspace's storage limit
                (LimitReached).
            TooManyRequests: If the execution would be queued, and the workspace's queue is full.
            Unavailable, also as QueueFull if too many starts of the workspace wait.
        """
        asked = StartRequest(
            workspace_id=caller.workspace_id,
            flow_id=flow_id,
            input=input,
            cause=Requested(by=caller.account_id),
            caller=caller,
            labels=checked_labels(labels),
            idempotency_key=None if idempotency_key is None else stored_form(idempotency_key),
            sent_key=idempotency_key,
            digest=None
            if idempotency_key is None
            else digest_of_request([flow_id, input, *([labels] if labels else [])]),
            id=id,
        )
        await self._slots.take(caller.workspace_id, caller.account_id)
        try:
            await readmit()
            return await self.accept(asked)
        finally:
            self._slots.give_back(caller.workspace_id)

    def full(self, workspace_id: WorkspaceId, account_id: AccountId, *, more: int) -> QueueFull | None:
        """Return the error that `run` raises because too many starts wait, ``more`` included; None if it does not."""
        return self._slots.full(workspace_id, account_id, more=more)

    def new_execution_id(self) -> ExecutionId:
        return ExecutionId(new_id("exec", self._clock.now()))

    async def accept(self, asked: StartRequest) -> StartedExecution:
        """Start an execution. Raises: as `run`."""
        workspace_id, flow_id, revision_id = asked.workspace_id, asked.flow_id, asked.revision_id
        # The repeat of an accepted request gets the same answer, even if the flow has changed. A read finds it, because
        # a commit that finds it is done again for everything that shares it. A step looks only after it has failed to
        # start an execution: it repeats its request only after a crash.
        if not asked.is_new and not isinstance(asked.cause, ChildOf):
            before = await self._before(asked)
            if before is not None:
                return before
        current = asked.current or await self._flows.current(workspace_id, flow_id)
        if current.is_disabled:
            raise FlowDisabled(current.name)
        # Open executions go on during a pause, with what their steps start.
        if current.is_paused and not isinstance(asked.cause, ChildOf):
            raise StartsPaused
        revision_id = current.revision_id if revision_id is None else revision_id
        flow = await self._library.get(workspace_id, revision_id)
        checked = await self._inputs.check(workspace_id, revision_id, flow, asked.input)
        config = asked.config
        if config is None:
            config = await self.config_of(flow, workspace_id)
        slot, on_limit = await self._slot_of(asked, flow, checked, name=current.name, config=config)
        await self._usage.check_stored(workspace_id)
        if asked.caller is not None:
            # Its turn, the check of a long input and the key of a limit may have taken long.
            await readmit()
        # Lists find executions by the time in their ids, which is therefore that of the start.
        id = asked.id or self.new_execution_id()
        now = time_of(id)
        new = NewExecution(
            id=id,
            workspace_id=workspace_id,
            flow_id=flow_id,
            revision_id=revision_id,
            started_at=now,
            cause=asked.cause,
            kept=asked.kept,
            idempotency_key=asked.idempotency_key,
            request_digest=asked.digest,
            flow_name=current.name,
            slot=slot,
            fire=asked.fire,
            labels=asked.labels,
            config=config,
            searchable=flow.searchable,
            job=None if asked.caller is None else asked.caller.job,
            audit=None if asked.caller is None else _start_of(id, flow_id, asked.caller, asked.cause, at=now),
        )
        try:
            await self._start(new, flow, checked, on_limit)
        except DuplicateRequest as repeat:
            return await self._repeat(workspace_id, repeat.execution_id, repeat.request_digest, asked=asked.digest)
        except (Conflict, TooManyRequests):
            # Another request with the key may have been accepted since, and be the one that reached the limit.
            before = await self._before(asked)
            if before is None:
                raise
            return before
        return StartedExecution(id=new.id, flow_id=flow_id, status=Status.RUNNING, created_at=now)

    async def _before(self, asked: StartRequest) -> StartedExecution | None:
        return await self.accepted_before(
            asked.workspace_id, asked.idempotency_key, asked.digest, earlier=asked.sent_key
        )

    async def _slot_of(
        self, asked: StartRequest, flow: Flow, input: Mapping[str, JSON], *, name: str, config: Mapping[str, JSON]
    ) -> tuple[ConcurrencySlot | None, OnLimit | None]:
        """Return the slot that an execution needs, and what happens if none is free; None without a limit."""
        slot = await concurrency_slot_of(
            flow, asked.workspace_id, asked.flow_id, input, name=name, config=config, sandbox=self._sandbox
        )
        if slot is None and asked.overlap is not None and asked.fire is not None:
            return ConcurrencySlot(asked.fire.trigger_id, 1), asked.overlap
        return slot, None if flow.limits.concurrency is None else flow.limits.concurrency.on_limit

    async def config_of(self, flow: Flow, workspace_id: WorkspaceId) -> Mapping[str, JSON]:
        """Return the configuration values that a flow names, of those that there are."""
        return await self._config.values(workspace_id, flow.config)

    async def accepted_before(
        self, workspace_id: WorkspaceId, idempotency_key: str | None, digest: str | None, *, earlier: str | None = None
    ) -> StartedExecution | None:
        """Return the execution that the key started, in this form or an ``earlier`` one; None if it is free.

        Raises: InvalidInput for another request.
        """
        if idempotency_key is None:
            return None
        before = await self._reader.request(workspace_id, idempotency_key, earlier)
        return None if before is None else await self._repeat(workspace_id, *before, asked=digest)

    async def started_by_key(self, workspace_id: WorkspaceId, idempotency_key: str) -> ExecutionId | None:
        """Return the execution that the key started; None if it is free. Nothing of the execution itself is read."""
        before = await self._reader.request(workspace_id, idempotency_key)
        return None if before is None else before[0]

    async def _start(self, new: NewExecution, flow: Flow, input: Mapping[str, JSON], on_limit: OnLimit | None) -> None:
        slot = new.slot
        if slot is None:
            await self._dispatcher.start(new, flow, input)
            return
        # As with the idempotency key, a read normally finds that the limit is reached.
        if await self._concurrency.has_free_slot(slot):
            # Another execution may have taken the slot since.
            with contextlib.suppress(ConcurrencyLimitReached):
                await self._dispatcher.start(new, flow, input)
                return
        if on_limit == "reject":
            running = counted(slot.most, "execution of this flow is", "executions of this flow are")
            raise Conflict(f"Concurrency limit reached: {running} already running")
        await self._usage.check_queued(new.workspace_id)
        try:
            await self._dispatcher.start(replace(new, slot=replace(slot, is_queued=True)), flow, input)
        finally:
            # A start that raised may have been stored, and a slot may have become free in the meantime.
            if on_limit == "replace":
                self._dispatcher.replace(new.id)
            self._dispatcher.release_slot(slot.key)

    async def _repeat(
        self, workspace_id: WorkspaceId, id: ExecutionId, digest: str | None, *, asked: str | None
    ) -> StartedExecution:
        if digest != asked:
            raise key_was_reused()
        return StartedExecution.of(await self._reader.get(workspace_id, id), is_repeat=True)

    async def get(self, caller: Caller, id: ExecutionId) -> ExecutionDetail:
        """Raises: NotFound."""
        found = await self._reader.get(caller.workspace_id, id)
        return replace(found, waiting_for=FOR_ROOM) if self._waits_for_room(found) else found

    def _waits_for_room(self, found: ExecutionView) -> bool:
        return not found.status.is_final and self._dispatcher.waits_to_become_active(found.id)

    async def page(
        self,
        caller: Caller,
        wanted: ExecutionFilter,
        page: Page,
        *,
        flow: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Listed[ExecutionView]:
        """Return a page of the executions that fit.

        Args:
            flow: The id or the name of a flow, whose executions alone are wanted.
            since: The start of the first ones.
            until: The moment before which all have started.

        Raises:
            InvalidInput: If several flows have the name, or ``flow`` is another one than that of the filter.
        """
        if since is not None:
            wanted = replace(wanted, first_id=first_id("exec", since))
        if until is not None:
            wanted = replace(wanted, end_id=first_id("exec", until))
        if wanted.is_unrepaired:
            wanted = replace(wanted, statuses=(Status.FAILED,))
        if flow is not None:
            wanted = replace(wanted, flow_id=await self._flow_called(caller.workspace_id, flow, wanted.flow_id))
        listed = await self._reader.page(caller.workspace_id, wanted, page)
        items = [replace(one, waiting_at=ROOM) if self._waits_for_room(one) else one for one in listed.items]
        return replace(listed, items=items)

    async def _flow_called(self, workspace_id: WorkspaceId, id_or_name: str, id: FlowId | None) -> FlowId:
        """Return the flow with the id or the name. A flow that was deleted has its id alone."""
        found = await self._flows.called(workspace_id, id_or_name)
        if len(found) > 1:
            raise invalid("flow", f"Several flows are called {quoted(id_or_name)}", hint="use flow_id")
        called = found[0] if found else FlowId(id_or_name)
        if id not in (None, called):
            raise invalid("flow", "is another flow than flow_id", hint="use one of the two")
        return called

    async def logs(
        self, caller: Caller, id: ExecutionId, wanted: LogFilter, page: Page
    ) -> tuple[AsyncIterator[Sequence[LogLine]], Listed[LogLine]]:
        """Return the lines of a page in portions, which are read on demand, and the page with the first portion.

        Raises:
            NotFound, also by a later portion if the execution is deleted meanwhile.
            InvalidInput: If the cursor is not one of the list.
        """
        most = min(page.limit, LINES_AT_ONCE)
        listed = await self._reader.logs(caller.workspace_id, id, wanted, page, most=most)
        return self._portions(listed, caller.workspace_id, id, wanted, limit=page.limit), listed

    async def _portions(
        self, listed: ListedLines, workspace_id: WorkspaceId, id: ExecutionId, wanted: LogFilter, *, limit: int
    ) -> AsyncIterator[Sequence[LogLine]]:
        # Lines that a running execution has added since the first portion belong to the next page.
        lines, until = listed.items, listed.last_seq
        while lines:
            yield lines
            limit -= len(lines)
            if limit == 0 or len(lines) < LINES_AT_ONCE:
                return
            most = min(limit, LINES_AT_ONCE)
            after = lines[-1].seq
            lines = await self._reader.logs_after(workspace_id, id, wanted, after=after, until=until, limit=most)

    async def cancel(self, caller: Caller, id: ExecutionId, *, force: bool = False) -> None:
        """Cancel an execution, and return when its flow has ended. A cancelled execution is left unchanged.

        Args:
            force: Skip the flow's handlers, or stop the one that is running.

        Raises: NotFound; Conflict if the execution has ended, or its flow has ended for another reason.
        """
        found = await self._reader.get(caller.workspace_id, id)
        if found.status.is_final:
            raise Conflict(f"The execution has already ended: it is {found.status.value}")
        details: dict[str, JSON] = {"force": True} if force else {}
        entry = act(caller, "execution.cancelled", "execution", id, at=self._clock.now(), details=details)
        await self._dispatcher.cancel(id, reason="cancelled by a user", audit=entry, force=force)

    async def cancel_all(self, workspace_id: WorkspaceId) -> None:
        """Cancel all open executions of a workspace that was deleted; after an outage those that are left."""
        try:
            await self.cancel_open(workspace_id)
        except Unavailable:
            # The workspace is deleted: a repeated request would not find it.
            task = asyncio.create_task(self._cancel_left(workspace_id), name=f"cancel executions of {workspace_id}")
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def close(self) -> None:
        """Give up what an outage has left to cancel: the next process to load it finds that its workspace is gone."""
        await cancel_all(*self._cancelling)

    async def _cancel_left(self, workspace_id: WorkspaceId) -> None:
        def log(error: Exception, attempts: int) -> None:
            logger.warning("executions.cancel_put_off", workspace_id=workspace_id, reason=str(error))

        await retry(lambda: self.cancel_open(workspace_id), on=Unavailable, delay=_OUTAGE_DELAY, on_failure=log)

    async def cancel_open(self, workspace_id: WorkspaceId) -> None:
        """Cancel the open executions of a workspace that was deleted. Raises: Unavailable."""
        is_open = ExecutionFilter(statuses=(Status.RUNNING, Status.WAITING))
        # The oldest first: a parent whose child was cancelled would fail.
        page = Page(limit=_CANCELLED_AT_ONCE, cursor="", counts=False, is_reversed=True)
        while open_ones := (await self._reader.page(workspace_id, is_open, page)).items:
            await all_ended(*(self._cancel_deleted(execution.id) for execution in open_ones))

    async def _cancel_deleted(self, id: ExecutionId) -> None:
        # Nothing may start in a deleted workspace, handlers included.
        with contextlib.suppress(Conflict):
            await self._dispatcher.cancel(id, reason="the workspace was deleted", force=True)


def _start_of(id: ExecutionId, flow_id: FlowId, caller: Caller, cause: StartCause, *, at: datetime) -> AuditEntry:
    action, details = "execution.started", {"flow_id": str(flow_id)}
    if isinstance(cause, Rerun):
        action, details = "execution.rerun", details | {"rerun_of": str(cause.of)}
    return act(caller, action, "execution", id, at=at, details=details)
