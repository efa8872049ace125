"""Decisions about failed attempts: which requests are sent again, and when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flowrunner.client.answers import Answer, check
from flowrunner.client.errors import ServerUnreachable
from flowrunner.client.requests import Origin, Request, draw

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 5.0
# The server did not do what was asked, for whatever method.
_REFUSED: Final = frozenset({429})
# The server or a proxy could not answer, and may have done it.
_TEMPORARY: Final = frozenset({502, 503, 504})
_READING: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Retries:
    """The bounds of all attempts of a request.

    Attributes:
        seconds: No attempt begins later than this after the first; 0 allows one attempt.
    """

    seconds: float

    def delay(
        self,
        attempt: int,
        *,
        elapsed: float,
        draw: float,
        is_repeatable: bool,
        status: int | None = None,
        was_sent: bool = True,
        retry_after: float | None = None,
    ) -> float | None:
        """Return the seconds to wait before the next attempt, or None if the failure is final.

        Args:
            attempt: The attempt that failed, counted from 1.
            elapsed: Seconds since the first attempt began.
            draw: A uniform sample from [0, 1).
            status: That of the answer; None if there was none.
            was_sent: The server may have got the request.
            retry_after: What the answer asks for, in seconds.
        """
        if not _may_repeat(status, is_repeatable=is_repeatable, was_sent=was_sent):
            return None
        longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 30))
        delay = longest * (0.5 + draw / 2)
        if retry_after is not None:
            # Not earlier than asked, and not all at the same moment.
            delay = max(delay, retry_after + draw * FIRST_DELAY_SECONDS)
        return delay if elapsed + delay <= self.seconds else None


class Attempts:
    """The attempts of one request so far.

    Args:
        now: The monotonic clock.
    """

    def __init__(self, request: Request, origin: Origin, retries: Retries, now: Callable[[], float]) -> None:
        self._request = request
        self._origin = origin
        self._retries = retries
        self._now = now
        self._start = now()
        self._count = 0
        self._may_be_done = False

    def after_loss(self, error: ServerUnreachable) -> float:
        """Return the seconds to wait before the next attempt. Raises: ServerUnreachable: There is none."""
        self._may_be_done |= error.was_sent
        delay = self._delay(was_sent=error.was_sent)
        if delay is None:
            raise error
        return delay

    def after(self, answer: Answer) -> float | None:
        """Return the seconds to wait before the next attempt, or None if the answer is final."""
        if answer.status < 400:
            return None
        self._may_be_done |= answer.status in _TEMPORARY
        return self._delay(status=answer.status, retry_after=answer.retry_after)

    def checked(self, answer: Answer) -> Answer:
        """Return the final answer. Raises: ApiError, UnreadableAnswer."""
        return check(answer, self._origin, may_be_done=self._may_be_done and self._request.method not in _READING)

    def _delay(
        self, *, status: int | None = None, was_sent: bool = True, retry_after: float | None = None
    ) -> float | None:
        self._count += 1
        return self._retries.delay(
            self._count, elapsed=self._now() - self._start, draw=draw(), is_repeatable=self._request.is_repeatable,
            status=status, was_sent=was_sent, retry_after=retry_after,
        )  # fmt: skip


def _may_repeat(status: int | None, *, is_repeatable: bool, was_sent: bool) -> bool:
    if status is None:
        return is_repeatable or not was_sent
    return status in _REFUSED or (is_repeatable and status in _TEMPORARY)
