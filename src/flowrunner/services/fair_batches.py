"""Work of all workspaces that is read in batches and changes what is read, with a turn for each workspace."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Final, Generic, TypeVar

from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots
from flowrunner.tasks import all_ended, cancel_all

T = TypeVar("T")

# Time until the next look for further workspaces, while the work of others is done.
_LOOK_SECONDS: Final = 0.5
# A look goes past the rows of the workspaces that are being handled, so the time between two is that of one, twice.
_LOOKS_APART: Final = 2.0
# Workspaces that are handled at the same time.
_MOST_WORKSPACES: Final = 1_000
# The rest of a workspace whose work could not be done.
_REST_SECONDS: Final = 1.0


async def handle_fairly(
    read: Callable[[Collection[WorkspaceId]], Awaitable[Sequence[T]]],
    handle: Callable[[T], Awaitable[None]],
    *,
    key: Callable[[T], Hashable],
    workspace: Callable[[T], WorkspaceId],
    slots: FairSlots,
) -> None:
    """Read and handle the work of all workspaces, each by itself, until there is nothing new.

    A workspace whose work takes long, fails or never ends delays no other one.

    Args:
        read: Returns the next batch of other workspaces than these; what has been handled may still be in it, such as
            if another process did so.
        key: Tells items apart; none with the same key is handled twice in a row.
        slots: The items that are handled at the same time.

    Raises: an error of ``read`` at once; the first one of ``handle`` when all other work is done.
    """
    await _FairRun(read, handle, key, workspace, slots).run()


class _FairRun(Generic[T]):
    """One run of `handle_fairly`."""

    def __init__(
        self,
        read: Callable[[Collection[WorkspaceId]], Awaitable[Sequence[T]]],
        handle: Callable[[T], Awaitable[None]],
        key: Callable[[T], Hashable],
        workspace: Callable[[T], WorkspaceId],
        slots: FairSlots,
    ) -> None:
        self._read = read
        self._handle = handle
        self._key = key
        self._workspace = workspace
        self._slots = slots
        self._loop = asyncio.get_running_loop()
        self._portions: dict[WorkspaceId, asyncio.Task[None]] = {}
        # Keys of the last portion of each workspace.
        self._handled: dict[WorkspaceId, frozenset[Hashable]] = {}
        # Workspaces that have had their portion of this round: the others come first.
        self._served: set[WorkspaceId] = set()
        # Until when a workspace rests.
        self._resting: dict[WorkspaceId, float] = {}
        self._next_look_at = 0.0
        self._error: BaseException | None = None

    async def run(self) -> None:
        try:
            await self._look()
            while self._portions:
                await self._wait()
                await self._look()
        finally:
            await cancel_all(*self._portions.values())
        if self._error is not None:
            raise self._error

    async def _look(self) -> None:
        """Begin to handle what workspaces have that are not being handled."""
        began = self._loop.time()
        self._resting = {id: until for id, until in self._resting.items() if until > began}
        if len(self._portions) >= _MOST_WORKSPACES:
            return
        found: dict[WorkspaceId, list[T]] = {}
        for item in await self._next_batch():
            found.setdefault(self._workspace(item), []).append(item)
        self._handled = {
            id: keys for id, keys in self._handled.items() if id in self._portions or id in self._resting or id in found
        }
        for id, items in found.items():
            if id in self._portions:
                continue
            keys = self._handled.get(id, frozenset())
            news = [item for item in items if self._key(item) not in keys]
            self._handled[id] = frozenset(map(self._key, items))
            if news:
                self._portions[id] = asyncio.create_task(self._handle_portion(id, news), name=f"portion of {id}")
            else:
                # What it still has could not be done, or another process is doing it.
                self._resting[id] = self._loop.time() + _REST_SECONDS
        now = self._loop.time()
        self._next_look_at = now + _LOOKS_APART * (now - began)

    async def _next_batch(self) -> Sequence[T]:
        outside = {*self._portions, *self._resting}
        if self._served:
            batch = await self._read(outside | self._served)
            if batch:
                return batch
            self._served.clear()
        return await self._read(outside)

    async def _handle_portion(self, id: WorkspaceId, items: Sequence[T]) -> None:
        async def handle_one(item: T) -> None:
            async with self._slots.hold(id):
                await self._handle(item)

        await all_ended(*map(handle_one, items))

    async def _wait(self) -> None:
        """Wait for the end of a portion, or until the next look."""
        await asyncio.wait(self._portions.values(), timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self._next_look_at - self._loop.time())
        for id, task in [(id, task) for id, task in self._portions.items() if task.done()]:
            del self._portions[id]
            self._served.add(id)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._error = self._error or error
                self._resting[id] = self._loop.time() + _REST_SECONDS
                # It is tried again after the rest: others may always have work, so that this run does not end.
                self._handled.pop(id, None)
