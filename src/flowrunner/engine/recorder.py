"""Encoding, bounding and redaction of events before they are stored.

All stored, logged, sent or displayed data of an execution passes here, and the execution itself continues with the
recorded values, so that a replay sees the same values.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.errors import RedactionLimit
from flowrunner.domain.events import (
    Completed,
    ErrorValue,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
)
from flowrunner.domain.link_tokens import may_have_link_token, without_link_tokens
from flowrunner.domain.surrogates import without_lone_surrogates
from flowrunner.domain.values import JSON, memory_of
from flowrunner.domain.waits import parse_signal_key, signal_key
from flowrunner.language.error_types import is_own_error
from flowrunner.ports.event_codec import encode_event, fields_of
from flowrunner.ports.journal import Recorded
from flowrunner.ports.secrets import LONG_BYTES, Redactor

# Events that are the same in every execution of a flow are encoded once.
MOST_ENCODED: Final = 1024
MAX_EVENT_BYTES: Final = 2 * 1024 * 1024
MAX_LOG_BYTES: Final = 64 * 1024
MAX_ERROR_BYTES: Final = 256 * 1024
# The limit of an error's data holds in memory, too. Shorter data, as JSON, cannot exceed it.
_LONG_ERROR_BYTES: Final = 8 * 1024

_MESSAGE_CHARACTERS: Final = 10_000
# Length of a secret at the cut of a shortened message, encoded with up to ten characters for each byte.
_BESIDE: Final = 10 * 8 * 1024

# Fields with values of users; the other fields contain names from the program.
_PAYLOADS: Final = (
    "input", "inputs", "result", "vars", "message", "data", "reason", "payload", "details", "action", "collected",
    "labels", "config",
)  # fmt: skip
_PAYLOADS_OF_ERRORS: Final = ("type", "message", "data")
_PAYLOADS_OF_WAITS: Final = ("key", "prompt", "form", "members", "details")
# In answers to approvals and ends of sub-flows. The server has made the rest, on whose words the execution depends.
_PAYLOADS_OF_ANSWERS: Final = ("data", "result", "error")


class Storable(NamedTuple):
    """The stored form of an event. Secrets are redacted, and an event that is too large is replaced by an error."""

    event: Event
    data: bytes


def storable(event: Event, redactor: Redactor) -> Storable:
    """Return the stored form of an event. Raises: RedactionLimit for a start or a signal that cannot be redacted."""
    return _storable(*_encoded(event), redactor)


def storable_start(event: NodeStarted) -> Storable:
    """Return the stored form of the start of a step, which has names of the flow alone.

    The first start of a node outside loops is the same in every execution, and encoded once.
    """
    if event.scope or event.iteration > 1 or event.attempt > 1:
        return Storable(event, encode_event(event))
    return _first_start(event.node, event.node_type)


@lru_cache(maxsize=MOST_ENCODED)
def _first_start(node: str, node_type: str) -> Storable:
    return storable_again(NodeStarted(node=node, node_type=node_type, iteration=1, attempt=1))


def storable_again(event: Event) -> Storable:
    """Return the stored form of an event without values, or whose values were redacted as part of another event."""
    return _storable(*_encoded(event), None)


async def storable_soon(event: Event, redactor: Redactor, *, edges: Collection[str] = ()) -> Storable:
    """Return the stored form of an event; a long one is redacted in a thread, one at a time per workspace.

    Args:
        edges: The actions that the flow names after the step. They are no data, and what follows depends on them.
    """
    event, encoded = _encoded(event)
    if len(encoded) <= LONG_BYTES:
        stored = _storable(event, encoded, redactor)
    else:
        async with redactor.lock:
            stored = await asyncio.to_thread(_storable, event, encoded, redactor)
    if not edges:
        return stored
    match event, stored.event:
        case NodeCompleted() | NodeWaiting() as given, NodeCompleted() | NodeWaiting() as kept if (
            given.action != kept.action and given.action in edges
        ):
            return storable_again(replace(kept, action=given.action))
        case _:
            return stored


async def storable_error_soon(error: ErrorValue, redactor: Redactor) -> ErrorValue:
    """Return the stored form of an error."""
    event = NodeFailed(node="", node_type="", iteration=0, attempt=0, error=error)
    stored = (await storable_soon(event, redactor)).event
    assert isinstance(stored, NodeFailed), "a failure stays one"
    return stored.error


async def without_secrets(value: JSON, redactor: Redactor) -> tuple[JSON, bool]:
    """Return a value as an execution would store it, and True; or None and False if it could not store it."""
    event = NodeCompleted(node="", node_type="", iteration=1, attempt=1, action="", result=value)
    stored = (await storable_soon(event, redactor)).event
    return (stored.result, True) if isinstance(stored, NodeCompleted) else (None, False)


def record(event: Event | Storable, *, seq: int, at: datetime, redactor: Redactor) -> Recorded:
    """Return an event as a record of the journal. Raises: See `storable`."""
    return Recorded(seq, at, *(event if isinstance(event, Storable) else storable(event, redactor)))


def _encoded(event: Event) -> tuple[Event, bytes]:
    try:
        return event, encode_event(event)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        event = _encodable(event, type(error).__name__)
        return event, encode_event(event)


def _storable(event: Event, encoded: bytes, redactor: Redactor | None) -> Storable:
    if isinstance(event, NodeStarted):
        # It has names of the flow alone.
        return Storable(event, encoded)
    if len(encoded) <= _LONG_ERROR_BYTES and (redactor is None or not redactor.found_in(encoded)):
        # None of the bounds applies to a short event, and almost every event is short.
        return Storable(event, encoded)
    # Bound the event before the search for secrets.
    if len(encoded) > (_LONG_ERROR_BYTES if isinstance(event, NodeFailed | Failed) else MAX_LOG_BYTES):
        bounded = _bounded(event, len(encoded))
        if bounded is not event:
            event, encoded = bounded, encode_event(bounded)
    try:
        if redactor is not None and redactor.found_in(encoded):
            event = _redacted(event, fields_of(event, encoded), redactor)
            encoded = encode_event(event)
    except RedactionLimit as error:
        event = _replacement(event, error)
        encoded = encode_event(event)
    if len(encoded) > _MESSAGE_CHARACTERS:
        shortened = _with_shorter_message(event)
        if shortened is not event:
            event, encoded = shortened, encode_event(shortened)
    return Storable(event, encoded)


def _redacted(event: Event, fields: dict[str, Any], redactor: Redactor) -> Event:
    """Return the event without secrets, after one search for all of them."""
    error = event.error if isinstance(event, NodeFailed | Failed | ScopeEnded) else None
    wait = event.wait_for if isinstance(event, NodeWaiting) else None
    answer = fields["payload"] if isinstance(event, SignalReceived) and _is_made_here(event) else None
    own = _named(fields, _PAYLOADS)
    of_error = {} if error is None else _named(fields["error"], _PAYLOADS_OF_ERRORS)
    of_wait = {} if wait is None else _named(fields["wait_for"], _PAYLOADS_OF_WAITS)
    of_answer = {} if answer is None else _named(answer, _PAYLOADS_OF_ANSWERS)
    if answer is not None:
        del own["payload"]
    parts = (own, of_error, of_wait, of_answer)
    values = redactor.redact([value for part in parts for value in part.values()])
    assert isinstance(values, list), "what is redacted keeps its shape"
    redacted = iter(values)
    for part in parts:
        part.update({name: next(redacted) for name in part})
    if error is not None:
        # A type of FlowRunner's own is a word of the flow language, on which the course of the flow depends.
        own["error"] = replace(error, **of_error | ({"type": error.type} if is_own_error(error.type) else {}))
    if wait is not None:
        own["wait_for"] = replace(wait, **of_wait)
    if answer is not None:
        match answer.get("error"):
            case {"type": str(type)} if is_own_error(type):
                of_answer["error"] = {**of_answer["error"], "type": type}
        own["payload"] = answer | of_answer
    if isinstance(event, SignalReceived):
        own["key"] = redacted_key(event.key, redactor)
    return replace(event, **own)


def _is_made_here(event: SignalReceived) -> bool:
    """Return whether the server has built the payload of a signal, and not its sender."""
    return parse_signal_key(event.key)[0] != "signal" and isinstance(event.payload, dict)


def _named(fields: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}


def redacted_key(key: str, redactor: Redactor) -> str:
    """Return the stored key of a signal without secrets, which only the name of a sent one may hold."""
    kind, name = parse_signal_key(key)
    return signal_key("signal", str(redactor.redact(name))) if kind == "signal" else key


def _encodable(event: Event, reason: str) -> Event:
    """Return the replacement of an event whose values from a node are not JSON."""
    note: JSON = {"omitted": f"the data cannot be written as JSON ({reason})"}
    match event:
        case NodeCompleted() | NodeWaiting() | ScopesOpened():
            return _failed(event, "node.crashed", f"The result cannot be written as JSON ({reason})")
        case Logged():
            return replace(event, message=without_lone_surrogates(event.message), data=note)
        case NodeFailed() | Failed():
            error = event.error
            type, message = without_lone_surrogates(error.type), without_lone_surrogates(error.message)
            return replace(event, error=replace(error, type=type, message=message, data=note))
        case _:
            raise TypeError(f"{event.type} cannot be written as JSON ({reason})")


def _failed(event: NodeCompleted | NodeWaiting | ScopesOpened, type: str, message: str) -> NodeFailed:
    return NodeFailed(
        node=event.node,
        node_type=event.node_type,
        iteration=event.iteration,
        attempt=event.attempt,
        scope=event.scope,
        error=ErrorValue(type=type, node=event.node, message=message),
    )


def _replacement(event: Event, reason: RedactionLimit) -> Event:
    """Return the replacement of an event that cannot be redacted.

    Raises: RedactionLimit for events whose sender has to get the error.
    """
    error = ErrorValue(type="limit.redaction", message=str(reason))
    match event:
        case NodeCompleted() | NodeWaiting() | ScopesOpened():
            return _failed(event, error.type, error.message)
        case NodeFailed() | Failed():
            error = replace(error, node=event.error.node)
            return replace(event, error=error) if isinstance(event, NodeFailed) else Failed(error=error)
        case Logged():
            return replace(event, message="This line cannot be shown", data={"omitted": str(reason)})
        case ScopeEnded():
            return replace(event, outcome="failed", error=error, result=None)
        case Completed():
            return Failed(error=error)
        case _:
            raise reason


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
            return _bounded_error(shorter, len(encode_event(shorter)))
        case NodeFailed() | Failed():
            return _bounded_error(event, size)
        case _:
            return event


def _bounded_error(event: NodeFailed | Failed, size: int) -> Event:
    verb = "had"
    if size <= MAX_ERROR_BYTES:
        size, verb = memory_of(event.error.data), "takes in memory"
    if size <= MAX_ERROR_BYTES:
        return event
    note: JSON = {"truncated": f"the data of this error {verb} {size} bytes; {MAX_ERROR_BYTES} are kept at most"}
    message = event.error.message[: _MESSAGE_CHARACTERS + _BESIDE]
    return replace(event, error=replace(event.error, message=message, data=note))


def _with_shorter_message(event: Event) -> Event:
    """Return the event with a long message cut, after its secrets are redacted."""
    match event:
        case Logged(message=message, data={"truncated": _}) if len(message) > _MESSAGE_CHARACTERS:
            return replace(event, message=message[:_MESSAGE_CHARACTERS])
        case (
            NodeFailed(error=ErrorValue(message=message, data={"truncated": _}) as error)
            | Failed(error=ErrorValue(message=message, data={"truncated": _}) as error)
        ) if len(message) > _MESSAGE_CHARACTERS:
            return replace(event, error=replace(error, message=message[:_MESSAGE_CHARACTERS]))
        case _:
            return event


class LinkHidingRedactor:
    """A redactor that hides the links that answer approvals, too. Implements `ports.Redactor`."""

    def __init__(self, secrets: Redactor) -> None:
        self._secrets = secrets
        self.lock = secrets.lock

    def redact(self, value: JSON) -> JSON:
        return _without_links(self._secrets.redact(value))

    async def redact_soon(self, value: JSON) -> JSON:
        return _without_links(await self._secrets.redact_soon(value))

    def found_in(self, encoded: bytes) -> bool:
        return may_have_link_token(encoded) or self._secrets.found_in(encoded)


def _without_links(value: JSON) -> JSON:
    if not may_have_link_token(msgspec.json.encode(value)):
        return value
    return _cut_links(decode_json(msgspec.json.encode(value)))


def _cut_links(value: JSON) -> JSON:
    match value:
        case str():
            return without_link_tokens(value)
        case dict():
            return {without_link_tokens(name): _cut_links(item) for name, item in value.items()}
        case list():
            return [_cut_links(item) for item in value]
        case _:
            return value
