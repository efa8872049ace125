"""Slots that accounts share: each has a share of them, and accounts that wait take turns."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flowrunner.domain.values import WorkspaceId


class FairSlots:
    """A limit on what happens at a time.

    Args:
        total: Slots of all accounts together.
        share: Slots that one account may hold.
        sure: Slots that each account may hold even if that makes it more than ``total``, so that no number of other
            accounts can keep one out.
    """

    def __init__(self, *, total: int, share: int, sure: int) -> None:
        self._total = total
        self._share = share
        self._sure = sure
        self._held: Counter[WorkspaceId] = Counter()
        self._all_held = 0
        # The account whose turn is next comes first.
        self._waiting: OrderedDict[WorkspaceId, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()

    def held(self, workspace_id: WorkspaceId) -> int:
        """Return how many slots the account holds."""
        return self._held[workspace_id]

    @asynccontextmanager
    async def hold(self, workspace_id: WorkspaceId, count: int = 1) -> AsyncIterator[None]:
        """Hold so many slots together, after waiting for them."""
        await self.take(workspace_id, count)
        try:
            yield
        finally:
            self.give_back(workspace_id, count)

    async def take(self, workspace_id: WorkspaceId, count: int = 1) -> None:
        """Wait for so many slots together, which `give_back` has to end. More than there are is all of a share."""
        if self.take_at_once(workspace_id, count):
            return
        count = min(count, self._share)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(workspace_id, deque()).append((turn, count))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(workspace_id, turn, count)
            else:
                # It came in the same moment.
                self.give_back(workspace_id, count)
            raise

    def take_at_once(self, workspace_id: WorkspaceId, count: int = 1) -> bool:
        """As `take`, unless that would wait: then False."""
        count = min(count, self._share)
        is_free = workspace_id not in self._waiting and self._is_free(workspace_id, count)
        if is_free:
            self._enter(workspace_id, count)
        return is_free

    def give_back(self, workspace_id: WorkspaceId, count: int = 1) -> None:
        count = min(count, self._share)
        self._all_held -= count
        self._held[workspace_id] -= count
        if not self._held[workspace_id]:
            del self._held[workspace_id]
        self._let_in()

    def _let_in(self) -> None:
        while (next_one := next(filter(self._is_next_free, self._waiting), None)) is not None:
            turn, count = self._waiting[next_one].popleft()
            self._waiting.move_to_end(next_one)
            if not self._waiting[next_one]:
                del self._waiting[next_one]
            if not turn.done():
                self._enter(next_one, count)
                turn.set_result(None)

    def _is_next_free(self, workspace_id: WorkspaceId) -> bool:
        return self._is_free(workspace_id, self._waiting[workspace_id][0][1])

    def _is_free(self, workspace_id: WorkspaceId, count: int) -> bool:
        held = self._held[workspace_id] + count
        is_sure = held <= self._sure or (held == count and self._sure > 0)
        return is_sure or (held <= self._share and self._all_held + count <= self._total)

    def _enter(self, workspace_id: WorkspaceId, count: int) -> None:
        self._held[workspace_id] += count
        self._all_held += count

    def _forget(self, workspace_id: WorkspaceId, turn: "asyncio.Future[None]", count: int) -> None:
        waiting = self._waiting.get(workspace_id)
        if waiting is not None and (turn, count) in waiting:
            waiting.remove((turn, count))
            if not waiting:
                del self._waiting[workspace_id]
            # Fewer may fit where it did not.
            self._let_in()
