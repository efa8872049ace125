"""Limit on the time that one iteration of the event loop spends on parsing answers."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from flowrunner.domain.values import WorkspaceId

_BUDGET_SECONDS: Final = 0.02


class ParsingBudget:
    """The time for parsing answers in one iteration of the event loop; the rest is parsed in later iterations.

    Deferred work is served round-robin over workspaces, so one's answers delay another's by one piece each.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._spent = 0.0
        self._is_resetting = False
        # Ordered: the workspace that is served next comes first.
        self._waiting: OrderedDict[WorkspaceId, deque[Callable[[], None]]] = OrderedDict()

    @property
    def is_spent(self) -> bool:
        """True if nothing more may be parsed in this iteration of the loop."""
        return self._spent >= _BUDGET_SECONDS

    def parse(self, work: Callable[[], None]) -> None:
        """Run ``work`` and count its time."""
        begun = time.perf_counter()
        try:
            work()
        finally:
            self._spent += time.perf_counter() - begun
            self._reset_soon()

    def defer(self, workspace_id: WorkspaceId, work: Callable[[], None]) -> None:
        """Call ``work`` in a later iteration of the loop."""
        self._waiting.setdefault(workspace_id, deque()).append(work)
        self._reset_soon()

    def _reset_soon(self) -> None:
        if not self._is_resetting:
            self._is_resetting = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_resetting = False
        self._spent = 0.0
        try:
            for _ in range(sum(map(len, self._waiting.values()))):
                if self.is_spent:
                    return
                workspace_id, waiting = next(iter(self._waiting.items()))
                work = waiting.popleft()
                self._waiting.move_to_end(workspace_id)
                if not waiting:
                    del self._waiting[workspace_id]
                work()
        finally:
            if self._waiting:
                self._reset_soon()
