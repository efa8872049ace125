"""The journal: durable events of executions."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Final, Protocol, TypeAlias

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.causes import StartCause
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import ErrorValue, Event, Started
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.log_levels import LogLevel
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, FlowId, JobId, RevisionId, WorkspaceId
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.memory import Loading
from flowrunner.ports.triggers import TriggerFire


@static_dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is stored: numbered, encoded, and free of secrets.

    Attributes:
        data: The event's fields as a JSON object.
        since: The beginning of what the event ends: of the step, of an attempt that is retried, of the wait before the
            first step or before the admission, or of the execution. None for other events, and for events that were
            read from the journal.
        is_kept: A rerun has copied it from another execution.
    """

    seq: int
    at: datetime
    event: Event
    data: bytes
    since: datetime | None = field(default=None, compare=False)
    is_kept: bool = field(default=False, compare=False)


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The row of an execution for lists, stored in the transaction of the events.

    Attributes:
        error: The error of a failed execution.
        log_counts: Lines of the log of an ended execution, by level; None for an end that was recorded without its
            events.
        is_idle: Nothing happens until ``wake_at``, or until a message arrives.
        wake_at: Due time of an idle execution.
        waiting_for: The waits of its steps or of the execution itself, as a JSON text.
        approval_at: Start of the last step that waits for an approval; None if none does.
        is_queued: The execution waits for a concurrency slot. If it is admitted meanwhile, the append with this
            summary raises `Fenced`.
    """

    status: Status
    completed_at: datetime | None = None
    error: ErrorValue | None = None
    log_counts: Mapping[LogLevel, int] | None = None
    is_idle: bool = False
    wake_at: datetime | None = None
    waiting_for: bytes | None = None
    approval_at: datetime | None = None
    is_queued: bool = False


@static_dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """An execution that does not exist yet.

    Attributes:
        idempotency_key: Key from the caller; a second request with it never creates a second execution.
        request_digest: Digest of the request with that key, to distinguish a repeat from a mistake.
        cause: What started it.
        kept: Events that a rerun copies from another execution, after the first one.
        flow_name: Name of the flow; if empty, the name in the metadata of its revision.
        slot: Its concurrency slot, if executions of the flow are limited.
        fire: The change of the trigger that started it.
        limits: Limits of the workspace, if the journal counts its executions in memory.
        audit: The audit entry that names the requester.
        labels: Names and values that lists select executions by.
        config: The configuration values that the flow names, of those that there are.
        searchable: Names of inputs whose values lists select executions by.
        job: The job that starts it, if one does.
    """

    id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    revision_id: RevisionId
    started_at: datetime
    cause: StartCause
    kept: Sequence[tuple[Event, datetime]] = ()
    idempotency_key: str | None = None
    request_digest: str | None = None
    flow_name: str = ""
    slot: ConcurrencySlot | None = None
    fire: TriggerFire | None = None
    limits: WorkspaceLimits | None = None
    audit: AuditEntry | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, JSON] = field(default_factory=dict)
    searchable: Sequence[str] = ()
    job: JobId | None = None

    def first_event(self, flow: Flow, input: JSON, traceparent: str) -> Started:
        """Return the event that creates it."""
        start = flow.nodes[flow.start]
        return Started(
            node=start.name,
            node_type=start.type,
            input=input,
            cause=self.cause,
            is_queued=self.slot is not None and self.slot.is_queued,
            flow_name=self.flow_name if self.flow_name != flow.name else "",
            labels=self.labels,
            config=self.config,
            traceparent=traceparent,
        )


@static_dataclass(frozen=True, slots=True)
class Quota:
    """A workspace with the limits of its stored data."""

    workspace_id: WorkspaceId
    limits: WorkspaceLimits


@static_dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events of one execution that become durable together, with the summary after them.

    Attributes:
        create: The new execution, if these are its first events.
        epoch: The fencing token of the writer; an append with an older one is rejected.
        after: Number of the last event before these.
        audit: Audit entries of the requests that caused the events; the creator's is in ``create``.
        is_summary_unchanged: The row has this summary already, by the append before.
        messages: Numbers of the inbox messages that the events answer, which are deleted with the append.
        quota: Storage limit of the workspace; None to store the events regardless.
    """

    execution_id: ExecutionId
    epoch: int
    after: int
    records: Sequence[Recorded]
    summary: Summary
    is_summary_unchanged: bool = False
    create: NewExecution | None = None
    audit: Sequence[AuditEntry] = ()
    messages: Sequence[int] = ()
    quota: Quota | None = None


