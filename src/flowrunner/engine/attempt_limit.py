"""The time limit of an attempt of a step."""

import asyncio
from collections.abc import Callable
from typing import Any


class AttemptLimit:
    """A limit that cancels its task within a `with` statement, and gives up on what goes on regardless.

    Within the statement it does what `asyncio.timeout` does, in a third of the time.

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
