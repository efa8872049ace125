"""Bounds on the time that one turn of the event loop spends on reading answers."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from flowrunner.domain.values import WorkspaceId

_TURN_SECONDS: Final = 0.02


class ParsingTurns:
    """What has come from called servers is parsed for a while in each turn of the loop, the rest in the next ones.

    Accounts take turns then, so that the answers to one account delay those to others by one piece each.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._spent = 0.0
        self._is_resetting = False
        # The account whose turn is next comes first.
        self._waiting: OrderedDict[WorkspaceId, deque[Callable[[], None]]] = OrderedDict()

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be parsed in this turn of the loop."""
        return self._spent >= _TURN_SECONDS

    def parse(self, work: Callable[[], None]) -> None:
        """Do ``work`` and count the time it takes."""
        begun = time.perf_counter()
        try:
            work()
        finally:
            self._spent += time.perf_counter() - begun
            self._reset_soon()

    def in_next_turn(self, workspace_id: WorkspaceId, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` in one of the next turns of the loop."""
        self._waiting.setdefault(workspace_id, deque()).append(go_on)
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
                if self.is_over:
                    return
                workspace_id, waiting = next(iter(self._waiting.items()))
                go_on = waiting.popleft()
                self._waiting.move_to_end(workspace_id)
                if not waiting:
                    del self._waiting[workspace_id]
                go_on()
        finally:
            if self._waiting:
                self._reset_soon()
