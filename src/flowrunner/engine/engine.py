"""Brings executions into memory: new ones, and ones that are stored."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.errors import InvalidFlow, NotFound, Unavailable
from flowrunner.domain.events import Cancelled, Event, Failed, Failure, Started
from flowrunner.domain.execution import ExecutionState, Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.rerun import keys_of
from flowrunner.domain.values import JSON, ExecutionId, memory_of_json
from flowrunner.engine.history import AT_A_STRETCH, History, replayed
from flowrunner.engine.log import line_of_end, line_of_start
from flowrunner.engine.recorder import record, storable_soon
from flowrunner.engine.relatives import Ties, end_signal, key_of_end, tell_relatives, try_of_parent
from flowrunner.engine.run import Run
from flowrunner.engine.scope import Identity
from flowrunner.engine.server_log import log_failed
from flowrunner.engine.world import World
from flowrunner.ports import (
    LARGE_BYTES,
    LONG_BYTES,
    Append,
    Loading,
    NewExecution,
    Signal,
    StoredExecution,
    Summary,
    Unreadable,
)

logger = structlog.get_logger()

# Where several processes advance executions, one of a newer version goes on with what this one cannot read. After so
# long nobody has.
_LEFT_TO_NEWER: Final = timedelta(minutes=10)


class FlowEngine:
    """Fills `ports.Engine`."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def is_stopping(self) -> bool:
        return self._world.is_stopping

    async def open(self) -> None:
        self._world.epoch = await self._world.journal.claim()

    async def join(self) -> None:
        self._world.epoch, self._world.is_shared = await self._world.journal.epoch(), True

    def stop(self) -> None:
        self._world.is_stopping = True

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> Run | None:
        started = _start_of(new, flow, input)
        identity = Identity(
            execution_id=new.id,
            account_id=new.account_id,
            flow_id=new.flow_id,
            flow=flow,
            keys_of=keys_of(started) or new.id,
        )
        redactor = await self._world.vault.redactor(new.account_id)
        history = History(self._world, identity, redactor, ExecutionState(), epoch=self._world.epoch, create=new)
        ties = Ties(self._world, new.id, started, new.parent_id, new.turn)
        run = Run(self._world, identity, redactor, history, ties)
        size_at_break = memory = 0
        for number, (event, at) in enumerate([(started, None), *new.prefix], start=1):
            stored = await storable_soon(event, redactor)
            history.record(stored, at)
            memory += memory_of_json(stored.data)
            if number % AT_A_STRETCH == 0 or history.size - size_at_break > LONG_BYTES:
                # Others go on in between.
                size_at_break = history.size
                await asyncio.sleep(0)
        history.record(line_of_start(started))
        stays = at_once and self._has_room(run, history.size, memory)
        await run.create(begins=stays and not flow.nodes[flow.start].pure and not new.prefix)
        return run if stays else None

    def _has_room(self, run: Run, size: int, memory: int) -> bool:
        """Take room in memory for a new execution, which gives it back when it leaves; False if it has to wait."""
        if self._world.memory is None or size <= LARGE_BYTES:
            return True
        loading = self._world.memory.loading()
        run.on_leave(loading.give_back)
        return loading.take_at_once(run.account_id, memory)

    async def load(self, id: ExecutionId) -> Run | None:
        epoch = await self._own(id)
        loading = None if self._world.memory is None else self._world.memory.loading()
        run = None
        try:
            run = await self._loaded(id, epoch, loading)
            if run is not None and loading is not None:
                run.on_leave(loading.give_back)
            return run
        except Unreadable as error:
            logger.warning("execution.unreadable", execution_id=id, reason=str(error), cause=repr(error.__cause__))
            self._leave_to_newer_version(error)
            message = f"{error}. It cannot go on and ends here, without its handlers: run it again"
            await self._end(id, epoch, Failed(error=Failure(type="events.unreadable", message=message)))
            return None
        finally:
            if run is None and loading is not None:
                loading.give_back()

    async def _loaded(self, id: ExecutionId, epoch: int, loading: Loading | None) -> Run | None:
        """Raises: Unreadable."""
        stored, events = await self._world.journal.load(id, loading)
        # The process that had it before may not have lived to tell of what it recorded.
        self._world.journal.announce(id)
        if stored.status.is_final:
            tell_relatives(self._world, stored.id, stored.parent_id, stored.turn, [event for event, _ in events])
            return None
        if stored.account_is_gone:
            await self._end(id, epoch, Cancelled(reason="the account was deleted"))
            return None
        try:
            flow = await self._world.library.get(stored.account_id, stored.revision_id)
        except (InvalidFlow, NotFound) as error:
            message = f"The flow can no longer be read: {error}"
            await self._end(id, epoch, Failed(error=Failure(type="flow.invalid", message=message[:2000])))
            return None
        return await self._resume(epoch, stored, events, flow)

    def _leave_to_newer_version(self, error: Unreadable) -> None:
        """Raises: Unavailable if a worker of the version that wrote the event may go on with the execution."""
        since = error.newer_since
        if self._world.is_shared and since is not None and self._world.clock.now() - since < _LEFT_TO_NEWER:
            raise Unavailable(f"{error}: it is left to workers of a newer version") from error

    async def _resume(
        self, epoch: int, stored: StoredExecution, events: Sequence[tuple[Event, datetime]], flow: Flow
    ) -> Run:
        redactor = await self._world.vault.redactor(stored.account_id)
        state, started = await _state_of(events), events[0][0]
        assert isinstance(started, Started), "no other event can be the first"
        identity = Identity(
            execution_id=stored.id,
            account_id=stored.account_id,
            flow_id=stored.flow_id,
            flow=flow,
            keys_of=keys_of(started) or stored.id,
        )
        history = History.resumed(self._world, identity, redactor, state, stored=stored, epoch=epoch)
        ties = Ties(self._world, stored.id, started, stored.parent_id, stored.turn)
        return Run(self._world, identity, redactor, history, ties)

    async def _own(self, id: ExecutionId) -> int:
        """The mark under which it is written from here; what is written under an earlier one counts no more."""
        return await self._world.journal.own(id, self._world.epoch) if self._world.is_shared else self._world.epoch

    async def end_of(self, id: ExecutionId) -> Signal | None:
        stored = await self._world.journal.stored(id)
        first = await self._world.journal.events(id, after=0, limit=1)
        last = await self._world.journal.events(id, after=stored.last_seq - 1, limit=1)
        return end_signal(id, first[0].event, last[0].event) if first and last else None

    async def left_behind(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        try:
            _, events = await self._world.journal.load(parent)
            state = await _state_of(events)
        except Unreadable:
            # It ends when it is loaded, and its children with it.
            return ()
        # A step that runs may have started a child without a word of it in the journal yet.
        running = {(str(step), state.at(step).failures) for step in state.running}
        waiting = {waiting.key for step in state.timed if (waiting := state.at(step).waiting) is not None}
        left: list[ExecutionId] = []
        for child in children:
            first, *_ = await self._world.journal.events(child, after=0, limit=1)
            if key_of_end(child) not in waiting and try_of_parent(first.event) not in running:
                left.append(child)
        return left

    async def replaces(self, id: ExecutionId) -> bool:
        stored = await self._world.journal.stored(id)
        try:
            flow = await self._world.library.get(stored.account_id, stored.revision_id)
        except (InvalidFlow, NotFound):
            return False
        limit = flow.limits.concurrency
        return limit is not None and limit.on_limit == "replace"

    async def give_up(self, id: ExecutionId) -> None:
        message = "An internal error ended this execution: see the server's log"
        await self._end(id, await self._own(id), Failed(error=Failure(type="internal", message=message)))

    async def _end(self, id: ExecutionId, epoch: int, ending: Failed | Cancelled) -> None:
        """End an execution for a reason outside its flow, without a look at its events, and tell its relatives."""
        stored = await self._world.journal.stored(id)
        if stored.status.is_final:
            return
        redactor, at = await self._world.vault.redactor(stored.account_id), self._world.clock.now()
        events: tuple[Event, ...] = (line_of_end(ending, None), ending)
        records = [
            record(event, seq=seq, at=at, redactor=redactor) for seq, event in enumerate(events, stored.last_seq + 1)
        ]
        last = records[-1].event
        summary = Summary(
            status=Status.FAILED if isinstance(last, Failed) else Status.CANCELLED,
            completed_at=at,
            error=last.error.message if isinstance(last, Failed) else None,
            is_queued=stored.turn is not None and stored.turn.is_queued,
        )
        append = Append(execution_id=id, epoch=epoch, after=stored.last_seq, records=records, summary=summary)
        await self._world.journal.append(append)
        self._world.broadcast.publish(id, records)
        if isinstance(last, Failed):
            log_failed(id, stored.account_id, stored.flow_id, last.error)
        self._world.relatives.look_for_orphans(id)
        first = await self._world.journal.events(id, after=0, limit=1)
        tell_relatives(self._world, id, stored.parent_id, stored.turn, [first[0].event if first else last, last])


async def _state_of(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """Raises: Unreadable."""
    try:
        return await replayed(events)
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(f"The events of this execution do not follow from each other ({error})") from error


def _rerun_of(new: NewExecution) -> JSON:
    if new.rerun_of is None:
        return None
    told: dict[str, JSON] = {"execution_id": new.rerun_of, "from": new.rerun_from}
    return told if new.keys_of is None else told | {"keys_of": new.keys_of}


def _start_of(new: NewExecution, flow: Flow, input: JSON) -> Started:
    start = flow.nodes[flow.start]
    return Started(
        node=start.name,
        node_type=start.type,
        input=input,
        by=new.by,
        parent=new.started_for,
        rerun_of=_rerun_of(new),
        is_queued=new.turn is not None and new.turn.is_queued,
        flow_name=new.flow_name if new.flow_name != flow.name else "",
    )
