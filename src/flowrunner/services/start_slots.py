"""A limit on the requests to start executions that are done at the same time."""

from collections import Counter
from typing import Final, TypeVar

from flowrunner.domain.errors import QueueFull
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.fair_slots import FairSlots

Id = TypeVar("Id", bound=str)

# More at the same time start no more in a second, and take the processor from the executions that have started.
_SLOTS: Final = 128
_SLOTS_OF_A_WORKSPACE: Final = 64
# A workspace whose starts take long does not keep others from starting.
_SURE: Final = 4
MOST_WAITING: Final = 1_000
# One member leaves room for the others, and an account that has many workspaces waits in all of them together.
MOST_WAITING_OF_ACCOUNT: Final = 800


class StartSlots:
    """Slots for requests that start executions, shared by the workspaces; further requests wait for one."""

    def __init__(self) -> None:
        self._slots = FairSlots(total=_SLOTS, share=_SLOTS_OF_A_WORKSPACE, sure=_SURE)
        self._waiting: Counter[WorkspaceId] = Counter()
        self._waiting_of_account: Counter[AccountId] = Counter()

    async def take(self, workspace_id: WorkspaceId, account_id: AccountId) -> None:
        """Wait for a slot, which `give_back` must return. Raises: QueueFull if too many wait already."""
        if self._slots.take_at_once(workspace_id):
            return
        if (full := self.full(workspace_id, account_id)) is not None:
            raise full
        self._waiting[workspace_id] += 1
        self._waiting_of_account[account_id] += 1
        try:
            await self._slots.take(workspace_id)
        finally:
            _decrement(self._waiting, workspace_id)
            _decrement(self._waiting_of_account, account_id)

    def full(self, workspace_id: WorkspaceId, account_id: AccountId, *, more: int = 0) -> QueueFull | None:
        """Return the error of a start that cannot wait; None if it can.

        Args:
            more: Starts that are about to wait.
        """
        if self._waiting[workspace_id] + more >= MOST_WAITING:
            return _full("workspace", MOST_WAITING)
        if self._waiting_of_account[account_id] + more >= MOST_WAITING_OF_ACCOUNT:
            return _full("account", MOST_WAITING_OF_ACCOUNT)
        return None

    def give_back(self, workspace_id: WorkspaceId) -> None:
        self._slots.give_back(workspace_id)


def _full(whose: str, most: int) -> QueueFull:
    message = f"The server is busy: {most} starts of this {whose} wait already. Try again in a moment"
    return QueueFull(message, limit=f"{whose}_starts", most=most)


def _decrement(counts: Counter[Id], key: Id) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
