"""Reading all events of an execution, within the memory for that.

The events may take as much memory as an execution may keep.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Conflict
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.rerun import Timed
from flowrunner.domain.transitions import IllegalEvent, apply_all
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import JournalReader, StoredExecution, Unreadable, load_whole
from flowrunner.ports.memory import MemoryRoom
from flowrunner.services.account_locks import AccountLocks

T = TypeVar("T")


class _Enough(Exception):
    """No further events are needed."""


class Replays:
    """Readers of whole executions.

    Args:
        room: The memory of the executions that are read, of which each workspace has a share. Separate from that of
            executions that advance, which must not wait for readers.
    """

    def __init__(self, journal: JournalReader, room: MemoryRoom) -> None:
        self._journal = journal
        self._room = room
        self._locks = AccountLocks()

    async def of(self, caller: Caller, id: ExecutionId, evaluate: Callable[[Sequence[Timed]], T]) -> T:
        """Return the result of ``evaluate`` for the execution's events, one request per account at a time.

        Args:
            evaluate: As for `read`.

        Raises: NotFound; Conflict if the events cannot be read; any error of ``evaluate``.
        """
        async with self._locks.of(caller):
            try:
                _, result = await self.read(id, evaluate)
            except Unreadable as error:
                raise Conflict(str(error)) from error
            return result

    async def of_state(self, caller: Caller, id: ExecutionId, evaluate: Callable[[ExecutionState], T]) -> T:
        """Return the result of ``evaluate`` for the execution's state, as `of` does for its events.

        The events are not kept: the state holds few of their values.
        """
        state = ExecutionState()

        async def take(events: Sequence[Timed]) -> None:
            await asyncio.to_thread(apply_all, state, events)

        async with self._locks.of(caller):
            loading = self._room.loading()
            try:
                await self._journal.load(id, take, loading)
                return await asyncio.to_thread(evaluate, state)
            except Unreadable as error:
                raise Conflict(str(error)) from error
            finally:
                loading.give_back()

    @asynccontextmanager
    async def up_to(
        self, caller: Caller, id: ExecutionId, add: Callable[[Sequence[Timed]], bool]
    ) -> AsyncIterator[None]:
        """Pass events to ``add`` until it returns True; their memory is reserved until the end of the context.

        One request per account at a time.

        Args:
            add: Runs on a thread.

        Raises: NotFound; Conflict if the events cannot be read.
        """

        async def take(events: Sequence[Timed]) -> None:
            if await asyncio.to_thread(add, events):
                raise _Enough

        async with self._locks.of(caller):
            loading = self._room.loading()
            try:
                try:
                    with suppress(_Enough):
                        await self._journal.load(id, take, loading)
                except (Unreadable, IllegalEvent) as error:
                    raise Conflict(str(error)) from error
                yield
            finally:
                loading.give_back()

    async def read(self, id: ExecutionId, evaluate: Callable[[Sequence[Timed]], T]) -> tuple[StoredExecution, T]:
        """Return an execution, and the result of ``evaluate`` for its events.

        Args:
            evaluate: Runs on a thread: a long execution would block the event loop.

        Raises: NotFound; Unreadable; any error of ``evaluate``.
        """
        loading = self._room.loading()
        try:
            stored, events = await load_whole(self._journal, id, loading)
            return stored, await asyncio.to_thread(evaluate, events)
        finally:
            loading.give_back()
