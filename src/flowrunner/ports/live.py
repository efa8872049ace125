"""Live events for subscribers."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded

T = TypeVar("T")

MAX_PENDING: Final = 256


class Broadcast(Protocol):
    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None: ...

    def mark_stale(self, execution_id: ExecutionId) -> None:
        """Mark the execution as having events in the journal that were not published here."""
        ...


class Subscription(Generic[T]):
    """A queue of what is published from now on, held until the subscriber takes it: at most `MAX_PENDING` items.

    A subscriber that falls behind loses nothing: it reads what it has missed where that is stored.
    """

    def __init__(self) -> None:
        self._pending: deque[T] = deque()
        self._changed = asyncio.Event()
        self._fell_behind = False

    def put(self, items: Sequence[T]) -> None:
        if len(self._pending) + len(items) > MAX_PENDING:
            self.fall_behind()
        elif not self._fell_behind:
            self._pending.extend(items)
        self._changed.set()

    def fall_behind(self) -> None:
        """Drop what is held, because the subscriber has missed items or is about to."""
        self._pending.clear()
        self._fell_behind = True
        self._changed.set()

    async def take(self) -> Sequence[T] | None:
        """Wait for items and return those since the last call; None if some were dropped meanwhile."""
        while not self._pending and not self._fell_behind:
            self._changed.clear()
            await self._changed.wait()
        if self._fell_behind:
            self._fell_behind = False
            return None
        taken = list(self._pending)
        self._pending.clear()
        return taken


# Called with an execution and its new events. There are no events if they were not published here, and no execution if
# any execution may have new events.
OnChange: TypeAlias = Callable[[ExecutionId | None, Sequence[Recorded] | None], None]


class AllExecutions(Protocol):
    """The changes of all executions, for one watcher."""

    def watch(self, on_change: OnChange) -> None: ...
    def unwatch(self) -> None: ...


class LiveEvents(Protocol):
    """The events of executions as they become durable."""

    def subscribe(self, execution_id: ExecutionId) -> Subscription[Recorded]:
        """Subscribe to the events of one execution from now on."""
        ...

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription[Recorded]) -> None: ...
