"""The JSON form of events, which the journal stores and every later version reads."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from flowrunner.domain.causes import StoredCause, stored_fields
from flowrunner.domain.events import EVENT_TYPES, ROOT, Event, NodeWaiting, Started
from flowrunner.domain.labels import NO_LABELS
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON
from flowrunner.domain.waits import (
    WAITS_OF_STEPS,
    ApprovalWait,
    ChildWait,
    SignalWait,
    TimeWait,
    WaitFor,
    parse_signal_key,
)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class _StoredStart(StoredCause):
    """`Started` with a field for each kind of cause."""

    node: str
    node_type: str
    input: JSON
    is_queued: bool = False
    flow_name: str = ""
    labels: Mapping[str, str] | None = None
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


# A struct is decoded in less time than a dataclass.
class _StoredWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """`NodeWaiting` with a wait of any type.

    Attributes:
        wait_for: None in an event of the older form, which has the three last fields instead.
        until: The moment of a `TimeWait`, or the deadline of another one.
        key: The key of the signal; None for a `TimeWait`.
        details: The description of the wait.
    """

    node: str
    node_type: str
    iteration: int
    attempt: int
    wait_for: dict[str, Any] | None = None
    deadline: datetime | None = None
    result: JSON = None
    action: str = "default"
    fail_at_deadline: bool = False
    scope: str = ROOT
    until: datetime | None = None
    key: str | None = None
    details: JSON = None


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
        labels=event.labels or None,
        traceparent=event.traceparent or msgspec.UNSET,
        **stored_fields(event.cause),
    )
    return msgspec.json.encode(stored)


def decode_event(type: str, data: str | bytes) -> Event:
    """Return the event of a known type. Raises: msgspec.MsgspecError, UnicodeError."""
    event = _decoder(type).decode(data)
    match event:
        case _StoredStart():
            return _start(event)
        case _StoredWaiting():
            return _waiting(event)
        case _:
            return event


def _start(event: _StoredStart) -> Started:
    return Started(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        cause=event.cause,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
        labels=event.labels or NO_LABELS,
        traceparent="" if event.traceparent is msgspec.UNSET else event.traceparent,
    )


def _waiting(stored: _StoredWaiting) -> NodeWaiting:
    fields = stored.wait_for
    return NodeWaiting(
        node=stored.node,
        node_type=stored.node_type,
        iteration=stored.iteration,
        attempt=stored.attempt,
        wait_for=_older_wait(stored) if fields is None else _wait(fields),
        deadline=stored.until if fields is None else stored.deadline,
        result=stored.result,
        action=stored.action,
        fail_at_deadline=stored.fail_at_deadline,
        scope=stored.scope,
    )


def _wait(fields: dict[str, Any]) -> WaitFor:
    kind = WAITS_OF_STEPS.get(str(fields.get("type")))
    if kind is None:
        raise msgspec.ValidationError("unknown type of wait")
    return msgspec.convert(fields, kind)


def _older_wait(stored: _StoredWaiting) -> WaitFor:
    """Return the wait of an event that has a key with a prefix and a description."""
    details: dict[str, Any] = stored.details if isinstance(stored.details, dict) else {}
    if stored.key is None:
        if stored.until is None:
            raise msgspec.ValidationError("a wait without an end")
        return _described(TimeWait(stored.until), details)
    match parse_signal_key(stored.key):
        case "approval", _:
            return msgspec.convert({"prompt": "", **details, "type": "approval"}, ApprovalWait)
        case "flow", execution_id:
            link = {"flow_id": "", **details, "execution_id": execution_id, "type": "flow"}
            return msgspec.convert(link, ChildWait)
        case "signal", key:
            return _described(SignalWait(key), details)
        case _:
            return _described(SignalWait(stored.key), details)


def _described(wait: SignalWait | TimeWait, details: dict[str, Any]) -> WaitFor:
    """Return the wait with its description, if that is the node type's own."""
    return wait if details in ({}, wait.describe()) else replace(wait, details=details)


@cache
def _decoder(type: str) -> msgspec.json.Decoder[Event | _StoredStart]:
    stored: Mapping[str, Any] = {**EVENT_TYPES, Started.type: _StoredStart, NodeWaiting.type: _StoredWaiting}
    return msgspec.json.Decoder(stored[type])
