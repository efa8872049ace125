"""Timers of waiting executions."""

import asyncio
import contextlib
from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.ports.due_executions import DueExecutions

logger = structlog.get_logger()

_PAGE: Final = 500
_RETRY_SECONDS: Final = 1.0
_SHORTEST_NAP_SECONDS: Final = 0.05
_PAUSE_BEFORE_MORE_SECONDS: Final = 0.25
# Also the maximum delay of a wait after the clock was set forward.
_LONGEST_NAP_SECONDS: Final = 10.0


class Timers:
    """The loop that resumes executions which are due.

    Args:
        take_up: Called with each due execution and its workspace.
        in_memory: Executions in memory, or being loaded.
        queued: Executions that wait to be loaded.
        put_off: Executions that failed to load or advance, and are retried.
    """

    def __init__(
        self,
        due: DueExecutions,
        clock: Clock,
        take_up: Callable[[ExecutionId, WorkspaceId], None],
        *,
        in_memory: Sized,
        queued: Sized,
        put_off: Sized,
    ) -> None:
        self._due = due
        self._clock = clock
        self._take_up = take_up
        self._in_memory = in_memory
        self._queued = queued
        self._put_off = put_off
        self._is_earlier = asyncio.Event()
        self._next_check_at = clock.now()

    def expect(self, due_at: datetime) -> None:
        """Register an execution that waits until ``due_at``."""
        if due_at < self._next_check_at:
            self._is_earlier.set()

    async def watch(self) -> None:
        """Resume due executions indefinitely."""
        while True:
            self._is_earlier.clear()
            # While the rows are read, `expect` cannot know whether this check sees the new one.
            self._next_check_at = datetime.max.replace(tzinfo=UTC)
            try:
                nap = await self._take_up_due()
            except Exception as error:
                # Retry after any error: without this loop every wait would last indefinitely.
                logger.error("dispatcher.timers_failed", error=str(error))
                nap = _RETRY_SECONDS
            self._next_check_at = self._clock.now() + timedelta(seconds=nap)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(nap):
                    await self._is_earlier.wait()

    async def _take_up_due(self) -> float:
        """Resume due executions, and return the seconds until the next check."""
        now = self._clock.now()
        # Rows of known executions may still be due: allow for them in the page.
        known = len(self._in_memory) + len(self._queued) + len(self._put_off)
        due = await self._due.due(now=now, limit=_PAGE + known)
        for id, workspace_id in due:
            self._take_up(id, workspace_id)
        if len(due) == _PAGE + known:
            # More are due, and each check reads those again that wait to be loaded.
            return _PAUSE_BEFORE_MORE_SECONDS
        # Due rows of known executions must not make this loop spin.
        at = await self._due.next_wake(after=now)
        if at is None:
            return _LONGEST_NAP_SECONDS
        return min(max((at - self._clock.now()).total_seconds(), _SHORTEST_NAP_SECONDS), _LONGEST_NAP_SECONDS)
