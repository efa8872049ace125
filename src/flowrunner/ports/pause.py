"""The store of the installation's pause."""

from datetime import datetime
from typing import Protocol

from flowrunner.domain.audit import AuditEntry


class PauseStore(Protocol):
    async def paused_at(self) -> datetime | None:
        """Return the beginning of the pause, in which the installation starts no executions; None if there is none."""
        ...

    async def set(self, at: datetime | None, *, audit: AuditEntry | None = None) -> datetime | None:
        """Pause the installation, or end the pause if the time is None; return the beginning of the pause.

        A pause that has begun keeps its beginning.

        Args:
            audit: The entry of a change; none is written if there is nothing to change.
        """
        ...
