"""The JSON form of events, which the journal stores and every later version reads.

A field that has its default is omitted, as most fields of most events. Every version also reads events with all fields.

The most frequent kinds of events have a compact form: short names of fields, the most frequent values as defaults, and
a short name of the kind, by which this form and the older one differ.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar, get_type_hints

import msgspec

from flowrunner.bounded_json import BoundedDecoder, decode_json
from flowrunner.domain.causes import StoredCause, stored_fields
from flowrunner.domain.config import NO_CONFIG
from flowrunner.domain.events import (
    EVENT_TYPES,
    ROOT,
    Completed,
    Event,
    Logged,
    NodeCompleted,
    NodeStarted,
    NodeWaiting,
    Started,
)
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

T = TypeVar("T", bound=msgspec.Struct)

# All three tables are part of the stored format, and of the view `readable_events`: a further name needs a migration.
COMPACT_TYPES: Final[Mapping[str, str]] = {
    Started.type: "b",
    NodeStarted.type: "s",
    NodeCompleted.type: "c",
    Logged.type: "l",
    Completed.type: "e",
}
SHORT_NAMES: Final[Mapping[str, str]] = {
    "node": "n",
    "node_type": "t",
    "iteration": "i",
    "attempt": "a",
    "action": "x",
    "result": "r",
    "level": "l",
    "message": "m",
    "data": "d",
}
COMPACT_DEFAULTS: Final[Mapping[str, Any]] = {"iteration": 1, "attempt": 1, "action": "default", "level": "info"}
_TYPES: Final[Mapping[str, str]] = {name: name for name in EVENT_TYPES} | {c: t for t, c in COMPACT_TYPES.items()}
_NAMES: Final = {short: name for name, short in SHORT_NAMES.items()}
_COMPACT: Final = frozenset(COMPACT_TYPES.values())


@static_dataclass(frozen=True, slots=True, kw_only=True)
class _StoredStart(StoredCause):
    """`Started` with a field for each kind of cause."""

    node: str
    node_type: str
    input: JSON
    is_queued: bool = False
    flow_name: str = ""
    labels: Mapping[str, str] | None = None
    config: Mapping[str, JSON] | None = None
    traceparent: str | msgspec.UnsetType = msgspec.UNSET


# A struct is decoded in less time than a dataclass.
class _StoredWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """`NodeWaiting` with a wait of any type.

    Attributes:
        wait_for: None in an event of the older form, which has the last three fields instead.
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
    """The struct as which a dataclass is stored. It omits defaults, and encoding it takes half of the time.

    Attributes:
        values: Returns the values of the struct for an instance of the dataclass.
    """

    struct: type[msgspec.Struct]
    values: Callable[[Any], Sequence[Any]]


@cache
def _form(kind: type, *, is_compact: bool) -> _Form:
    defaults = COMPACT_DEFAULTS if is_compact else {}
    hints, required, optional = get_type_hints(kind), [], []
    for field in fields(kind):
        if field.default_factory is not MISSING:
            optional.append((field.name, hints[field.name], msgspec.field(default_factory=field.default_factory)))
        elif field.default is not MISSING or field.name in defaults:
            default = defaults[field.name] if field.default is MISSING else field.default
            optional.append((field.name, hints[field.name], default))
        else:
            required.append((field.name, hints[field.name]))
    members: list[Any] = [*required, *optional]
    rename = SHORT_NAMES if is_compact else None
    struct = msgspec.defstruct(kind.__name__, members, omit_defaults=True, rename=rename)
    names = [member[0] for member in members]
    return _Form(struct, attrgetter(*names) if len(names) > 1 else lambda event: [getattr(event, n) for n in names])


_STORED_TYPES: Final[Mapping[type, str]] = {kind: COMPACT_TYPES.get(name, name) for name, kind in EVENT_TYPES.items()}


def stored_type(event: Event) -> str:
    """Return the stored name of the event's kind."""
    return _STORED_TYPES[type(event)]


