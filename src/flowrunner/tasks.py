"""Tasks that start at once, their ends, tasks of a context, and a time limit at a third of the cost of asyncio's."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begin(run: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
    """Create a task and run it until it waits for the first time; one that never waits has ended on return.

    Before Python 3.12, the task starts in the next iteration of the event loop.
    """
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory(asyncio.get_running_loop(), run, name=name)
    return asyncio.create_task(run, name=name)


async def all_ended(*work: Awaitable[T]) -> list[T]:
    """Do several things at the same time, and return their results. Raises: the first error, once all have ended."""
    results: list[T] = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        results.append(result)
    return results


async def cancel_all(*tasks: "asyncio.Future[Any]") -> None:
    """Cancel tasks, and return when they have ended, however they did."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def alongside(run: Coroutine[Any, Any, object], *, name: str | None = None) -> AsyncIterator[None]:
    """Run a task until the end of the context, which cancels it and waits for it."""
    task = asyncio.create_task(run, name=name)
    try:
        yield
    finally:
        await cancel_all(task)


class TimeLimit:
    """A time limit that cancels its task within a `with` statement, as `asyncio.timeout` does.

    It then gives up on a task that continues regardless.

    Args:
        grace_seconds: Time after the limit for cleaning up.
        give_up: Called after that time, unless the limit was closed.

    Attributes:
        has_passed: The time is over.
    """

    __slots__ = ("_cancelling", "_give_up", "_grace_seconds", "_loop", "_task", "_timer", "has_passed")

    def __init__(self, seconds: float, grace_seconds: float, give_up: Callable[[], None] | None) -> None:
        self.has_passed = False
        self._grace_seconds = grace_seconds
        self._give_up = give_up
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(seconds, self._pass)

    def __enter__(self) -> None:
        self._task = task = asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        self._cancelling = task.cancelling()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Raises: TimeoutError in place of the cancellation by this limit alone."""
        task, self._task = self._task, None
        if not self.has_passed or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _pass(self) -> None:
        self.has_passed = True
        if self._task is not None:
            self._task.cancel()
        if self._give_up is not None:
            self._timer = self._loop.call_later(self._grace_seconds, self._give_up)

    def close(self) -> None:
        self._timer.cancel()
