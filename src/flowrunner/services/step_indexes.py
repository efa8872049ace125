"""Indexes of the steps of executions: made from their events in bounded pages, kept, and extended.

The index of a short execution, or of one that is read from its beginning on, has all of its steps. Of a long one, the
events of the wanted scopes are picked out in the database, which takes a tenth of the time: a loop's rounds are counted
there.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.journal import StoredExecution
from flowrunner.ports.memory import BodyRoom
from flowrunner.ports.steps import ScopeEvents, StepEvents, StoredEvent
from flowrunner.services.step_index import NotIndexable, StepIndex, with_outer_scopes
from flowrunner.services.weighed_cache import WeighedCache

# Memory of a page of events while it is indexed, and of a page of steps.
PAGE_MEMORY: Final = 8 * 1024 * 1024
# The events of a page while they are indexed: their bytes, and how many at least and at most.
_INDEXED_BYTES: Final = 256 * 1024
_INDEXED_AT_LEAST: Final = 20
_INDEXED_AT_MOST: Final = 1000
# Events that the first page usually needs.
_INDEXED_FIRST: Final = 400
# Events that are left to index: of more, only those of the wanted scopes are read.
_FEW: Final = 3000
# Events that the database looks at together for some scopes, and their bytes.
_SEARCHED_AT_MOST: Final = 20_000
_SEARCHED_BYTES: Final = 8 * 1024 * 1024
# Bytes of the indexes that are kept, of all workspaces and of one.
_KEPT_BYTES: Final = 96 * 1024 * 1024
_KEPT_BYTES_OF_A_WORKSPACE: Final = 24 * 1024 * 1024

_Key: TypeAlias = tuple[ExecutionId, frozenset[str] | None]


class StepIndexes:
    """The indexes of the executions that were looked at last."""

    def __init__(self, events: StepEvents, room: BodyRoom) -> None:
        self._events = events
        self._room = room
        self._kept: WeighedCache[_Key, StepIndex] = WeighedCache(most=_KEPT_BYTES, share=_KEPT_BYTES_OF_A_WORKSPACE)

    async def whole(self, stored: StoredExecution, *, until: Callable[[StepIndex], bool] | None = None) -> StepIndex:
        """Return the index of all steps, or of the first ones.

        Args:
            until: Returns whether the index has enough.

        Raises: NotFound, Conflict.
        """
        index = self._known(stored)
        if index.seq < stored.last_seq and not (until is not None and until(index)):
            async with self._room.hold(stored.workspace_id, PAGE_MEMORY):
                await self._extend(stored, index, until)
            self._keep(stored.workspace_id, (stored.id, None), index)
        return index

    async def of_scopes(self, stored: StoredExecution, scopes: Iterable[str]) -> StepIndex:
        """Return an index that has at least the steps of some scopes, up to the last event.

        Raises: NotFound, Conflict.
        """
        if self.is_nearly_whole(stored):
            return await self.whole(stored)
        key = stored.id, with_outer_scopes(scopes)
        index = self._kept.get(stored.workspace_id, key) or StepIndex()
        if index.seq < stored.last_seq and not index.has_signals:
            async with self._room.hold(stored.workspace_id, PAGE_MEMORY):
                await self._pick(stored, index, key[1])
            self._keep(stored.workspace_id, key, index)
        # Which step a signal goes to is decided by the waits in all scopes.
        return await self.whole(stored) if index.has_signals else index

    def is_nearly_whole(self, stored: StoredExecution, *, seq: int | None = None) -> bool:
        """Return whether few events are missing in the index of all steps, up to an event or the last one."""
        return (stored.last_seq if seq is None else seq) - self._known(stored).seq <= _FEW

    def _known(self, stored: StoredExecution) -> StepIndex:
        return self._kept.get(stored.workspace_id, (stored.id, None)) or StepIndex()

    def _keep(self, workspace_id: WorkspaceId, key: _Key, index: StepIndex) -> None:
        self._kept.keep(workspace_id, key, index, index.weight + _INDEXED_AT_MOST)

    async def _extend(
        self, stored: StoredExecution, index: StepIndex, until: Callable[[StepIndex], bool] | None
    ) -> None:
        """Add the events up to the last one, or until the index has enough. Raises: NotFound, Conflict."""
        # The page is limited in the database as well, which has to look at the size of each of its events.
        limit = most = _as_many_as(_INDEXED_BYTES, stored, most=_INDEXED_AT_MOST)
        if until is not None and index.seq == 0:
            limit = min(_INDEXED_FIRST, most)
        are_small = stored.size <= PAGE_MEMORY // 2
        while True:
            events = await self._events.after(stored.id, index.seq, limit=limit, are_small=are_small)
            _check_first(index, events)
            if not events:
                break
            await _added(index.add, events)
            if until is not None and until(index):
                return
            limit = most
        index.seq = max(index.seq, stored.last_seq)

    async def _pick(self, stored: StoredExecution, index: StepIndex, scopes: frozenset[str]) -> None:
        """Add the events of some scopes up to the last one. Raises: NotFound, Conflict."""
        searched = _as_many_as(_SEARCHED_BYTES, stored, most=_SEARCHED_AT_MOST)

        def add(found: ScopeEvents) -> None:
            index.add(found.events)
            index.add_ended(found.ended)
            index.seq = found.last_seq

        while index.seq < stored.last_seq and not index.has_signals:
            until = min(index.seq + searched, stored.last_seq)
            found = await self._events.of_scopes(stored.id, index.seq, until=until, scopes=scopes)
            _check_first(index, found.events)
            await _added(add, found)


def _as_many_as(size: int, stored: StoredExecution, *, most: int) -> int:
    """Return the number of events that usually have so many bytes."""
    return min(max(size * stored.last_seq // max(stored.size, 1), _INDEXED_AT_LEAST), most)


def _check_first(index: StepIndex, events: Iterable[StoredEvent]) -> None:
    """Raise NotFound if retention is deleting the execution, from its first event on."""
    if index.seq == 0 and next((event.seq for event in events), None) != 1:
        raise NotFound("execution")


async def _added(add: Callable[..., None], events: object) -> None:
    try:
        await asyncio.to_thread(add, events)
    except NotIndexable as error:
        raise Conflict(str(error)) from error
