"""The form of values between processes: plain and typed, with JSON and events in their stored encoding."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.events import Event, Started, Step
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.event_codec import COMPACT_TYPES, decode_event, encode_event, stored_type
from flowrunner.ports.journal import Append, NewExecution, Quota, Recorded, Summary

# The workspace and the status of a loaded execution, and the items of its `cut_off`.
LoadAnswer: TypeAlias = tuple[WorkspaceId, Status, list[tuple[Step, int]]]
# The summaries of executions that run and wait for nothing.
_RUNNING: Final = Summary(status=Status.RUNNING)


class PackedRecord(msgspec.Struct, array_like=True):
    """A recorded event. Implements the fields of `Recorded`."""

    seq: int
    at: datetime
    type: str
    data: bytes
    since: datetime | None


def pack_record(record: Recorded) -> PackedRecord:
    return PackedRecord(record.seq, record.at, stored_type(record.event), record.data, record.since)


def unpack_record(packed: PackedRecord) -> Recorded:
    return Recorded(packed.seq, packed.at, decode_event(packed.type, packed.data), packed.data, packed.since)


class PackedAppend(msgspec.Struct, array_like=True):
    """An append; the server knows the execution that it creates, and the limits of its quota."""

    execution_id: ExecutionId
    epoch: int
    after: int
    records: list[PackedRecord]
    summary: Summary | None
    creates: bool
    audit: list[AuditEntry]
    messages: list[int]
    has_quota: bool


def pack_append(append: Append) -> PackedAppend:
    return PackedAppend(
        append.execution_id,
        append.epoch,
        append.after,
        [pack_record(record) for record in append.records],
        None if append.summary == _RUNNING else append.summary,
        append.create is not None,
        list(append.audit),
        list(append.messages),
        append.quota is not None,
    )


def unpack_append(
    packed: PackedAppend, *, create: NewExecution | None, workspace_id: WorkspaceId, limits: WorkspaceLimits
) -> Append:
    return Append(
        execution_id=packed.execution_id,
        epoch=packed.epoch,
        after=packed.after,
        records=[unpack_record(record) for record in packed.records],
        summary=packed.summary or _RUNNING,
        create=create,
        audit=packed.audit,
        messages=packed.messages,
        quota=Quota(workspace_id, limits) if packed.has_quota else None,
    )


class PackedStart(msgspec.Struct, array_like=True):
    """A new execution, as far as the engine needs it. Its first event carries the input and the cause."""

    id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    revision_id: RevisionId
    started_at: datetime
    slot: ConcurrencySlot | None
    started: bytes


def pack_start(new: NewExecution, started: Started) -> PackedStart:
    return PackedStart(
        new.id, new.workspace_id, new.flow_id, new.revision_id, new.started_at, new.slot, encode_event(started)
    )


def unpack_start(packed: PackedStart) -> tuple[NewExecution, Started]:
    started = decode_event(COMPACT_TYPES[Started.type], packed.started)
    assert isinstance(started, Started), "decoded as one"
    new = NewExecution(
        id=packed.id,
        workspace_id=packed.workspace_id,
        flow_id=packed.flow_id,
        revision_id=packed.revision_id,
        started_at=packed.started_at,
        cause=started.cause,
        flow_name=started.flow_name,
        slot=packed.slot,
        labels=started.labels,
        config=started.config,
    )
    return new, started


class PackedSignal(msgspec.Struct, array_like=True):
    """A signal, with its payload as JSON."""

    signal: Signal
    payload: bytes


def pack_signal(signal: Signal) -> PackedSignal:
    return PackedSignal(replace(signal, payload=None), msgspec.json.encode(signal.payload))


def unpack_signal(packed: PackedSignal) -> Signal:
    return replace(packed.signal, payload=decode_json(packed.payload))


class PackedEvent(msgspec.Struct, array_like=True):
    """An event with its time."""

    type: str
    data: bytes
    at: datetime


def pack_events(events: Sequence[tuple[Event, datetime]]) -> list[PackedEvent]:
    return [PackedEvent(stored_type(event), encode_event(event), at) for event, at in events]


def unpack_events(packed: Sequence[PackedEvent]) -> list[tuple[Event, datetime]]:
    return [(decode_event(event.type, event.data), event.at) for event in packed]


def pack_texts(texts: Collection[str]) -> list[bytes]:
    """Encode texts that may not be valid Unicode."""
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def unpack_texts(packed: Collection[bytes]) -> list[str]:
    return [text.decode("utf-8", "surrogatepass") for text in packed]
