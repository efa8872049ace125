"""Use cases of the installation's pause: no execution starts, and open ones go on."""

from datetime import datetime

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import act
from flowrunner.ports.clock import Clock
from flowrunner.ports.pause import PauseStore


class Pause:
    def __init__(self, store: PauseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def began_at(self) -> datetime | None:
        """Return since when nothing starts; None if executions start."""
        return await self._store.paused_at()

    async def set(self, caller: Caller | None, *, paused: bool) -> datetime | None:
        """Pause the installation or end its pause; return since when it is paused. Args: caller: As of `act`."""
        now = self._clock.now()
        action = "installation.paused" if paused else "installation.resumed"
        entry = act(caller, action, "installation", "executions", at=now)
        return await self._store.set(now if paused else None, audit=entry)
