"""Creation and loading of executions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import structlog

from flowrunner.domain.causes import Chained, Scheduled, StartCause, awaiting_parent, keys_of
from flowrunner.domain.errors import InvalidFlow, NotFound, Unavailable
from flowrunner.domain.events import Cancelled, ErrorValue, Event, Failed, Started
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Flow
from flowrunner.domain.status import Status
from flowrunner.domain.triggers import Schedule
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId, memory_of_json
from flowrunner.domain.waits import ChildWait
from flowrunner.engine.actor import ExecutionActor
from flowrunner.engine.children import PendingNotifications, end_signal, notify_links, parent_step
from flowrunner.engine.dependencies import EngineDependencies, ExecutionRef, LoadedExecution
from flowrunner.engine.event_log import AT_A_STRETCH, EventLog, Replay
from flowrunner.engine.log_lines import line_of_end, line_of_start, log_ended
from flowrunner.engine.recorder import LinkHidingRedactor, Storable, record, storable_soon
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.journal import Append, NewExecution, StoredExecution, Summary, Unreadable
from flowrunner.ports.memory import LARGE_BYTES, Loading
from flowrunner.ports.secrets import LONG_BYTES, Redactor
from flowrunner.ports.telemetry import TRACEPARENT, ObservedExecution

logger = structlog.get_logger()

# If several processes advance executions, one of a newer version may read events that this version cannot. After this
# time none has.
_LEFT_TO_NEWER: Final = timedelta(minutes=10)


class FlowEngine:
    """Implements `ports.Engine`."""

    def __init__(self, deps: EngineDependencies) -> None:
        self._deps = deps

    @property
    def is_stopping(self) -> bool:
        return self._deps.is_stopping

    async def open(self) -> None:
        self._deps.epoch = await self._deps.journal.claim()

    async def open_shared(self) -> None:
        self._deps.epoch, self._deps.is_shared = await self._deps.journal.epoch(), True

    def stop(self) -> None:
        self._deps.is_stopping = True

    def set_others_wait(self, others_wait: bool) -> None:
        self._deps.others_wait = others_wait

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> ExecutionActor | None:
        started = new.first_event(flow, input, await self._traceparent(new.cause))
        redactor = await self._redactor(new.workspace_id)
        loaded = LoadedExecution(self._deps, _ref(new, started, flow), ExecutionState(), redactor)
        log = EventLog(loaded, epoch=self._deps.epoch, create=new)
        notifications = PendingNotifications(self._deps, new.id, started, awaiting_parent(new.cause), new.slot)
        actor = ExecutionActor(log, notifications)
        size_at_yield = memory = 0
        for number, (event, at) in enumerate([(started, None), *new.kept], start=1):
            stored = await storable_soon(event, redactor)
            log.record(stored, at)
            memory += memory_of_json(stored.data)
            if number % AT_A_STRETCH == 0 or log.size - size_at_yield > LONG_BYTES:
                # Let other tasks run.
                size_at_yield = log.size
                await asyncio.sleep(0)
        log.record(line_of_start(started))
        stays = at_once and self._reserve_memory(actor, log.size, memory)
        await actor.create(begins=stays and not flow.nodes[flow.start].pure and not new.kept)
        return actor if stays else None

    async def _traceparent(self, cause: StartCause) -> str:
        """Return the trace context of what starts an execution: a request, a step, or the end of another execution."""
        if self._deps.traces is None:
            return ""
        if not isinstance(cause, Chained):
            return TRACEPARENT.get()
        stored = await self._deps.journal.stored(cause.of)
        first, *_ = await self._deps.journal.events(cause.of, after=0, limit=1)
        started = first.event
        return self._deps.traces.of_execution(
            ObservedExecution(
                execution_id=stored.id,
                workspace_id=stored.workspace_id,
                flow_id=stored.flow_id,
                cause=started.cause if isinstance(started, Started) else None,
                traceparent=started.traceparent if isinstance(started, Started) else "",
            )
        )

    def _reserve_memory(self, actor: ExecutionActor, size: int, memory: int) -> bool:
        """Reserve memory for a new execution until it leaves; return False if it has to wait."""
        if self._deps.memory is None or size <= LARGE_BYTES:
            return True
        loading = self._deps.memory.loading()
        actor.on_leave(loading.give_back)
        return loading.take_at_once(actor.workspace_id, memory)

    async def load(self, id: ExecutionId) -> ExecutionActor | None:
        epoch = await self._acquire(id)
        loading = None if self._deps.memory is None else self._deps.memory.loading()
        actor = None
        try:
            actor = await self._load(id, epoch, loading)
            if actor is not None and loading is not None:
                actor.on_leave(loading.give_back)
            return actor
        except Unreadable as error:
            logger.warning("execution.unreadable", execution_id=id, reason=str(error), cause=repr(error.__cause__))
            self._leave_to_newer_version(error)
            message = f"{error}. It cannot continue and ends here, without its handlers: run it again"
            await self._end(id, epoch, Failed(error=ErrorValue(type="events.unreadable", message=message)))
            return None
        finally:
            if actor is None and loading is not None:
                loading.give_back()

    async def _load(self, id: ExecutionId, epoch: int, loading: Loading | None) -> ExecutionActor | None:
        """Load an execution and resume it, or return None if it has ended. Raises: Unreadable."""
        replay = Replay()
        stored = await self._deps.journal.load(id, replay.add, loading)
        # The previous owner may have died before it published its last events.
        self._deps.journal.announce(id)
        if stored.status.is_final:
            # Its end may have become durable without an answer, and no further event shows subscribers the gap.
            self._deps.broadcast.mark_stale(id)
            notify_links(self._deps, stored.id, stored.parent_id, stored.slot, [replay.first, replay.last])
            return None
        if stored.workspace_is_gone:
            await self._end(id, epoch, Cancelled(reason="the workspace was deleted"))
            return None
        try:
            flow = await self._deps.library.get(stored.workspace_id, stored.revision_id)
        except (InvalidFlow, NotFound) as error:
            message = f"The flow can no longer be read: {error}"
            await self._end(id, epoch, Failed(error=ErrorValue(type="flow.invalid", message=message[:2000])))
            return None
        actor = await self._resume(epoch, stored, replay, flow)
        if loading is not None and stored.size > LARGE_BYTES:
            loading.keep(id, actor.held_bytes)
        return actor

    def _leave_to_newer_version(self, error: Unreadable) -> None:
        """Raise Unavailable while a worker of the version that wrote the event may still take the execution."""
        since = error.newer_since
        if self._deps.is_shared and since is not None and self._deps.clock.now() - since < _LEFT_TO_NEWER:
            raise Unavailable(f"{error}: it is left to workers of a newer version") from error

    async def _resume(self, epoch: int, stored: StoredExecution, replay: Replay, flow: Flow) -> ExecutionActor:
        redactor = await self._redactor(stored.workspace_id)
        state, started = replay.state, replay.first
        assert isinstance(started, Started), "no other event can be the first"
        loaded = LoadedExecution(self._deps, _ref(stored, started, flow), state, redactor)
        notifications = PendingNotifications(self._deps, stored.id, started, stored.parent_id, stored.slot)
        return ExecutionActor(EventLog.resumed(loaded, stored=stored, epoch=epoch), notifications)

    async def _acquire(self, id: ExecutionId) -> int:
        """Take ownership and return the fencing token; appends with an older token are rejected."""
        return await self._deps.journal.acquire(id, self._deps.epoch) if self._deps.is_shared else self._deps.epoch

    async def _redactor(self, workspace_id: WorkspaceId) -> Redactor:
        return LinkHidingRedactor(await self._deps.vault.redactor(workspace_id))

    async def end_of(self, id: ExecutionId) -> Signal | None:
        stored = await self._deps.journal.stored(id)
        first = await self._deps.journal.events(id, after=0, limit=1)
        last = await self._deps.journal.events(id, after=stored.last_seq - 1, limit=1)
        return end_signal(id, first[0].event, last[0].event) if first and last else None

    async def orphaned_children(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        try:
            replay = Replay()
            await self._deps.journal.load(parent, replay.add)
            state = replay.state
        except Unreadable:
            # The parent ends when it is loaded, and its children with it.
            return ()
        # A running step may have started a child that its events do not mention yet.
        running = {(str(step), state.at(step).failures) for step in state.running}
        waits = (state.at(step).wait_for for step in state.timed)
        awaited = {wait.execution_id for wait in waits if isinstance(wait, ChildWait)}
        left: list[ExecutionId] = []
        for child in children:
            first, *_ = await self._deps.journal.events(child, after=0, limit=1)
            step = parent_step(first.event)
            is_running = step is not None and (step.step, step.failures) in running
            if child not in awaited and not is_running:
                left.append(child)
        return left

    async def replaces(self, id: ExecutionId) -> bool:
        stored = await self._deps.journal.stored(id)
        try:
            flow = await self._deps.library.get(stored.workspace_id, stored.revision_id)
        except (InvalidFlow, NotFound):
            return False
        if (limit := flow.limits.concurrency) is not None:
            return limit.on_limit == "replace"
        first, *_ = await self._deps.journal.events(id, after=0, limit=1)
        cause = first.event.cause if isinstance(first.event, Started) else None
        trigger = flow.triggers.get(cause.name) if isinstance(cause, Scheduled) else None
        return trigger is not None and isinstance(trigger.spec, Schedule) and trigger.spec.overlap == "replace"

    async def give_up(self, id: ExecutionId) -> None:
        message = "An internal error ended this execution: see the server's log"
        await self._end(id, await self._acquire(id), Failed(error=ErrorValue(type="internal", message=message)))

    async def _end(self, id: ExecutionId, epoch: int, ending: Failed | Cancelled) -> None:
        """End an execution for a reason outside its flow, without its events, and notify linked executions."""
        stored = await self._deps.journal.stored(id)
        if stored.status.is_final:
            return
        redactor, at = await self._redactor(stored.workspace_id), self._deps.clock.now()
        events: tuple[Event | Storable, ...] = (line_of_end(ending, None), ending)
        records = [
            record(event, seq=seq, at=at, redactor=redactor) for seq, event in enumerate(events, stored.last_seq + 1)
        ]
        last = records[-1].event
        summary = Summary(
            status=Status.FAILED if isinstance(last, Failed) else Status.CANCELLED,
            completed_at=at,
            error=last.error if isinstance(last, Failed) else None,
            is_queued=stored.slot is not None and stored.slot.is_queued,
        )
        append = Append(execution_id=id, epoch=epoch, after=stored.last_seq, records=records, summary=summary)
        await self._deps.journal.append(append)
        self._deps.broadcast.publish(id, records)
        ended = ObservedExecution(execution_id=id, workspace_id=stored.workspace_id, flow_id=stored.flow_id)
        self._deps.observer.observe(ended, records)
        assert isinstance(last, Failed | Cancelled), "an ending stays one"
        log_ended(ended, last, records[-1])
        self._deps.links.reconcile_children(id)
        first = await self._deps.journal.events(id, after=0, limit=1)
        notify_links(self._deps, id, stored.parent_id, stored.slot, [first[0].event if first else last, last])


def _ref(execution: NewExecution | StoredExecution, started: Started, flow: Flow) -> ExecutionRef:
    return ExecutionRef(
        execution_id=execution.id,
        workspace_id=execution.workspace_id,
        flow_id=execution.flow_id,
        flow_name=started.flow_name or flow.name,
        cause=started.cause,
        traceparent=started.traceparent,
        flow=flow,
        keys_of=keys_of(started.cause) or execution.id,
    )
