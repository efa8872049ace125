"""The steps of an execution: lists, single steps and their results.

An index of the steps is made from the execution's events in bounded pages and kept, so that each event is indexed once
while an account looks at the execution, and a page of steps reads only the events that it shows.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict, InvalidFlow, NotFound
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.flows import CompiledFlows
from flowrunner.ports.journal import JournalReader, StoredExecution
from flowrunner.ports.memory import BodyRoom
from flowrunner.ports.steps import StepEvents
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.run_graph import RunGraph, graph_of
from flowrunner.services.step_index import AttemptEntry, NotIndexable, ScopeCounts, StepEntry, StepIndex
from flowrunner.services.step_values import ErrorView, Preview, StepReading, WaitView
from flowrunner.services.weighed_cache import WeighedCache

# Bytes of a value that a list shows whole.
PREVIEW_BYTES: Final = 1024
# Attempts of a step that its own page shows, the latest ones.
KEPT_ATTEMPTS: Final = 100
# Bytes of events that a page of steps reads: further steps are on the next page.
_PAGE_BYTES: Final = 4 * 1024 * 1024
# Memory of a page of events while it is indexed, and of a page of steps.
_PAGE_MEMORY: Final = 8 * 1024 * 1024
# The events of a page while they are indexed: their bytes, and how many at least and at most.
_INDEXED_BYTES: Final = 256 * 1024
_INDEXED_AT_LEAST: Final = 20
_INDEXED_AT_MOST: Final = 1000
# Bytes of the indexes that are kept, of all accounts and of one.
_KEPT_BYTES: Final = 96 * 1024 * 1024
_KEPT_BYTES_OF_AN_ACCOUNT: Final = 24 * 1024 * 1024
_WHOLE: Final = 2**60


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
            error=reading.found_error(attempt.error_seq),
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

    @classmethod
    def of(cls, entry: StepEntry, reading: StepReading, *, most: int) -> "StepView":
        counts = entry.scopes
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
            error=reading.found_error(entry.error_seq),
            input=reading.preview(entry.input, most=most),
            result=reading.preview(entry.result, most=most),
            wait=reading.found_wait(entry.waits[-1]) if entry.waits else None,
            scopes=None if counts is None else ScopeCounts(*_counts(counts)),
        )


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
        self._indexes: WeighedCache[ExecutionId, StepIndex] = WeighedCache(
            most=_KEPT_BYTES, share=_KEPT_BYTES_OF_AN_ACCOUNT
        )

    async def page(
        self, caller: Caller, id: ExecutionId, *, after: int, limit: int, scope: str | None, step: str | None
    ) -> tuple[Sequence[StepView], int | None]:
        """Return steps in the order of their starts, and the id to continue after; None if there are no more.

        Args:
            after: Only steps with a higher id.
            scope: Only steps of this scope itself.
            step: Only the step with this full name.

        Raises: NotFound; Conflict if the events cannot be read.
        """

        def is_settled(index: StepIndex) -> bool:
            """Return whether later events change nothing of the page: its steps have ended, and another one began."""
            ids = index.ids if scope is None else index.in_scope(scope)
            begin = bisect_right(ids, after)
            return len(ids) > begin + limit and all(
                index[one].ended_at is not None for one in ids[begin : begin + limit]
            )

        async with self._indexed(caller, id, until=is_settled if step is None else None) as (_, index):
            ids: Sequence[int] = index.ids if scope is None else index.in_scope(scope)
            if step is not None:
                named = index.named(step)
                ids = () if named is None or scope not in (None, named.step.scope) else (named.id,)
            begin = bisect_right(ids, after)
            taken: list[StepEntry] = []
            reading = StepReading()
            for one in ids[begin : begin + limit]:
                if reading.size > _PAGE_BYTES:
                    break
                entry = index[one]
                _plan(reading, entry, most=PREVIEW_BYTES)
                if entry.waits:
                    reading.wait(entry.waits[-1], most=PREVIEW_BYTES)
                taken.append(entry)
            async with self._room.hold(caller.workspace_id, _PAGE_MEMORY):
                await reading.read(self._events, id)
            has_more = begin + len(taken) < len(ids)
            views = [StepView.of(entry, reading, most=PREVIEW_BYTES) for entry in taken]
            return views, taken[-1].id if has_more and taken else None

    @asynccontextmanager
    async def step(self, caller: Caller, id: ExecutionId, step_id: int) -> AsyncIterator[StepDetail]:
        """Give a step with its whole values; their memory is reserved meanwhile. Raises: NotFound, Conflict."""
        async with self._indexed(caller, id) as (_, index):
            entry = _existing(index, step_id)
            reading, attempts = StepReading(), entry.attempts[-KEPT_ATTEMPTS:]
            _plan(reading, entry, most=_WHOLE)
            for attempt in attempts:
                reading.error(attempt.error_seq, entry.error_size, most=_WHOLE)
            for wait in entry.waits:
                reading.wait(wait, most=_WHOLE)
            async with self._room.hold(caller.workspace_id, _PAGE_MEMORY + 2 * reading.size):
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
        async with self._indexed(caller, id) as (_, index):
            entry = _existing(index, step_id)
            value = entry.result
            if value is None:
                raise Conflict(f"The step {entry.step} has no result: it is {entry.status}")
            reading = StepReading()
            reading.value(value, most=_WHOLE)
            async with self._room.hold(caller.workspace_id, _PAGE_MEMORY + 2 * reading.size):
                await reading.read(self._events, id)
                yield reading.text(value, most=_WHOLE)

    async def graph(self, caller: Caller, id: ExecutionId) -> RunGraph:
        """Return the nodes and edges of the execution's revision with the states of their runs.

        Raises: NotFound, also if the revision was deleted; Conflict.
        """
        async with self._indexed(caller, id) as (stored, index):
            try:
                flow = await self._library.get(caller.workspace_id, stored.revision_id)
            except InvalidFlow as error:
                raise Conflict(f"The revision of this execution can no longer be read: {error}") from error
            return await asyncio.to_thread(graph_of, flow, index)

    @asynccontextmanager
    async def _indexed(
        self, caller: Caller, id: ExecutionId, *, until: Callable[[StepIndex], bool] | None = None
    ) -> AsyncIterator[tuple[StoredExecution, StepIndex]]:
        """Give the index of an execution's steps.

        Args:
            until: Returns whether the index has enough; None indexes all events.

        Raises: NotFound, Conflict.
        """
        workspace_id = caller.workspace_id
        async with self._locks.of(workspace_id):
            stored = await self._journal.stored(id)
            if stored.workspace_id != workspace_id:
                raise NotFound("execution")
            index = self._indexes.get(workspace_id, id) or StepIndex()
            if index.seq < stored.last_seq and not (until is not None and until(index)):
                async with self._room.hold(workspace_id, _PAGE_MEMORY):
                    await self._extend(stored, index, until)
                self._indexes.keep(workspace_id, id, index, index.weight + _INDEXED_AT_MOST)
            yield stored, index

    async def _extend(
        self, stored: StoredExecution, index: StepIndex, until: Callable[[StepIndex], bool] | None
    ) -> None:
        """Add the events up to the last one, or until the index has enough. Raises: NotFound, Conflict."""
        # The page is limited in the database as well, which has to look at the size of each of its events.
        usual = _INDEXED_BYTES * stored.last_seq // max(stored.size, 1)
        limit = min(max(usual, _INDEXED_AT_LEAST), _INDEXED_AT_MOST)
        are_small = stored.size <= _PAGE_MEMORY // 2
        while True:
            events = await self._events.after(stored.id, index.seq, limit=limit, are_small=are_small)
            if index.seq == 0 and (not events or events[0].seq != 1):
                # Retention is deleting it, from its first event on.
                raise NotFound("execution")
            if not events:
                break
            try:
                await asyncio.to_thread(index.add, events)
            except NotIndexable as error:
                raise Conflict(str(error)) from error
            if until is not None and until(index):
                return
        index.seq = max(index.seq, stored.last_seq)


def _existing(index: StepIndex, id: int) -> StepEntry:
    entry = index.get(id)
    if entry is None:
        raise NotFound("step")
    return entry


def _plan(reading: StepReading, entry: StepEntry, *, most: int) -> None:
    """Plan to read what a step shows in a list."""
    reading.value(entry.input, most=most)
    reading.value(entry.result, most=most)
    reading.error(entry.error_seq, entry.error_size, most=most)


def _counts(counts: ScopeCounts) -> Iterable[int]:
    return counts.total, counts.completed, counts.failed, counts.cancelled
