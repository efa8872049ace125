"""Refused requests of webhook triggers: counted in memory, so that they cannot fill the database."""

from datetime import datetime
from functools import partial
from typing import Final

from flowrunner.domain.triggers import TriggerId
from flowrunner.ports.hooks import HookStore, Refusal, Refusals
from flowrunner.write_behind import WriteBehind

MOST_KEPT: Final = 10
# Triggers whose refusals wait to be written; those of further ones are not counted.
_MOST_TRIGGERS: Final = 10_000


class RefusedHooks:
    def __init__(self, store: HookStore) -> None:
        self._pending: WriteBehind[TriggerId, Refusals] = WriteBehind(
            partial(store.add_refusals, most=MOST_KEPT), _added
        )
        self.write = self._pending.write

    def add(self, id: TriggerId, reason: str, *, at: datetime) -> None:
        if id in self._pending or len(self._pending) < _MOST_TRIGGERS:
            self._pending.note(id, Refusals(1, (Refusal(at, reason),)))


def _added(earlier: Refusals, later: Refusals) -> Refusals:
    return Refusals(earlier.count + later.count, (*earlier.last, *later.last)[-MOST_KEPT:])
