"""Refused requests of webhook triggers: counted in memory, so that they cannot fill the database."""

from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from flowrunner.domain.triggers import TriggerId
from flowrunner.ports.hooks import HookStore, Refusal, Refusals

MOST_KEPT: Final = 10
# Triggers whose refusals wait to be written; those of further ones are not counted.
_MOST_TRIGGERS: Final = 10_000


class RefusedHooks:
    def __init__(self, store: HookStore) -> None:
        self._store = store
        self._pending: dict[TriggerId, tuple[int, deque[Refusal]]] = {}

    def add(self, id: TriggerId, reason: str, *, at: datetime) -> None:
        if id not in self._pending and len(self._pending) >= _MOST_TRIGGERS:
            return
        count, last = self._pending.get(id) or (0, deque(maxlen=MOST_KEPT))
        last.append(Refusal(at, reason))
        self._pending[id] = count + 1, last

    async def write(self) -> None:
        """Write what was counted since the last write.

        Raises: Unavailable; the next call writes it, too. A count whose outcome is unknown is then written again.
        """
        if self._pending:
            pending, self._pending = self._pending, {}
            counts = {id: Refusals(count, tuple(last)) for id, (count, last) in pending.items()}
            try:
                await self._store.add_refusals(counts, most=MOST_KEPT)
            except BaseException:
                self._keep(pending)
                raise

    def _keep(self, unwritten: Mapping[TriggerId, tuple[int, deque[Refusal]]]) -> None:
        """Add the counts to those that were made since."""
        later, self._pending = self._pending, dict(unwritten)
        for id, (count, last) in later.items():
            before, first = self._pending.get(id) or (0, deque[Refusal](maxlen=MOST_KEPT))
            self._pending[id] = before + count, deque((*first, *last), maxlen=MOST_KEPT)
