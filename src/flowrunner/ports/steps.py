"""Reading the stored events of an execution that belong to its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flowrunner.domain.values import ExecutionId


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is stored, not decoded."""

    seq: int
    at: datetime
    type: str
    data: bytes


class StepEvents(Protocol):
    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        """Return the events after ``seq`` without log lines: at most ``limit``, and about `PAGE_OF_EVENTS_BYTES`.

        Args:
            are_small: All events together fit into memory, and their sizes are not looked at.
        """
        ...

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        """Return the events with these numbers, in their order."""
        ...
