"""Depth of chains: how many ends of executions, and requests of flows, have led to one by triggers."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.causes import DEPTH_HEADER, StartCause
from flowrunner.domain.events import Started
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.journal import JournalReader

# Executions that the end of one may start, the end of each of them another, and so on.
MAX_DEPTH: Final = 20
TOO_DEEP: Final = f"Chain too long: {MAX_DEPTH} executions have started the next one: let flows end the chain"
_LONGEST: Final = 4


async def started_of(journal: JournalReader, id: ExecutionId) -> Started | None:
    """Return the first event of an execution; None if it cannot be read, or is gone."""
    (first, *_) = await journal.events(id, after=0, limit=1) or (None,)
    return first.event if first is not None and isinstance(first.event, Started) else None


async def cause_of(journal: JournalReader, id: ExecutionId) -> StartCause | None:
    started = await started_of(journal, id)
    return None if started is None else started.cause


def depth_in(headers: JSON) -> int:
    """Return the number of ends and requests that have led to a request, as its headers say it; 0 if they do not."""
    text = headers.get(DEPTH_HEADER.lower()) if isinstance(headers, Mapping) else None
    is_number = isinstance(text, str) and text.isascii() and text.isdigit()
    return int(text[:_LONGEST]) if is_number and isinstance(text, str) else 0