class Fenced(Exception):
    """The rejection of an append: another process owns the execution, or it has ended."""


class Unreadable(FlowRunnerError):
    """Events of an execution are unknown to this version of FlowRunner, or inconsistent.

    Attributes:
        newer_since: Time of an event of unknown kind, which a newer version may have written.
    """

    def __init__(self, message: str, *, newer_since: datetime | None = None) -> None:
        super().__init__(message)
        self.newer_since = newer_since


class DuplicateRequest(Exception):
    """The rejection of a second execution with the same idempotency key."""

    def __init__(self, execution_id: ExecutionId, request_digest: str | None) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id
        self.request_digest = request_digest


@static_dataclass(frozen=True, slots=True, kw_only=True)
class StoredExecution:
    """A stored execution without its events.

    Attributes:
        workspace_is_gone: Its workspace was deleted, so it must not advance.
        size: Bytes of its events.
        last_seq: Number of its last event.
        parent_id: The execution that waits for its end.
        slot: Its concurrency slot.
    """

    id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    revision_id: RevisionId
    status: Status
    workspace_is_gone: bool
    size: int
    last_seq: int
    parent_id: ExecutionId | None = None
    slot: ConcurrencySlot | None = None


# Takes the next events of an execution, at least one; the reader awaits it before it reads further ones.
TakeEvents: TypeAlias = Callable[[Sequence[tuple[Event, datetime]]], Awaitable[None]]

# Approximate size of a page of events for readers.
PAGE_OF_EVENTS_BYTES: Final = 256 * 1024


class JournalReader(Protocol):
    """The events of every execution, for reading."""

    async def load(self, id: ExecutionId, take: TakeEvents, loading: Loading | None = None) -> StoredExecution:
        """Pass all events of an execution to ``take``, in portions, because memory may not hold all; then return it.

        Args:
            loading: Reserves the memory for large events.

        Raises:
            NotFound: If there is none.
            Unreadable.
        """
        ...

    async def stored(self, id: ExecutionId) -> StoredExecution:
        """Return an execution without its events. Raises: NotFound."""
        ...

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        """Return a page of events: at most ``limit``, and about `PAGE_OF_EVENTS_BYTES`.

        An unreadable event is replaced by a log line that reports it.
        """
        ...


class EventReader(JournalReader, Protocol):
    """The events of executions, for those that follow them."""

    async def is_whole(self, id: ExecutionId) -> bool:
        """Return whether an execution has its first event, which is the first to be deleted."""
        ...


async def load_whole(
    journal: JournalReader, id: ExecutionId, loading: Loading | None = None
) -> tuple[StoredExecution, list[tuple[Event, datetime]]]:
    """Return an execution with all its events. Args and Raises: as `JournalReader.load`."""
    events: list[tuple[Event, datetime]] = []

    async def take(portion: Sequence[tuple[Event, datetime]]) -> None:
        events.extend(portion)

    return await journal.load(id, take, loading), events


class Journal(JournalReader, Protocol):
    """The append-only events of every execution."""

    def append(self, append: Append) -> Awaitable[None]:
        """Make events durable. An execution changes only by appends.

        A call that is cancelled raises that once nothing of it can become durable any more.

        Raises:
            Fenced: Nothing was written: the epoch is old, or ``after`` is not the last event.
            DuplicateRequest: Nothing was written: the idempotency key is taken.
            NotFound: Nothing was written: the flow of a new execution is gone, or its revision, or its workspace.
            TriggerHasMoved: Nothing was written: another process has started the execution, or the trigger was changed.
            TooManyRequests: Nothing was written: it would need an active slot, and the workspace's queue is full.
            LimitReached: Nothing was written: the workspace would exceed its quota.
        """
        ...

    async def claim(self) -> int:
        """Make this process the only writer, and return its epoch; appends with an older one are rejected."""
        ...

    async def epoch(self) -> int:
        """Return the epoch of the last claim, for processes that share the journal and own single executions."""
        ...

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        """Take ownership of one execution and return the fencing token; appends with an older token are rejected.

        Raises:
            Fenced: The journal was claimed since ``epoch``.
        """
        ...

    def announce(self, id: ExecutionId) -> None:
        """Notify other processes of events that a writer may have added without a notification."""
        ...
