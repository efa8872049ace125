"""Broadcast of recorded events to live subscribers."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Recorded
from flowrunner.ports.live import OnChange, Subscription

# A subscriber with more pending events reads the journal instead.
MAX_PENDING: Final = 256


class LocalSubscription:
    """Events of one execution from now on, held until the subscriber takes them.

    A subscriber that falls behind loses nothing: `take` returns None, and the missed events are in the journal.
    """

    def __init__(self) -> None:
        self._pending: deque[Recorded] = deque()
        self._changed = asyncio.Event()
        self._fell_behind = False

    def put(self, records: Sequence[Recorded]) -> None:
        if len(self._pending) + len(records) > MAX_PENDING:
            self.fall_behind()
        elif not self._fell_behind:
            self._pending.extend(records)
        self._changed.set()

    def fall_behind(self) -> None:
        """Make the subscriber read the journal, because events were recorded that are not pending here."""
        self._pending.clear()
        self._fell_behind = True
        self._changed.set()

    async def take(self) -> Sequence[Recorded] | None:
        while not self._pending and not self._fell_behind:
            self._changed.clear()
            await self._changed.wait()
        if self._fell_behind:
            self._fell_behind = False
            return None
        taken = list(self._pending)
        self._pending.clear()
        return taken


class LocalBroadcast:
    """Implements `ports.Broadcast`, `ports.LiveEvents` and `ports.AllExecutions` within one process."""

    def __init__(self) -> None:
        self._subscriptions: dict[ExecutionId, set[LocalSubscription]] = {}
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

    def subscribe(self, execution_id: ExecutionId) -> LocalSubscription:
        subscription = LocalSubscription()
        self._subscriptions.setdefault(execution_id, set()).add(subscription)
        return subscription

    def unsubscribe(self, execution_id: ExecutionId, subscription: Subscription) -> None:
        subscriptions = self._subscriptions.get(execution_id, set())
        subscriptions.difference_update({subscription})
        if not subscriptions:
            self._subscriptions.pop(execution_id, None)
