"""When an execution goes on by itself: it has waited for long enough."""

import asyncio
import contextlib
from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports import Clock, Journal

logger = structlog.get_logger()

_PAGE: Final = 500
_RETRY_SECONDS: Final = 1.0
# Also how late a wait may end after the clock was set forward.
_LONGEST_NAP_SECONDS: Final = 10.0


class Timers:
    """Takes up what is due by its row in the journal.

    Args:
        take_up: Called with each execution that is due, and its account.
        in_memory: Executions that are, or are on their way.
        queued: Executions that wait for room in memory.
        put_off: Executions that could not go on, and come back by themselves.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        take_up: Callable[[ExecutionId, WorkspaceId], None],
        *,
        in_memory: Sized,
        queued: Sized,
        put_off: Sized,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._take_up = take_up
        self._in_memory = in_memory
        self._queued = queued
        self._put_off = put_off
        self._news = asyncio.Event()
        self._next_look_at = clock.now()

    def expect(self, due_at: datetime) -> None:
        """An execution waits from now on, until then."""
        if due_at < self._next_look_at:
            self._news.set()

    async def watch(self) -> None:
        """Take up whatever is due, for ever."""
        while True:
            self._news.clear()
            # While the rows are read, whoever parks cannot tell whether this look still sees them.
            self._next_look_at = datetime.max.replace(tzinfo=UTC)
            try:
                nap = await self._take_up_due()
            except Exception as error:
                # Whatever it was, the next look may go well; without one every wait would be for ever.
                logger.error("dispatcher.timers_failed", error=str(error))
                nap = _RETRY_SECONDS
            self._next_look_at = self._clock.now() + timedelta(seconds=nap)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(nap):
                    await self._news.wait()

    async def _take_up_due(self) -> float:
        """Gives the seconds until there may be more."""
        now = self._clock.now()
        # Those that are known already may still be due by their rows: they do not count.
        known = len(self._in_memory) + len(self._queued) + len(self._put_off)
        for id, workspace_id in await self._journal.due(now=now, limit=_PAGE + known):
            self._take_up(id, workspace_id)
        at = await self._journal.next_wake()
        if at is None:
            return _LONGEST_NAP_SECONDS
        # Rows that are due, and known already, must not make this loop spin.
        shortest = 0.5 if self._queued or self._put_off else 0.05
        return min(max((at - self._clock.now()).total_seconds(), shortest), _LONGEST_NAP_SECONDS)
