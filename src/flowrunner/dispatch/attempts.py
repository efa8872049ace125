"""Retries of work that has to be done eventually, and many pieces of work of which none stops another."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from flowrunner.domain.errors import Conflict, NotFound, Unavailable
from flowrunner.retrying import retry, rising

logger = structlog.get_logger()

# Rising, so that a lasting failure does not fill the log.
seconds_after = rising(1.0, 2.0, 4.0, 8.0, 10.0)
_CONCURRENCY: Final = 8


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


async def attempt_all(works: Iterable[Callable[[], Awaitable[None]]]) -> Sequence[Exception]:
    """Attempt as `attempt_until_outage`, and return the errors alone."""
    return (await attempt_until_outage(works))[0]


async def attempt_until_outage(works: Iterable[Callable[[], Awaitable[None]]]) -> tuple[Sequence[Exception], bool]:
    """Attempt each piece of work once, some at a time. An error of one stops no other.

    During an outage, when as many in a row are Unavailable as run at a time, the rest is not attempted. An execution
    that has ended or does not exist is no error.

    Returns: The errors, and whether an outage has ended the attempts.
    """
    errors: list[Exception] = []
    unavailable_in_a_row = 0
    left = iter(works)

    async def attempt_some() -> None:
        nonlocal unavailable_in_a_row
        for work in left:
            try:
                with contextlib.suppress(Conflict, NotFound):
                    await work()
                unavailable_in_a_row = 0
            except Exception as error:
                errors.append(error)
                unavailable_in_a_row = unavailable_in_a_row + 1 if isinstance(error, Unavailable) else 0
            if unavailable_in_a_row >= _CONCURRENCY:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(_CONCURRENCY):
            group.create_task(attempt_some())
    return errors, unavailable_in_a_row >= _CONCURRENCY


def raise_first(errors: Sequence[Exception]) -> None:
    """Raise the first error, if there is one; rather one that is a bug than an outage."""
    if errors:
        raise next((error for error in errors if not isinstance(error, Unavailable)), errors[0])
