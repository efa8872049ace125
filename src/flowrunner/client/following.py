"""Executions that are followed: their events as lines, and their end, without any I/O."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from flowrunner.client.errors import (
    ClientError,
    ServerUnreachable,
    TooManyRequestsError,
    UnavailableError,
    UnreadableAnswer,
)
from flowrunner.client.requests import draw, segment
from flowrunner.client.retries import LONGEST_DELAY_SECONDS, Retries

if TYPE_CHECKING:
    from flowrunner.client.models import ExecutionDetail

FINAL: Final = frozenset({"completed", "failed", "cancelled"})
LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
_FIRST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 1.0
# The last look at an execution begins when the time of a wait is up, and takes some itself.
_LAST_LOOK_SECONDS: Final = 5.0


class ExecutionFailed(ClientError):
    """An execution that has not completed: it failed, or it was cancelled.

    Attributes:
        execution: The execution as it ended.
    """

    def __init__(self, execution: "ExecutionDetail") -> None:
        error = f": {execution.error}" if execution.error else ""
        super().__init__(f"The execution {execution.id} is {execution.status}{error}")
        self.execution = execution


class StillRunning(ClientError, TimeoutError):
    """An execution that has not ended in the time that `wait` was given. It goes on.

    Attributes:
        execution: The execution as it was last.
    """

    def __init__(self, execution: "ExecutionDetail", seconds: float) -> None:
        super().__init__(f"The execution {execution.id} is {execution.status} after {seconds:g} s")
        self.execution = execution


class Lines:
    """Lines of an answer that arrives in chunks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def of(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that a chunk completes, without the empty ones. Raises: UnreadableAnswer."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join([*self._parts, end])
            self._parts, self._size = [], 0
            if line:
                yield line
        self._size += len(rest)
        if self._size > LONGEST_LINE_BYTES:
            raise UnreadableAnswer(f"A line of the answer has more than {LONGEST_LINE_BYTES} bytes")
        self._parts.append(rest)


class EventPosition:
    """The position in the events of an execution, from which a lost connection goes on.

    Attributes:
        after: The `seq` of the last event.
    """

    def __init__(self, execution_id: str, after: int, retries: Retries, now: Callable[[], float]) -> None:
        self.path = f"/executions/{segment(execution_id)}/events"
        self.after = after
        self._retries = retries
        self._now = now
        self._failures = 0
        self._failing_since = self._lost_at = now()
        self._ended_at: int | None = None
        self._empty_ends = 0

    def heard(self) -> None:
        """Note that bytes have arrived: a stream that lasts is no failure, also while nothing happens."""
        if self._now() - self._lost_at > LONGEST_DELAY_SECONDS:
            self._failures = 0

    def event(self, line: bytes) -> dict[str, Any]:
        """Return the event of a line, and go on to it. Raises: UnreadableAnswer."""
        try:
            event = json.loads(line)
            self.after = int(event["seq"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise UnreadableAnswer("A line of the answer is not an event") from None
        self._failures, self._failing_since = 0, self._now()
        return dict(event)

    def is_last(self, page: Mapping[str, Any]) -> bool:
        """Return whether no event follows, by a page of those after the last one. Raises: UnreadableAnswer."""
        if not isinstance(page.get("has_ended"), bool) or not isinstance(page.get("events"), list):
            raise UnreadableAnswer("The answer is no page of events")
        return bool(page["has_ended"]) and not page["events"]

    def after_end(self) -> float:
        """Return the seconds to wait before the next connection, when one has ended before the execution has."""
        if self.after != self._ended_at:
            self._ended_at, self._empty_ends = self.after, 0
            return 0.0
        # A proxy that ends each stream at once must not be asked without a pause.
        self._empty_ends += 1
        return min(_LONGEST_POLL_SECONDS, _FIRST_POLL_SECONDS * 2.0 ** min(self._empty_ends, 30))

    def after_loss(self, error: ClientError) -> float:
        """Return the seconds to wait before the next connection. Raises: ClientError: There is none."""
        self._lost_at = self._now()
        if self._failures == 0:
            self._failing_since = self._lost_at
        self._failures += 1
        status = retry_after = None
        if isinstance(error, TooManyRequestsError | UnavailableError):
            status, retry_after = error.status, error.retry_after
        elif not isinstance(error, ServerUnreachable):
            raise error
        delay = self._retries.delay(
            self._failures, elapsed=self._lost_at - self._failing_since, draw=draw(), is_repeatable=True, status=status,
            retry_after=retry_after,
        )  # fmt: skip
        if delay is None:
            raise error
        return delay


class Waiting:
    """The wait for the end of an execution.

    Args:
        timeout: Seconds; None waits indefinitely.
        check: An execution that has not completed is an error.
    """

    def __init__(self, timeout: float | None, *, check: bool, now: Callable[[], float]) -> None:
        self._timeout = timeout
        self._check = check
        self._now = now
        self._start = now()
        self._delay = _FIRST_POLL_SECONDS

    def seconds(self, most: float) -> float:
        """Return the seconds that one attempt to look may take."""
        return min(most, max(self._left, _LAST_LOOK_SECONDS))

    def retries(self, usual: Retries) -> Retries:
        """Return the bounds of the attempts to look: none but the first begins when the time is up."""
        return Retries(max(0.0, min(usual.seconds, self._left)))

    @property
    def _left(self) -> float:
        return math.inf if self._timeout is None else self._start + self._timeout - self._now()

    def delay(self, execution: "ExecutionDetail") -> float | None:
        """Return the seconds after which to look again, or None if it has ended.

        Raises:
            ExecutionFailed: It failed, or it was cancelled.
            StillRunning: The time is up.
        """
        if execution.status in FINAL:
            if self._check and execution.status != "completed":
                raise ExecutionFailed(execution)
            return None
        delay, self._delay = self._delay, min(self._delay * 2, _LONGEST_POLL_SECONDS)
        if self._timeout is None:
            return delay
        if (left := self._left) <= 0:
            raise StillRunning(execution, self._timeout)
        return min(delay, left)
