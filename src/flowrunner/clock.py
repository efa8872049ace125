"""System clock."""

import time
from datetime import UTC, datetime


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
