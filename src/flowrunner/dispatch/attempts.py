"""How often a dispatcher tries what has to be done in the end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from flowrunner.domain.errors import Conflict, NotFound

logger = structlog.get_logger()

FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 10.0


def seconds_after(tries: int) -> float:
    """How long to wait when so many tries have failed: what cannot be done must not fill the log."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** min(tries - 1, 10), _LONGEST_WAIT_SECONDS)


async def until_done(
    work: Callable[[], Awaitable[None]], failure: str, what: str, *, is_over: Callable[[int], bool]
) -> None:
    """Do the work, again and again if it fails, until it is done or there is nothing to be done.

    Args:
        failure: What the log calls it when it fails.
        is_over: Whether it need not be tried again, when so many tries have failed.
    """
    tries = 0
    while not is_over(tries):
        try:
            await work()
            return
        except (Conflict, NotFound):
            return
        except Exception as error:
            tries += 1
            logger.warning(failure, what=what, reason=str(error))
        await asyncio.sleep(seconds_after(tries))
