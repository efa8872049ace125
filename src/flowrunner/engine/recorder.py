"""Makes events fit to be stored: encoded, bounded, and free of secrets.

Whatever is stored, logged, sent or shown of an execution has passed here, and the execution
itself goes on with what was recorded: a replay sees the same values.
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import RedactionLimit
from flowrunner.domain.events import (
    Completed,
    Event,
    Failed,
    Failure,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
)
from flowrunner.domain.values import JSON, memory_of
from flowrunner.ports import LONG_BYTES, Recorded, Redactor

MAX_EVENT_BYTES: Final = 2 * 1024 * 1024
MAX_LOG_BYTES: Final = 64 * 1024
MAX_ERROR_BYTES: Final = 256 * 1024
# The data of an error takes no more than that in memory either; shorter than this as JSON, it does not.
_LONG_ERROR_BYTES: Final = 8 * 1024

_MESSAGE_CHARACTERS: Final = 10_000
# A secret that begins before the end of a shortened message, in a form of ten bytes for each of its own.
_BESIDE: Final = 10 * 8 * 1024

# Members that carry values of users; the rest are names that the program goes by.
_PAYLOADS: Final = (
    "input", "inputs", "result", "vars", "message", "data", "reason", "payload", "details", "action", "collected",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storable:
    """An event as it is stored. It may differ from what happened: secrets are hidden, and what is too
    large to be kept gives way to an error that says so."""

    event: Event
    data: bytes


def storable(event: Event, redactor: Redactor) -> Storable:
    """Raises: RedactionLimit for a start or a signal in which secrets cannot be hidden."""
    return _storable(*_encoded(event), redactor)


def storable_again(event: Event) -> Storable:
    """As `storable`, for an event whose values have been recorded with another one: they are not searched twice."""
    return _storable(*_encoded(event), None)


async def storable_soon(event: Event, redactor: Redactor) -> Storable:
    """As `storable`, without holding up others while a long event is searched. The texts of an account take turns."""
    event, encoded = _encoded(event)
    if len(encoded) <= LONG_BYTES:
        return _storable(event, encoded, redactor)
    async with redactor.lock:
        return await asyncio.to_thread(_storable, event, encoded, redactor)


async def hidden_soon(failure: Failure, redactor: Redactor) -> Failure:
    """The failure as an event has it."""
    event = NodeFailed(node="", node_type="", iteration=0, attempt=0, error=failure)
    stored = (await storable_soon(event, redactor)).event
    assert isinstance(stored, NodeFailed), "the kind of an event that failed stays"
    return stored.error


def record(event: Event | Storable, *, seq: int, at: datetime, redactor: Redactor) -> Recorded:
    """Raises: As `storable`."""
    stored = event if isinstance(event, Storable) else storable(event, redactor)
    return Recorded(seq, at, stored.event, stored.data)


def _encoded(event: Event) -> tuple[Event, bytes]:
    try:
        return event, msgspec.json.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        event = _encodable(event, type(error).__name__)
        return event, msgspec.json.encode(event)


def _storable(event: Event, encoded: bytes, redactor: Redactor | None) -> Storable:
    # What is not kept need not be searched.
    if len(encoded) > (_LONG_ERROR_BYTES if isinstance(event, NodeFailed | Failed) else MAX_LOG_BYTES):
        bounded = _bounded(event, len(encoded))
        if bounded is not event:
            event, encoded = bounded, msgspec.json.encode(bounded)
    try:
        if redactor is not None and redactor.found_in(encoded):
            event = _redacted(event, msgspec.json.decode(encoded), redactor)
            encoded = msgspec.json.encode(event)
    except RedactionLimit as error:
        event = _instead(event, error)
        encoded = msgspec.json.encode(event)
    if len(encoded) > _MESSAGE_CHARACTERS:
        shortened = _with_shorter_message(event)
        if shortened is not event:
            event, encoded = shortened, msgspec.json.encode(shortened)
    return Storable(event, encoded)


def _redacted(event: Event, fields: dict[str, Any], redactor: Redactor) -> Event:
    """The event without secrets, all of which are looked for at once."""
    places: list[tuple[dict[str, Any], str]] = [(fields, name) for name in _PAYLOADS if name in fields]
    kind, mark, _ = str(fields.get("key") or "").partition(":")
    if mark:
        places.append((fields, "key"))
        fields["key"] = fields["key"][len(kind) + 1 :]
    error = fields.get("error")
    if isinstance(error, dict):
        places += [(error, name) for name in ("type", "message", "data")]
    values = redactor.redact([within[name] for within, name in places])
    assert isinstance(values, list), "what is redacted keeps its shape"
    for (within, name), value in zip(places, values, strict=True):
        within[name] = value
    if mark:
        fields["key"] = f"{kind}:{fields['key']}"
    return msgspec.convert(fields, type(event))


def signal_key(key: str, redactor: Redactor) -> str:
    """The key of a signal as it is stored: whoever waits for it and whoever sends it may name a secret."""
    kind, mark, name = key.partition(":")
    return f"{kind}{mark}{redactor.redact(name)}"


def _encodable(event: Event, reason: str) -> Event:
    """What stands for an event whose values, which a node gave, are no JSON."""
    note: JSON = {"omitted": f"the data cannot be written as JSON ({reason})"}
    match event:
        case NodeCompleted() | NodeWaiting() | ScopesOpened():
            return _failed(event, "node.crashed", f"The result cannot be written as JSON ({reason})")
        case Logged():
            return replace(event, message=_clean(event.message), data=note)
        case NodeFailed() | Failed():
            error = event.error
            return replace(
                event, error=replace(error, type=_clean(error.type), message=_clean(error.message), data=note)
            )
        case _:
            raise TypeError(f"{event.type} cannot be written as JSON ({reason})")


def _clean(text: str) -> str:
    """The text without halves of surrogate pairs, which no encoding has a form for."""
    return text.encode(errors="replace").decode()


def _failed(event: NodeCompleted | NodeWaiting | ScopesOpened, type: str, message: str) -> NodeFailed:
    return NodeFailed(
        node=event.node,
        node_type=event.node_type,
        iteration=event.iteration,
        attempt=event.attempt,
        scope=event.scope,
        error=Failure(type=type, node=event.node, message=message),
    )


def _instead(event: Event, error: RedactionLimit) -> Event:
    """What stands for an event in which secrets cannot be hidden.

    Raises: RedactionLimit for what others are to be told of, who sent it.
    """
    failure = Failure(type="limit.redaction", message=str(error))
    match event:
        case NodeCompleted() | NodeWaiting() | ScopesOpened():
            return _failed(event, failure.type, failure.message)
        case NodeFailed() | Failed():
            failure = replace(failure, node=event.error.node)
            return replace(event, error=failure) if isinstance(event, NodeFailed) else Failed(error=failure)
        case Logged():
            return replace(event, message="This line cannot be shown", data={"omitted": str(error)})
        case ScopeEnded():
            return replace(event, outcome="failed", error=failure, result=None)
        case Completed():
            return Failed(error=failure)
        case _:
            raise error


def _bounded(event: Event, size: int) -> Event:
    match event:
        case Logged():
            note: JSON = {"truncated": f"the data of this line had {size} bytes; {MAX_LOG_BYTES} are kept at most"}
            return replace(event, message=event.message[: _MESSAGE_CHARACTERS + _BESIDE], data=note)
        case NodeCompleted() | NodeWaiting() | ScopesOpened() if size > MAX_EVENT_BYTES:
            message = (
                f"The result has {size} bytes; {MAX_EVENT_BYTES} can be kept. Keep the part you need with 'output'"
            )
            return _failed(event, "node.result_too_large", message)
        case Failed() if size > MAX_LOG_BYTES:
            shorter = replace(event, input={"truncated": "what flowed in is too large to be shown here"})
            return _bounded_error(shorter, len(msgspec.json.encode(shorter)))
        case NodeFailed() | Failed():
            return _bounded_error(event, size)
        case _:
            return event


def _bounded_error(event: NodeFailed | Failed, size: int) -> Event:
    what = "had"
    if size <= MAX_ERROR_BYTES:
        size, what = memory_of(event.error.data), "takes in memory"
    if size <= MAX_ERROR_BYTES:
        return event
    note: JSON = {"truncated": f"the data of this error {what} {size} bytes; {MAX_ERROR_BYTES} are kept at most"}
    message = event.error.message[: _MESSAGE_CHARACTERS + _BESIDE]
    return replace(event, error=replace(event.error, message=message, data=note))


def _with_shorter_message(event: Event) -> Event:
    """The event with what is kept of a long message; it is cut after its secrets are hidden."""
    match event:
        case Logged(message=message, data={"truncated": _}) if len(message) > _MESSAGE_CHARACTERS:
            return replace(event, message=message[:_MESSAGE_CHARACTERS])
        case (
            NodeFailed(error=Failure(message=message, data={"truncated": _}) as error)
            | Failed(error=Failure(message=message, data={"truncated": _}) as error)
        ) if len(message) > _MESSAGE_CHARACTERS:
            return replace(event, error=replace(error, message=message[:_MESSAGE_CHARACTERS]))
        case _:
            return event
