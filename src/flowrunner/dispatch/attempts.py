"""Retries of work that has to be done eventually."""

import contextlib
from collections.abc import Awaitable, Callable

import structlog

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.retrying import retry, rising

logger = structlog.get_logger()

# Rising, so that a lasting failure does not fill the log.
seconds_after = rising(1.0, 2.0, 4.0, 8.0, 10.0)


async def until_done(
    work: Callable[[], Awaitable[None]], failure: str, what: str, *, is_over: Callable[[int], bool]
) -> None:
    """Repeat the work until it succeeds, or the execution has ended or does not exist.

    Args:
        failure: The log event of a failed attempt.
        what: The subject of the work in that event.
        is_over: Returns whether to give up after so many failed attempts.
    """
    failed = 0

    async def attempt() -> None:
        if not is_over(failed):
            with contextlib.suppress(Conflict, NotFound):
                await work()

    def note(error: Exception, attempts: int) -> None:
        nonlocal failed
        failed = attempts
        logger.warning(failure, what=what, reason=str(error))

    await retry(attempt, on=Exception, delay=seconds_after, on_failure=note)
