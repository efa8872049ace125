"""The steps of an execution: lists, single steps and their results.

An index of the steps is made from the execution's events in bounded pages and kept, so that each event is indexed once
while an account looks at the execution, and a page of steps reads only the events that it shows.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from flowrunner.domain.account import Caller
from flowrunner.domain.counted import counted
from flowrunner.domain.errors import Conflict, InvalidFlow, NotFound, invalid
from flowrunner.domain.events import ROOT, NodeStarted, Step
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.event_codec import decode_event, type_of
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.journal import JournalReader, StoredExecution
from flowrunner.ports.memory import BodyRoom
from flowrunner.ports.steps import StepEvents
from flowrunner.services.account_locks import AccountLocks, Locks
from flowrunner.services.run_graph import RunGraph, graph_of
from flowrunner.services.step_entries import AttemptEntry, ScopeCounts, StepEntry
from flowrunner.services.step_index import StepIndex, scope_of
from flowrunner.services.step_indexes import PAGE_MEMORY, StepIndexes
from flowrunner.services.step_values import ErrorView, Preview, StepReading, WaitView
from flowrunner.threads import on_thread_if

# Bytes of a value that a list shows whole.
PREVIEW_BYTES: Final = 1024
# Attempts of a step that its own page shows, the latest ones.
KEPT_ATTEMPTS: Final = 100
# Bytes of events that a page of steps reads: further steps are on the next page.
_PAGE_BYTES: Final = 4 * 1024 * 1024
_WHOLE: Final = 2**60
# What looking at a step costs, in bytes of text that is parsed in the time.
_ENTRY_COST: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    attempt: int
    status: str
    started_at: datetime
    completed_at: datetime | None
    retry_at: datetime | None
    error: ErrorView | None

    @classmethod
    def of(cls, attempt: AttemptEntry, reading: StepReading) -> "AttemptView":
        return cls(
            attempt=attempt.number,
            status=attempt.status,
            started_at=attempt.started_at,
            completed_at=attempt.ended_at,
            retry_at=attempt.retry_at,
            error=reading.found_error(attempt),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A step for lists.

    Attributes:
        parent: The id of the step whose scope it belongs to.
        queued: The time from which it could have started to its start.
        wait: Its latest wait.
        scopes: Numbers of its own scopes.
    """

    id: int
    step: str
    node: str
    node_type: str
    scope: str
    parent: int | None
    status: str
    attempts: int
    started_at: datetime
    completed_at: datetime | None
    queued: timedelta
    action: str | None
    error: ErrorView | None
    input: Preview | None
    result: Preview | None
    wait: WaitView | None
    scopes: ScopeCounts | None
    input_edited_by: str | None

    @classmethod
    def of(cls, entry: StepEntry, reading: StepReading, *, most: int) -> "StepView":
        return cls(
            id=entry.id,
            step=str(entry.step),
            node=entry.step.node,
            node_type=entry.node_type,
            scope=entry.step.scope,
            parent=entry.parent,
            status=entry.status,
            attempts=len(entry.attempts),
            started_at=entry.started_at,
            completed_at=entry.ended_at,
            queued=max(entry.started_at - entry.ready_at, timedelta(0)),
            action=entry.action,
            error=reading.found_error(entry.attempts[-1]),
            input=reading.preview(entry.input, most=most),
            result=reading.preview(entry.result, most=most),
            wait=reading.found_wait(entry.waits[-1]) if entry.waits else None,
            # A copy, because the entry goes on counting.
            scopes=copy(entry.scopes),
            input_edited_by=entry.input_edited_by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFilter:
    """Conditions on steps, which all hold.

    Attributes:
        scope: The step belongs to this scope itself.
        step: It has this full name.
        node: It is a run of this node, in any scope.
        statuses: It has one of them; any if there are none.
    """

    scope: str | None = None
    step: str | None = None
    node: str | None = None
    statuses: frozenset[str] = frozenset()

    def has(self, entry: StepEntry) -> bool:
        """Return whether a step of the scope has the node and one of the statuses."""
        return self.node in (None, entry.step.node) and (not self.statuses or entry.status in self.statuses)


EVERY_STEP: Final = StepFilter()


@dataclass(frozen=True, slots=True)
class StepDetail:
    """A step with its whole values, its latest attempts and its latest waits."""

    view: StepView
    attempts: Sequence[AttemptView]
    waits: Sequence[WaitView]


class Steps:
    """Use cases that read the steps of executions, one request per account at a time."""

    def __init__(self, journal: JournalReader, events: StepEvents, library: CompiledFlows, room: BodyRoom) -> None:
        self._journal = journal
        self._events = events
        self._library = library
        self._room = room
        self._locks = AccountLocks()
        # Two members of a workspace must not extend the same index together.
        self._executions: Locks[ExecutionId] = Locks()
        self._indexes = StepIndexes(events, room)

    async def page(
        self, caller: Caller, id: ExecutionId, *, after: int, limit: int, wanted: StepFilter
    ) -> tuple[Sequence[StepView], int | None]:
        """Return steps in the order of their starts, and the id to continue after; None if there are no more.

        Args:
            after: Only steps with a higher id.

        Raises: NotFound; Conflict if the events cannot be read.
        """

        async with self._found(caller, id) as stored:
            if wanted == EVERY_STEP:
                ids, entry_of = await self._beginning(stored, after, limit)
            else:
                ids, entry_of = await self._selected(stored, after, limit, wanted)
            begin = bisect_right(ids, after)
            taken: list[StepEntry] = []
            reading = StepReading()
            for one in ids[begin : begin + limit]:
                if reading.size > _PAGE_BYTES:
                    break
                entry = entry_of(one)
                _plan(reading, entry, most=PREVIEW_BYTES)
                if entry.waits:
                    reading.wait(entry.waits[-1], most=PREVIEW_BYTES)
                taken.append(entry)
            async with self._room.hold(caller.workspace_id, PAGE_MEMORY):
                await reading.read(self._events, id)
            has_more = begin + len(taken) < len(ids)
            views = [StepView.of(entry, reading, most=PREVIEW_BYTES) for entry in taken]
            return views, taken[-1].id if has_more and taken else None

    @asynccontextmanager
    async def step(self, caller: Caller, id: ExecutionId, step_id: int) -> AsyncIterator[StepDetail]:
        """Give a step with its whole values; their memory is reserved meanwhile. Raises: NotFound, Conflict."""
        async with self._found(caller, id) as stored:
            entry = await self._existing(stored, step_id)
            reading, attempts = StepReading(), entry.attempts[-KEPT_ATTEMPTS:]
            _plan(reading, entry, most=_WHOLE)
            for attempt in attempts:
                reading.error(attempt, most=_WHOLE)
            for wait in entry.waits:
                reading.wait(wait, most=_WHOLE)
            async with self._room.hold(caller.workspace_id, PAGE_MEMORY + 2 * reading.size):
                await reading.read(self._events, id)
                yield StepDetail(
                    StepView.of(entry, reading, most=_WHOLE),
                    [AttemptView.of(attempt, reading) for attempt in attempts],
                    [reading.found_wait(wait) for wait in entry.waits],
                )

    @asynccontextmanager
    async def result(self, caller: Caller, id: ExecutionId, step_id: int) -> AsyncIterator[bytes]:
        """Give the result of a step as JSON; its memory is reserved meanwhile.

        Raises: NotFound; Conflict if it has no result.
        """
        async with self._found(caller, id) as stored:
            entry = await self._existing(stored, step_id)
            value = entry.result
            if value is None:
                raise Conflict(f"The step {entry.step} has no result: it is {entry.status}")
            reading = StepReading()
            reading.value(value, most=_WHOLE)
            async with self._room.hold(caller.workspace_id, PAGE_MEMORY + 2 * reading.size):
                await reading.read(self._events, id)
                yield reading.text(value, most=_WHOLE)

    async def attempt(
        self, caller: Caller, id: ExecutionId, step_id: int, number: int | None
    ) -> tuple[StoredExecution, Step, int]:
        """Return a step and the number of one of its attempts, of the latest by default.

        Raises: NotFound; Conflict; InvalidInput if it has had fewer attempts.
        """
        async with self._found(caller, id) as stored:
            entry = await self._existing(stored, step_id)
            latest = entry.attempts[-1].number
            if number is not None and number > latest:
                raise invalid("attempt", f"the step {entry.step} has had {counted(latest, 'attempt')}")
            return stored, entry.step, number or latest

    async def graph(self, caller: Caller, id: ExecutionId) -> RunGraph:
        """Return the nodes and edges of the execution's revision with the states of their runs.

        Raises: NotFound, also if the revision was deleted; Conflict.
        """
        async with self._found(caller, id) as stored:
            index = await self._indexes.whole(stored)
            try:
                flow = await self._library.get(caller.workspace_id, stored.revision_id)
            except InvalidFlow as error:
                raise Conflict(f"The revision of this execution can no longer be read: {error}") from error
            return await asyncio.to_thread(graph_of, flow, index)

    @asynccontextmanager
    async def _found(self, caller: Caller, id: ExecutionId) -> AsyncIterator[StoredExecution]:
        """Give an execution of the caller's workspace, one at a time. Raises: NotFound."""
        async with self._locks.of(caller), self._executions.of(id):
            stored = await self._journal.stored(id)
            if stored.workspace_id != caller.workspace_id:
                raise NotFound("execution")
            yield stored

    async def _beginning(self, stored: StoredExecution, after: int, limit: int) -> "_Listed":
        """Return the first steps of an execution, at least up to the page. Raises: NotFound, Conflict."""

        def of_page(index: StepIndex) -> Sequence[int]:
            begin = bisect_right(index.ids, after)
            return index.ids[begin : begin + limit]

        def has_page(index: StepIndex) -> bool:
            """Return whether another step follows those of the page."""
            return bool(of_page(index)) and index.ids[-1] > of_page(index)[-1] and len(of_page(index)) == limit

        def is_settled(index: StepIndex) -> bool:
            """Return whether later events change nothing of the page: its steps have ended, and another one began."""
            return has_page(index) and all(index[one].ended_at is not None for one in of_page(index))

        index = await self._indexes.whole(stored, until=has_page)
        if not is_settled(index) and self._indexes.is_nearly_whole(stored):
            index = await self._indexes.whole(stored, until=is_settled)
        still_open = [index[one].step.scope for one in of_page(index) if index[one].ended_at is None]
        if not still_open or index.seq >= stored.last_seq:
            return index.ids, index.__getitem__
        latest = await self._indexes.of_scopes(stored, still_open)
        return index.ids, lambda one: index[one] if index[one].ended_at is not None else latest[one]

    async def _selected(self, stored: StoredExecution, after: int, limit: int, wanted: StepFilter) -> "_Listed":
        """Return the steps that a filter selects, as far as a page needs them. Raises: NotFound, Conflict."""
        if wanted.step is None and wanted.scope is None:
            index = await self._indexes.whole(stored)
            ids: Sequence[int] = index.ids
        else:
            of = scope_of(wanted.step) if wanted.step is not None else wanted.scope or ROOT
            index = await self._indexes.of_scopes(stored, [of])
            ids = index.in_scope(of)
        if wanted.step is not None:
            named = index.named(wanted.step)
            ids = () if named is None or wanted.scope not in (None, of) else (named.id,)
        if wanted.node is not None or wanted.statuses:
            later = ids[bisect_right(ids, after) :]
            # One more tells that there is a further page.
            found = islice((id for id in later if wanted.has(index[id])), limit + 1)
            ids = await on_thread_if(len(later) * _ENTRY_COST, list, found)
        return ids, index.__getitem__

    async def _existing(self, stored: StoredExecution, id: int) -> StepEntry:
        """Return a step as it is now. Raises: NotFound, Conflict."""
        entry = None
        if self._indexes.is_nearly_whole(stored, seq=min(id, stored.last_seq)):
            entry = (await self._indexes.whole(stored, until=lambda index: index.seq >= id)).get(id)
        if entry is None or entry.ended_at is None:
            scope = entry.step.scope if entry is not None else await self._scope_of(stored, id)
            entry = (await self._indexes.of_scopes(stored, [scope])).get(id)
        if entry is None:
            raise NotFound("step")
        return entry

    async def _scope_of(self, stored: StoredExecution, id: int) -> str:
        """Return the scope of the step that starts with an event. Raises: NotFound, Conflict."""
        events = await self._events.numbered(stored.id, [id])
        if not events or type_of(events[0].type) != NodeStarted.type:
            raise NotFound("step")
        try:
            started = decode_event(events[0].type, events[0].data)
        except (ValueError, msgspec.MsgspecError) as error:
            raise Conflict(f"Event {id} of this execution cannot be read") from error
        assert isinstance(started, NodeStarted), "the type decides"
        return started.scope


# The ids of steps in the order of their starts, and what returns the step with an id.
_Listed: TypeAlias = tuple[Sequence[int], Callable[[int], StepEntry]]


def _plan(reading: StepReading, entry: StepEntry, *, most: int) -> None:
    """Plan to read what a step shows in a list."""
    reading.value(entry.input, most=most)
    reading.value(entry.result, most=most)
    reading.error(entry.attempts[-1], most=most)
