"""Depth of chains: how many ends of executions have led to one, by triggers and by callbacks to webhooks."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.causes import Chained, ChildOf, Hook, StartCause
from flowrunner.domain.events import Started
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.journal import JournalReader

# Executions that the end of one may start, the end of each of them another, and so on.
MAX_DEPTH: Final = 20
TOO_DEEP: Final = f"Chain too long: {MAX_DEPTH} ends have started the next execution: let flows end the chain"
# Tells a webhook how many ends have led to the message of a callback.
DEPTH_HEADER: Final = "FlowRunner-Depth"
# The longest chain of calls that is followed to the execution that has begun it.
_MAX_CALLS: Final = 100
_LONGEST: Final = 4


async def cause_of(journal: JournalReader, id: ExecutionId) -> StartCause | None:
    (first, *_) = await journal.events(id, after=0, limit=1) or (None,)
    return first.event.cause if first is not None and isinstance(first.event, Started) else None


async def depth_of(journal: JournalReader, cause: StartCause | None) -> int:
    """Return the number of ends that have led to an execution, also through those that have called it."""
    for _ in range(_MAX_CALLS):
        if not isinstance(cause, ChildOf):
            break
        cause = await cause_of(journal, cause.execution_id)
    return cause.depth if isinstance(cause, Chained | Hook) else 0


def depth_in(headers: JSON) -> int:
    """Return the number of ends that have led to a request, as its headers say it; 0 if they do not."""
    text = headers.get(DEPTH_HEADER.lower()) if isinstance(headers, Mapping) else None
    is_number = isinstance(text, str) and text.isascii() and text.isdigit()
    return int(text[:_LONGEST]) if is_number and isinstance(text, str) else 0
