"""Live events for subscribers."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded


class Broadcast(Protocol):
    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None: ...

    def mark_stale(self, execution_id: ExecutionId) -> None:
        """Mark the execution as having events in the journal that were not published here."""
        ...


class Subscription(Protocol):
    async def take(self) -> Sequence[Recorded] | None:
        """Wait for events and return those since the last call; None if some were dropped meanwhile."""
        ...


# Called with an execution and its new events. There are no events if they were not published here, and no execution if
# any execution may have new events.
OnChange: TypeAlias = Callable[[ExecutionId | None, Sequence[Recorded] | None], None]


class AllExecutions(Protocol):
    """The changes of all executions, for one watcher."""

    def watch(self, on_change: OnChange) -> None: ...
    def unwatch(self) -> None: ...


class LiveEvents(Protocol):
    """The events of executions as they become durable."""

    def subscribe(self, execution_id: ExecutionId) -> Subscription:
        """Subscribe to the events of one execution from now on."""
        ...

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription) -> None: ...
