"""Makes events fit to be stored: encoded, bounded, and free of secrets.

Whatever is stored, logged, sent or shown of an execution has passed here, and the execution
itself goes on with what was recorded: a replay sees the same values.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.events import (
    Event,
    Failed,
    Failure,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopesOpened,
)
from flowrunner.domain.values import JSON
from flowrunner.ports import Recorded, Redactor

MAX_EVENT_BYTES: Final = 2 * 1024 * 1024
MAX_LOG_BYTES: Final = 64 * 1024
MAX_ERROR_BYTES: Final = 256 * 1024

# Members that carry values of users; the rest are names that the program goes by.
_PAYLOADS: Final = ("input", "inputs", "result", "vars", "message", "data", "reason", "payload", "about", "action")


def record(event: Event, *, seq: int, at: datetime, redactor: Redactor) -> Recorded:
    """The event as it is stored. It may differ from ``event``: secrets are hidden, and what is too
    large to be kept gives way to an error that says so."""
    try:
        encoded = msgspec.json.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        event = _encodable(event, type(error).__name__)
        encoded = msgspec.json.encode(event)
    if redactor.found_in(encoded):
        event = _redacted(event, msgspec.json.decode(encoded), redactor)
        encoded = msgspec.json.encode(event)
    if len(encoded) > MAX_LOG_BYTES:
        bounded = _bounded(event, len(encoded))
        if bounded is not event:
            event, encoded = bounded, msgspec.json.encode(bounded)
    return Recorded(seq, at, event, encoded)


def _redacted(event: Event, fields: dict[str, Any], redactor: Redactor) -> Event:
    for name in _PAYLOADS:
        if name in fields:
            fields[name] = redactor.redact(fields[name])
    if isinstance(fields.get("key"), str):
        fields["key"] = signal_key(fields["key"], redactor)
    error = fields.get("error")
    if isinstance(error, dict):
        for name in ("type", "message", "data"):
            error[name] = redactor.redact(error[name])
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


def _bounded(event: Event, size: int) -> Event:
    match event:
        case Logged():
            note: JSON = {"truncated": f"the data of this line had {size} bytes; {MAX_LOG_BYTES} are kept at most"}
            return replace(event, message=event.message[:10_000], data=note)
        case NodeCompleted() | NodeWaiting() | ScopesOpened() if size > MAX_EVENT_BYTES:
            message = (
                f"The result has {size} bytes; {MAX_EVENT_BYTES} can be kept. Keep the part you need with 'output'"
            )
            return _failed(event, "node.result_too_large", message)
        case Failed():
            shorter = replace(event, input={"truncated": "what flowed in is too large to be shown here"})
            return _bounded_error(shorter, len(msgspec.json.encode(shorter)))
        case NodeFailed():
            return _bounded_error(event, size)
        case _:
            return event


def _bounded_error(event: NodeFailed | Failed, size: int) -> Event:
    if size <= MAX_ERROR_BYTES:
        return event
    note: JSON = {"truncated": f"the data of this error had {size} bytes; {MAX_ERROR_BYTES} are kept at most"}
    return replace(event, error=replace(event.error, message=event.error.message[:10_000], data=note))
