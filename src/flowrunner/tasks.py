"""Tasks that start without a turn of the event loop."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def begin(run: Coroutine[Any, Any, T], *, name: str | None = None) -> "asyncio.Task[T]":
    """Create a task and run it until it waits for the first time; one that never waits has ended on return.

    Before Python 3.12, the task starts in the next turn of the event loop.
    """
    if sys.version_info >= (3, 12):
        return asyncio.eager_task_factory(asyncio.get_running_loop(), run, name=name)
    return asyncio.create_task(run, name=name)
