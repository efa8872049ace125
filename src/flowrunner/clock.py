"""System clock, and the line of the server log about one that was set back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

logger = structlog.get_logger()

# Above what adjustments of a running clock amount to between two checks.
_LEAST_STEP_SECONDS: Final = 2.0


class SystemClock:
    """Implements `ports.Clock`."""

    def __init__(self) -> None:
        # The last answer with its milliseconds: in most of them the clock is read several times. One attribute, so that
        # threads see both parts of the same answer.
        self._last = (0, datetime.fromtimestamp(0, UTC))

    def now(self) -> datetime:
        milliseconds = time.time_ns() // 1_000_000
        last, now = self._last
        if milliseconds != last:
            now = datetime.fromtimestamp(milliseconds / 1000, UTC)
            self._last = milliseconds, now
        return now


class ClockCheck:
    """Check for steps back of the system clock, by which everything that waits for a moment takes longer.

    Args:
        now: Returns the seconds of the system clock.
        elapsed: Returns the seconds of a clock that nobody sets.
    """

    def __init__(self, now: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._elapsed = elapsed
        self._ahead = self._difference()

    async def again(self) -> None:
        """Log by how much the clock was set back since the last check."""
        before, self._ahead = self._ahead, self._difference()
        back = before - self._ahead
        if back >= _LEAST_STEP_SECONDS:
            hint = "waits, retries and schedules follow the clock: those that are open end later by as much"
            logger.warning("clock.set_back", seconds=round(back, 1), hint=hint)

    def _difference(self) -> float:
        return self._now() - self._elapsed()
