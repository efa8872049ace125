"""A concurrency limit with a share for each workspace and a round-robin queue over workspaces."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from flowrunner.domain.values import WorkspaceId


class FairSlots:
    """A limited number of slots that workspaces share.

    Args:
        total: Slots of all workspaces together.
        share: The maximum for one workspace.
        sure: Slots guaranteed to each workspace, even beyond ``total``, so that other workspaces cannot lock it out.
    """

    def __init__(self, *, total: int, share: int, sure: int) -> None:
        assert share <= total, "a share is a part of the whole"
        self._total = total
        self._share = share
        self._sure = sure
        self._held: Counter[WorkspaceId] = Counter()
        self._all_held = 0
        # Ordered: the workspace that is served next comes first.
        self._waiting: OrderedDict[WorkspaceId, deque[tuple[asyncio.Future[None], int]]] = OrderedDict()

    @classmethod
    def of_process(cls, processes: int, *, total: int, share: int, sure: int) -> Self:
        """Return the slots of one of several processes, which together have about those of one."""
        return cls(total=max(total // processes, 1), share=max(share // processes, 1), sure=max(sure // processes, 1))

    def held(self, workspace_id: WorkspaceId) -> int:
        """Return the number of slots that the workspace holds."""
        return self._held[workspace_id]

    @asynccontextmanager
    async def hold(self, workspace_id: WorkspaceId, count: int = 1) -> AsyncIterator[None]:
        """Take ``count`` slots together, and give them back at the end."""
        await self.take(workspace_id, count)
        try:
            yield
        finally:
            self.give_back(workspace_id, count)

    async def take(self, workspace_id: WorkspaceId, count: int = 1) -> None:
        """Wait for ``count`` slots together, at most the workspace's share. `give_back` must return them."""
        if self.take_at_once(workspace_id, count):
            return
        count = min(count, self._share)
        admitted = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(workspace_id, deque()).append((admitted, count))
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self._forget(workspace_id, admitted, count)
            else:
                # The slots were granted at the same moment.
                self.give_back(workspace_id, count)
            raise

    def take_at_once(self, workspace_id: WorkspaceId, count: int = 1) -> bool:
        """Take the slots if they are free now; return False if `take` would wait."""
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
        if self._waiting:
            self._admit_waiting()

    def keep(self, workspace_id: WorkspaceId, count: int, kept: int) -> None:
        """Give back all but ``kept`` of ``count`` slots that were taken together."""
        if (left_over := min(count, self._share) - kept) > 0:
            self.give_back(workspace_id, left_over)

    def _admit_waiting(self) -> None:
        while (next_one := next(filter(self._is_next_free, self._waiting), None)) is not None:
            admitted, count = self._waiting[next_one].popleft()
            self._waiting.move_to_end(next_one)
            if not self._waiting[next_one]:
                del self._waiting[next_one]
            if not admitted.done():
                self._enter(next_one, count)
                admitted.set_result(None)

    def _is_next_free(self, workspace_id: WorkspaceId) -> bool:
        return self._is_free(workspace_id, self._waiting[workspace_id][0][1])

    def _is_free(self, workspace_id: WorkspaceId, count: int) -> bool:
        held = self._held[workspace_id] + count
        is_sure = held <= self._sure or (held == count and self._sure > 0)
        return is_sure or (held <= self._share and self._all_held + count <= self._total)

    def _enter(self, workspace_id: WorkspaceId, count: int) -> None:
        self._held[workspace_id] += count
        self._all_held += count

    def _forget(self, workspace_id: WorkspaceId, admitted: "asyncio.Future[None]", count: int) -> None:
        waiting = self._waiting.get(workspace_id)
        if waiting is not None and (admitted, count) in waiting:
            waiting.remove((admitted, count))
            if not waiting:
                del self._waiting[workspace_id]
            # A smaller request behind it may fit now.
            self._admit_waiting()
