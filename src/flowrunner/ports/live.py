"""Events as they become durable, for whoever watches."""

from collections.abc import Sequence
from typing import Protocol

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded


class Broadcast(Protocol):
    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None: ...

    def mark_stale(self, execution_id: ExecutionId) -> None:
        """Events of the execution may have become durable that are not at hand: they are in the journal."""
        ...


class Subscription(Protocol):
    async def take(self) -> Sequence[Recorded] | None:
        """The events since the last call, at least one; None if some were dropped meanwhile."""
        ...


class LiveEvents(Protocol):
    """The events of executions as they become durable."""

    def subscribe(self, execution_id: ExecutionId) -> Subscription:
        """The events of one execution from now on."""
        ...

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription) -> None: ...
