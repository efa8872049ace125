"""Limits on the memory for executions and for long request bodies."""

from contextlib import AbstractAsyncContextManager
from typing import Final

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.fair_slots import FairSlots

# MiB of decoded values: of all workspaces, of one at most, and guaranteed to each. Executions and bodies have
# separate limits of this size.
_MEMORY: Final = 192
_MEMORY_OF_A_WORKSPACE: Final = 64
_SURE_MEMORY: Final = 16
# The same for the number of executions whose events are being read.
_READING: Final = 8
_READING_OF_A_WORKSPACE: Final = 2
_SURE_READING: Final = 1
_UNIT: Final = 1024 * 1024


def _memory_slots() -> FairSlots:
    return FairSlots(total=_MEMORY, share=_MEMORY_OF_A_WORKSPACE, sure=_SURE_MEMORY)


def _units(size: int) -> int:
    return 1 + size // _UNIT


class FairBodies:
    """Implements `ports.BodyRoom`.

    Its limit is separate from that of executions, because the execution that a body starts may have to wait for memory.
    """

    def __init__(self) -> None:
        self.memory = _memory_slots()

    def hold(self, workspace_id: WorkspaceId, size: int) -> AbstractAsyncContextManager[None]:
        return self.memory.hold(workspace_id, _units(size))


class FairMemory:
    """Implements `ports.MemoryRoom`."""

    def __init__(self) -> None:
        self.memory = _memory_slots()
        self.reading = FairSlots(total=_READING, share=_READING_OF_A_WORKSPACE, sure=_SURE_READING)

    def loading(self) -> "_Loading":
        return _Loading(self)


class _Loading:
    """Implements `ports.Loading`."""

    def __init__(self, room: FairMemory) -> None:
        self._room = room
        self._taken: tuple[WorkspaceId, int] | None = None
        self._is_over = False

    def reading(self, workspace_id: WorkspaceId) -> AbstractAsyncContextManager[None]:
        return self._room.reading.hold(workspace_id)

    async def take(self, workspace_id: WorkspaceId, size: int) -> None:
        count = _units(size)
        await self._room.memory.take(workspace_id, count)
        self._taken = workspace_id, count
        if self._is_over:
            # The execution has left while it waited here.
            self.give_back()

    def take_at_once(self, workspace_id: WorkspaceId, size: int) -> bool:
        count = _units(size)
        is_taken = self._room.memory.take_at_once(workspace_id, count)
        if is_taken:
            self._taken = workspace_id, count
        return is_taken

    def keep(self, id: ExecutionId, size: int) -> None:
        if self._taken is not None:
            workspace_id, count = self._taken
            kept = min(count, _units(size))
            self._room.memory.keep(workspace_id, count, kept)
            self._taken = workspace_id, kept

    def give_back(self) -> None:
        self._is_over = True
        if self._taken is not None:
            taken, self._taken = self._taken, None
            self._room.memory.give_back(*taken)
