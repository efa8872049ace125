"""A limit on the requests to start executions that are done at the same time."""

from collections import Counter
from typing import Final

from flowrunner.domain.errors import QueueFull
from flowrunner.domain.values import WorkspaceId
from flowrunner.fair_slots import FairSlots

# More at the same time start no more in a second, and take the processor from the executions that have started.
_SLOTS: Final = 128
_SLOTS_OF_A_WORKSPACE: Final = 64
# A workspace whose starts take long keeps none from starting.
_SURE: Final = 4
MOST_WAITING: Final = 1_000


class StartSlots:
    """Slots for requests that start executions, shared by the workspaces; further requests wait for one."""

    def __init__(self) -> None:
        self._slots = FairSlots(total=_SLOTS, share=_SLOTS_OF_A_WORKSPACE, sure=_SURE)
        self._waiting: Counter[WorkspaceId] = Counter()

    async def take(self, workspace_id: WorkspaceId) -> None:
        """Wait for a slot, which `give_back` must return. Raises: QueueFull if too many of the workspace wait."""
        if self._slots.take_at_once(workspace_id):
            return
        if self._waiting[workspace_id] >= MOST_WAITING:
            raise QueueFull(
                f"The server is busy: {MOST_WAITING} starts of this workspace wait already. Try again in a moment",
                limit="workspace_starts",
                most=MOST_WAITING,
            )
        self._waiting[workspace_id] += 1
        try:
            await self._slots.take(workspace_id)
        finally:
            self._waiting[workspace_id] -= 1
            if not self._waiting[workspace_id]:
                del self._waiting[workspace_id]

    def give_back(self, workspace_id: WorkspaceId) -> None:
        self._slots.give_back(workspace_id)
