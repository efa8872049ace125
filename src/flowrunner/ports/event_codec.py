"""The JSON form of events, which the journal stores and every later version reads."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from flowrunner.domain.causes import StoredCause, stored_fields
from flowrunner.domain.events import EVENT_TYPES, Event, Started
from flowrunner.domain.values import JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredStart(StoredCause):
    """`Started` with a field for each kind of cause."""

    node: str
    node_type: str
    input: JSON
    is_queued: bool = False
    flow_name: str = ""


def encode_event(event: Event) -> bytes:
    """Return the event's fields as a JSON object. Raises: the exceptions of msgspec for values that are not JSON."""
    if not isinstance(event, Started):
        return msgspec.json.encode(event)
    stored = _StoredStart(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
        **stored_fields(event.cause),
    )
    return msgspec.json.encode(stored)


def decode_event(type: str, data: str | bytes) -> Event:
    """Return the event of a known type. Raises: msgspec.MsgspecError, UnicodeError."""
    event = _decoder(type).decode(data)
    if not isinstance(event, _StoredStart):
        return event
    return Started(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        cause=event.cause,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
    )


@cache
def _decoder(type: str) -> msgspec.json.Decoder[Event | _StoredStart]:
    stored: Any = _StoredStart if type == Started.type else EVENT_TYPES[type]
    return msgspec.json.Decoder(stored)
