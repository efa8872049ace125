"""The state of an execution from stored events, which arrive in portions."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from flowrunner.domain.events import Event
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.transitions import apply
from flowrunner.engine.event_log import MEASURED_BYTES
from flowrunner.ports.journal import Unreadable


class Replay:
    """The state after the events so far; the events themselves are not kept.

    Attributes:
        first: The first event.
        last: The last event so far.
    """

    first: Event
    last: Event

    def __init__(self) -> None:
        self._state = ExecutionState()
        self._error: Exception | None = None

    async def add(self, events: Sequence[tuple[Event, datetime]]) -> None:
        """Apply a portion of events, of which there is at least one."""
        if self._state.seq == 0 and self._error is None:
            self.first = events[0][0]
        self.last = events[-1][0]
        if self._error is not None:
            return
        state, measured_bytes = self._state, self._state.measured_bytes
        try:
            for event, at in events:
                apply(state, event, at)
                if state.measured_bytes - measured_bytes > MEASURED_BYTES:
                    # Let other tasks run.
                    measured_bytes = state.measured_bytes
                    await asyncio.sleep(0)
        except MemoryError:
            raise
        except Exception as error:  # any error of the replay means that the events cannot be used
            self._error = error

    @property
    def state(self) -> ExecutionState:
        """Return the state after all events. Raises: Unreadable."""
        if self._error is not None:
            message = f"The events of this execution do not follow from each other ({self._error})"
            raise Unreadable(message) from self._error
        return self._state