def type_of(stored: str) -> str | None:
    """Return the type of the events that are stored under a name; None if this version does not know it."""
    return _TYPES.get(stored)


def encode_event(event: Event) -> bytes:
    """Return the event's fields as a JSON object. Raises: Exceptions of msgspec for values without a JSON form."""
    stored = _stored(event)
    kind: Any = type(stored)
    struct, values = _stored_form(kind)
    return msgspec.json.encode(struct(*values(stored)))


@cache
def _stored_form(kind: Any) -> _Form:
    return _form(kind, is_compact=kind is _StoredStart or kind.type in COMPACT_TYPES)


def _stored(event: Event) -> Event | _StoredStart:
    return _stored_start(event) if type(event) is Started else event


def fields_of(event: Event, data: bytes) -> dict[str, Any]:
    """Return the encoded fields of an event, by name."""
    fields: dict[str, Any] = decode_json(data)
    return {_NAMES.get(name, name): value for name, value in fields.items()} if event.type in COMPACT_TYPES else fields


def in_full(stored: str, data: str) -> str:
    """Return the JSON object of an event with the names of its fields. Raises: msgspec.MsgspecError, UnicodeError."""
    if stored not in _COMPACT:
        return data
    event = _stored(decode_event(stored, data))
    kind: Any = type(event)
    struct, values = _form(kind, is_compact=False)
    return msgspec.json.encode(struct(*values(event))).decode()


def _stored_start(event: Started) -> _StoredStart:
    return _StoredStart(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
        labels=event.labels or None,
        config=event.config or None,
        traceparent=event.traceparent or msgspec.UNSET,
        **stored_fields(event.cause),
    )


def decode_event(type: str, data: str | bytes) -> Event:
    """Return the event of a known type.

    Args:
        type: Its stored type.

    Raises: msgspec.MsgspecError, UnicodeError.
    """
    stored = _decoder(type).decode(data)
    if isinstance(stored, _StoredWaiting):
        return _waiting(stored)
    values = msgspec.structs.asdict(stored)
    kind = EVENT_TYPES[_TYPES[type]]
    return _start(_StoredStart(**values)) if kind is Started else kind(**values)


def _start(event: _StoredStart) -> Started:
    return Started(
        node=event.node,
        node_type=event.node_type,
        input=event.input,
        cause=event.cause,
        is_queued=event.is_queued,
        flow_name=event.flow_name,
        labels=event.labels or NO_LABELS,
        config=event.config or NO_CONFIG,
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
def _decoder(type: str) -> BoundedDecoder[Any]:
    kind: Any = EVENT_TYPES[_TYPES[type]]
    if kind is NodeWaiting:
        return BoundedDecoder(_StoredWaiting)
    stored = _StoredStart if kind is Started else kind
    return BoundedDecoder(_form(stored, is_compact=type in _COMPACT).struct)


class PartialDecoder(Generic[T]):
    """A decoder of some fields of stored events of any kind.

    Args:
        fields: A struct with a default for each field: that of `COMPACT_DEFAULTS`, if it has one.
    """

    def __init__(self, fields: type[T]) -> None:
        like: Any = msgspec.field
        members: list[Any] = [
            (field.name, field.type, like(default=field.default, default_factory=field.default_factory))
            for field in msgspec.structs.fields(fields)
        ]
        # A subclass cannot rename inherited fields, so the class with the short names defines all of them.
        gc = fields.__struct_config__.gc
        compact = msgspec.defstruct(fields.__name__, members, rename=SHORT_NAMES, gc=gc)
        self._full: BoundedDecoder[T] = BoundedDecoder(fields)
        self._compact: BoundedDecoder[T] = BoundedDecoder(compact)

    def decode(self, type: str, data: str | bytes) -> T:
        """Return the fields of an event, given its stored type. Raises: msgspec.MsgspecError, UnicodeError."""
        return (self._compact if type in _COMPACT else self._full).decode(data)
