"""The JSON form of events, which the journal stores and every later version reads.

A field with its default is omitted: most fields of most events have it. Every version reads events with all fields too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, get_type_hints

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


class _Form(NamedTuple):
    """The struct that a dataclass is stored as. It is encoded in half of the time, and omits defaults.

    Attributes:
        values: The values of the struct, from an instance of the dataclass.
    """

    struct: type[msgspec.Struct]
    values: Callable[[Any], Sequence[Any]]


@cache
def _form(kind: type) -> _Form:
    ordered: list[Any] = sorted(fields(kind), key=lambda field: not _is_required(field))
    names, hints = [field.name for field in ordered], get_type_hints(kind)
    members: list[Any] = []
    for field in ordered:
        if _is_required(field):
            members.append((field.name, hints[field.name]))
        elif field.default is not MISSING:
            members.append((field.name, hints[field.name], field.default))
        else:
            members.append((field.name, hints[field.name], msgspec.field(default_factory=field.default_factory)))
    struct = msgspec.defstruct(kind.__name__, members, omit_defaults=True)
    return _Form(struct, attrgetter(*names) if len(names) > 1 else lambda event: [getattr(event, n) for n in names])


def _is_required(field: Any) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def encode_event(event: Event) -> bytes:
    """Return the event's fields as a JSON object. Raises: the exceptions of msgspec for values that are not JSON."""
    stored = _stored_start(event) if isinstance(event, Started) else event
    kind: Any = type(stored)
    struct, values = _form(kind)
    return msgspec.json.encode(struct(*values(stored)))


def _stored_start(event: Started) -> _StoredStart:
    return _StoredStart(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
        labels=event.labels or None,
        traceparent=event.traceparent or msgspec.UNSET,
        **stored_fields(event.cause),
    )


def decode_event(type: str, data: str | bytes) -> Event:
    """Return the event of a known type. Raises: msgspec.MsgspecError, UnicodeError."""
    stored = _decoder(type).decode(data)
    if isinstance(stored, _StoredWaiting):
        return _waiting(stored)
    values = msgspec.structs.asdict(stored)
    return _start(_StoredStart(**values)) if type == Started.type else EVENT_TYPES[type](**values)


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
def _decoder(type: str) -> msgspec.json.Decoder[Any]:
    kind: Any = _StoredStart if type == Started.type else EVENT_TYPES[type]
    return msgspec.json.Decoder(_StoredWaiting if kind is NodeWaiting else _form(kind).struct)
