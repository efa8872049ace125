"""Broadcast of recorded events to live subscribers."""

from collections.abc import Sequence

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import OnChange, Subscription


class LocalBroadcast:
    """Implements `ports.Broadcast`, `ports.LiveEvents` and `ports.AllExecutions` within one process."""

    def __init__(self) -> None:
        self._subscriptions: dict[ExecutionId, set[Subscription[Recorded]]] = {}
        self._on_change: OnChange | None = None

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        for subscription in self._subscriptions.get(execution_id, ()):
            subscription.put(records)
        if self._on_change is not None:
            self._on_change(execution_id, records)

    def mark_stale(self, execution_id: str) -> None:
        for subscription in self._subscriptions.get(ExecutionId(execution_id), ()):
            subscription.fall_behind()
        if self._on_change is not None:
            self._on_change(ExecutionId(execution_id), None)

    def mark_all_stale(self) -> None:
        """Mark every subscription stale: another process may have recorded events of any execution."""
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.fall_behind()
        if self._on_change is not None:
            self._on_change(None, None)

    def watch(self, on_change: OnChange) -> None:
        self._on_change = on_change

    def unwatch(self) -> None:
        self._on_change = None

    def subscribe(self, execution_id: ExecutionId) -> Subscription[Recorded]:
        subscription = Subscription[Recorded]()
        self._subscriptions.setdefault(execution_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription[Recorded]) -> None:
        subscriptions = self._subscriptions.get(execution_id, set())
        subscriptions.difference_update({subscription})
        if not subscriptions:
            self._subscriptions.pop(execution_id, None)
