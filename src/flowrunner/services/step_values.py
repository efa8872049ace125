"""The values, errors and waits of steps, read from the stored events in bounded portions."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import msgspec

from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import NodeWaiting, SignalReceived
from flowrunner.domain.values import JSON, ExecutionId, rfc3339_or_none
from flowrunner.ports.event_codec import PartialDecoder, decode_event
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES
from flowrunner.ports.steps import StepEvents, StoredEvent
from flowrunner.services.step_entries import AttemptEntry, StoredPlace, StoredValue, WaitEntry

MESSAGE_CHARACTERS: Final = 2000
# Bytes of the description of a wait; a longer one is shown without its form.
_WAIT_BYTES: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class Preview:
    """A JSON value, or its beginning.

    Attributes:
        size: Bytes of the whole value.
        value: The whole value, if it is short enough.
        text: The beginning of its text otherwise.
    """

    size: int
    value: bytes | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorView:
    type: str
    message: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class ReceivedView:
    """A signal or an answer that ended a wait. Args: by: The account that sent it; None for none."""

    at: datetime
    by: str | None
    payload: Preview


@dataclass(frozen=True, slots=True)
class WaitView:
    """A wait of a step. Args: waiting_for: Its description, as `waiting_for` of the execution has it."""

    since: datetime
    waiting_for: Mapping[str, JSON]
    received: ReceivedView | None = None


class _Need(NamedTuple):
    """Something to read from an event. Args: most: Bytes of a value; a longer one is cut."""

    kind: Literal["value", "error", "wait", "received"]
    place: StoredPlace | None = None
    most: int = 0


class _ErrorFields(msgspec.Struct):
    type: str = ""
    message: str = ""
    data: msgspec.Raw = msgspec.Raw()


class _Values(msgspec.Struct):
    """The members of any event that hold values, not decoded."""

    input: msgspec.Raw = msgspec.Raw()
    inputs: list[msgspec.Raw] = msgspec.field(default_factory=list)
    result: msgspec.Raw = msgspec.Raw()
    collected: dict[str, msgspec.Raw] | None = None
    error: _ErrorFields | None = None
    payload: msgspec.Raw = msgspec.Raw()


_VALUES: Final = PartialDecoder(_Values)


@dataclass(slots=True)
class StepReading:
    """The values to read from events, and those that were found.

    Attributes:
        size: Bytes of the events.
    """

    needs: dict[int, list[_Need]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    size: int = 0
    _found: dict[tuple[str, int | StoredPlace], Any] = field(default_factory=dict)

    def value(self, value: StoredValue | None, *, most: int) -> None:
        """Read a value, or the first ``most`` bytes of it."""
        for place in _first(value, most):
            self._need(place.seq, place.event_size, _Need("value", place, most))

    def error(self, attempt: AttemptEntry, *, most: int) -> None:
        if attempt.error_seq is not None:
            self._need(attempt.error_seq, attempt.error_size, _Need("error", None, most))

    def wait(self, wait: WaitEntry, *, most: int) -> None:
        self._need(wait.seq, wait.size, _Need("wait", None, most))
        if wait.received_seq is not None:
            self._need(wait.received_seq, wait.received_size, _Need("received", None, most))

    def _need(self, seq: int, size: int, need: _Need) -> None:
        if seq not in self.sizes:
            self.sizes[seq] = size
            self.size += size
        self.needs.setdefault(seq, []).append(need)

    async def read(self, events: StepEvents, id: ExecutionId) -> None:
        """Read the events in portions; they are decoded on a thread. Raises: NotFound if they are gone."""
        for seqs in self._portions():
            found = await events.numbered(id, seqs)
            if len(found) < len(seqs):
                # Retention is deleting the execution.
                raise NotFound("execution")
            await asyncio.to_thread(self._take, found)

    def _portions(self) -> Iterator[list[int]]:
        portion: list[int] = []
        size = 0
        for seq in sorted(self.sizes):
            if portion and size + self.sizes[seq] > PAGE_OF_EVENTS_BYTES:
                yield portion
                portion, size = [], 0
            portion.append(seq)
            size += self.sizes[seq]
        if portion:
            yield portion

    def _take(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            values = _VALUES.decode(event.type, event.data)
            for need in self.needs[event.seq]:
                if need.place is not None:
                    raw = _raw(values, need.place)
                    self._found["value", need.place] = bytes(memoryview(raw)[: need.most])
                else:
                    self._found[need.kind, event.seq] = _decoded(need, event, values)

    # What was found

    def preview(self, value: StoredValue | None, *, most: int) -> Preview | None:
        if value is None:
            return None
        text, size = self.text(value, most=most), value.size
        if size <= most:
            return Preview(size, value=text)
        return Preview(size, text=text[:most].decode(errors="ignore"))

    def text(self, value: StoredValue, *, most: int) -> bytes:
        """Return the JSON text of a value, or at least its first ``most`` bytes."""
        texts = [self._found["value", place] for place in _first(value, most)]
        if not value.is_list:
            return b"".join(texts)
        return b"[" + b",".join(texts) + (b"]" if len(texts) == len(value.places) else b"")

    def found_error(self, attempt: AttemptEntry) -> ErrorView | None:
        return None if attempt.error_seq is None else self._found.get(("error", attempt.error_seq))

    def found_wait(self, wait: WaitEntry) -> WaitView:
        described = self._found["wait", wait.seq]
        received = None if wait.received_seq is None else self._found["received", wait.received_seq]
        return WaitView(wait.since, described, received)


def _first(value: StoredValue | None, most: int) -> Iterable[StoredPlace]:
    """Yield the first places of a value, up to ``most`` bytes."""
    size = 0
    for place in () if value is None else value.places:
        yield place
        size += place.size
        if size > most:
            return


def _raw(values: _Values, place: StoredPlace) -> msgspec.Raw:
    match place.member:
        case "inputs":
            return values.inputs[place.position]
        case "collected":
            return (values.collected or {})[place.name]
        case "input":
            return values.input
        case _:
            return values.result


def _decoded(need: _Need, event: StoredEvent, values: _Values) -> Any:
    match need.kind:
        case "error":
            error = values.error or _ErrorFields()
            data = bytes(error.data)
            is_short = len(data) <= need.most and data not in (b"", b"null")
            most = MESSAGE_CHARACTERS if need.most < len(error.message) else len(error.message)
            return ErrorView(error.type, error.message[:most], data if is_short else None)
        case "wait":
            waiting = decode_event(event.type, event.data)
            assert isinstance(waiting, NodeWaiting), "the index names the event of a wait"
            return _description(waiting)
        case _:
            received = decode_event(event.type, event.data)
            assert isinstance(received, SignalReceived), "the index names the event of a signal"
            return ReceivedView(event.at, received.by, preview_of(values.payload, need.most))


def preview_of(value: msgspec.Raw | bytes, most: int) -> Preview:
    """Return a value that is encoded as JSON, or the first ``most`` bytes of it."""
    size = len(memoryview(value))
    if size <= most:
        return Preview(size, value=bytes(value))
    return Preview(size, text=bytes(memoryview(value)[:most]).decode(errors="ignore"))


def _description(waiting: NodeWaiting) -> Mapping[str, JSON]:
    until: JSON = rfc3339_or_none(waiting.due_at)
    described: dict[str, JSON] = {**waiting.wait_for.describe(), "until": until}
    if len(msgspec.json.encode(described)) <= _WAIT_BYTES:
        return described
    short = {name: value[:MESSAGE_CHARACTERS] for name, value in described.items() if isinstance(value, str)}
    return {**short, "until": until, "is_shortened": True}
