"""Slots for workflow tasks: a worker takes no more than its event loop can begin and complete in time."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final

from temporalio.worker import (
    CustomSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
)

# The client asks for more time when a fifth of `TASK_TIMEOUT` is left: that is what the end of an advance may have.
_BUDGET_SECONDS: Final = 0.5
# A task is begun, loads and stores its execution, and is completed, each in a turn of its own.
_TURNS_OF_A_TASK: Final = 5
_PAUSE_SECONDS: Final = 0.02
# Of a long turn, half is left after a quarter of a second.
_DECAY: Final = 0.95


def is_in_time(waiting: int, *, turn_seconds: float) -> bool:
    """Return whether one more task is completed in time, after those that wait for a turn of the event loop."""
    return (_TURNS_OF_A_TASK + waiting) * turn_seconds <= _BUDGET_SECONDS


@dataclass(slots=True, eq=False)
class _Permit(SlotPermit):
    """A slot. Args: is_sticky: Its kind of poll. is_polling: The poll has brought no task yet."""

    is_sticky: bool
    is_polling: bool = True


class TaskSlots(CustomSlotSupplier):
    """Slots for the workflow tasks of one worker.

    The client begins one task in a turn of the event loop. While turns are long, tasks that were taken from Temporal
    would wait here until Temporal repeats them, which makes turns still longer. So a slot is only given while a task
    and those before it need less than half a second of turns, or when there is none.

    The client has two kinds of polls, and needs both: sticky ones are for workflows that this worker knows. A poll
    holds its slot for up to a minute, so the last slot is kept for a kind that has no poll.

    The client reserves slots in the event loop, and calls the other methods from threads of its own.

    Args:
        most: Limit of slots.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._permits: set[_Permit] = set()
        self._advancing = 0
        self._turn_seconds = 0.0
        self._measuring: asyncio.Task[None] | None = None

    @property
    def held(self) -> int:
        """Return the number of slots that polls and tasks have."""
        return len(self._permits)

    @contextlib.contextmanager
    def advancing(self) -> Iterator[None]:
        """Count a task as begun, while its execution is advanced: other tasks do not wait for it meanwhile."""
        self._advancing += 1
        if self._measuring is None:
            self._measuring = asyncio.create_task(self._measure(), name="turns of the event loop")
        try:
            yield
        finally:
            self._advancing -= 1

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (permit := self._reserve(ctx.is_sticky)) is None:  # noqa: ASYNC110 # turns become short in their own time
            await asyncio.sleep(_PAUSE_SECONDS)
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """Reject tasks that Temporal would hand over without being asked."""
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """Record that the poll has ended. Its slot counts as before: a poll may bring a task at any time."""
        assert isinstance(ctx.permit, _Permit)
        with self._lock:
            ctx.permit.is_polling = False

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        assert isinstance(ctx.permit, _Permit)
        with self._lock:
            self._permits.discard(ctx.permit)

    def _reserve(self, is_sticky: bool) -> _Permit | None:
        with self._lock:
            if len(self._permits) >= self._most:
                return None
            of_kind = [held for held in self._permits if held.is_sticky is is_sticky]
            if len(self._permits) == self._most - 1 and any(held.is_polling for held in of_kind):
                return None
            is_needed = not of_kind
            waiting = len(self._permits) - self._advancing
            if not (is_needed or is_in_time(waiting, turn_seconds=self._turn_seconds)):
                return None
            permit = _Permit(is_sticky)
            self._permits.add(permit)
            return permit

    async def _measure(self) -> None:
        """Measure the turns of the event loop while executions are advanced."""
        loop = asyncio.get_running_loop()
        while self._advancing:
            began_at = loop.time()
            await asyncio.sleep(_PAUSE_SECONDS)
            turn = loop.time() - began_at - _PAUSE_SECONDS
            self._turn_seconds = max(turn, self._turn_seconds * _DECAY)
        self._turn_seconds = 0.0
        self._measuring = None
