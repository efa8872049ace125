"""Reading of the stored events of an execution's steps."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from flowrunner.domain.values import ExecutionId


# A struct is made in a fifth of the time of a frozen dataclass, and there is one for each event.
class StoredEvent(msgspec.Struct, frozen=True):
    """An event as it is stored, not decoded. Args: type: Its stored type: see `event_codec.type_of`."""

    seq: int
    at: datetime
    type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class ScopeEvents:
    """The events of some scopes, and the numbers of ended scopes that their steps had opened.

    Attributes:
        ended: Number of scopes of a step that have ended with an outcome, by the step's full name and the outcome. The
            ends of scopes with a part that a loop collects, and of the given scopes, are events instead.
        last_seq: Number of the last event that was looked at.
    """

    events: Sequence[StoredEvent]
    ended: Mapping[tuple[str, str], int]
    last_seq: int


class StepEvents(Protocol):
    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        """Return the events after ``seq`` without log lines: at most ``limit``, and about `PAGE_OF_EVENTS_BYTES`.

        Args:
            are_small: All events together fit into memory; skip the check of their sizes.
        """
        ...

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        """Return the events with these numbers, in their order."""
        ...

    async def of_scopes(self, id: ExecutionId, seq: int, *, until: int, scopes: Collection[str]) -> ScopeEvents:
        """Return the events after ``seq`` that belong to some scopes: about `PAGE_OF_EVENTS_BYTES`.

        Args:
            until: Number of the last event to look at.
        """
        ...
