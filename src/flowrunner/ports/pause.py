"""The store of the installation's pause."""

from datetime import datetime
from typing import Protocol

from flowrunner.ports.audit import Audit


class PauseStore(Protocol):
    async def paused_at(self) -> datetime | None:
        """Return since when the installation starts no executions; None if it starts them."""
        ...

    async def set(self, at: datetime | None, *, audit: Audit = None) -> datetime | None:
        """Pause the installation, or let it start executions again with None; return since when it is paused.

        A pause that has begun keeps its beginning.
        """
        ...
