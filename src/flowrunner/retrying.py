"""Retries of calls that fail while something else is unavailable."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# The seconds to wait after so many failed attempts.
Delay: TypeAlias = Callable[[int], float]


def rising(*seconds: float) -> Delay:
    """Return a delay that takes these values in turn and then keeps the last one."""
    return lambda attempts: seconds[min(attempts, len(seconds)) - 1]


async def retry(
    call: Callable[[], Awaitable[T]],
    *,
    on: type[Exception],
    delay: Delay,
    on_failure: Callable[[Exception, int], None],
) -> T:
    """Repeat the call until it raises no such error.

    Args:
        on: The errors that another attempt may not meet.
        on_failure: Called before each delay with the error and the number of failed attempts. It raises to give up.
    """
    attempts = 0
    while True:
        try:
            return await call()
        except on as error:
            attempts += 1
            on_failure(error, attempts)
            # Whatever raised the error may keep it, such as a future. Its traceback would keep the frames of all
            # callers too, and in a circle: with the values of an execution, until the garbage collector finds it.
            error.__traceback__ = None
        await asyncio.sleep(delay(attempts))
