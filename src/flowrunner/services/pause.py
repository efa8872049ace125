"""Use cases of the installation's pause: no execution starts, and open ones go on."""

from datetime import datetime
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import act
from flowrunner.ports.clock import Clock
from flowrunner.ports.pause import PauseStore

# Actions in the audit log.
BEGUN: Final = "installation.paused"
ENDED: Final = "installation.resumed"


class Pause:
    def __init__(self, store: PauseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def began_at(self) -> datetime | None:
        """Return since when nothing starts; None if executions start."""
        return await self._store.paused_at()

    async def set(self, caller: Caller, *, paused: bool) -> datetime | None:
        """Pause the installation or end its pause; return since when it is paused."""
        now = self._clock.now()
        entry = act(caller, BEGUN if paused else ENDED, "installation", "executions", at=now)
        return await self._store.set(now if paused else None, audit=entry)
