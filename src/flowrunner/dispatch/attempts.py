"""Retries of work that has to be done eventually."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from flowrunner.domain.errors import Conflict, NotFound

logger = structlog.get_logger()

FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 10.0


def seconds_after(attempts: int) -> float:
    """Return the delay after so many failed attempts; it grows so that a lasting failure does not fill the log."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(attempts - 1, 10), _LONGEST_WAIT_SECONDS)


async def until_done(
    work: Callable[[], Awaitable[None]], failure: str, what: str, *, is_over: Callable[[int], bool]
) -> None:
    """Repeat the work until it succeeds, or the execution has ended or does not exist.

    Args:
        failure: The log event of a failed attempt.
        what: The subject of the work in that event.
        is_over: Return whether to give up after so many failed attempts.
    """
    attempts = 0
    while not is_over(attempts):
        try:
            await work()
            return
        except (Conflict, NotFound):
            return
        except Exception as error:
            attempts += 1
            logger.warning(failure, what=what, reason=str(error))
        await asyncio.sleep(seconds_after(attempts))
