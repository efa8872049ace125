"""The journal: events of executions, and how they become durable."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.events import Event
from flowrunner.domain.execution import Status
from flowrunner.domain.limits import Limits
from flowrunner.domain.values import JSON, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.memory import Loading


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as it is stored: numbered, encoded, and free of secrets.

    Attributes:
        data: The event's fields as a JSON object.
    """

    seq: int
    at: datetime
    event: Event
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What lists of executions show; stored beside the events, in the same transaction.

    Attributes:
        rests: Nothing goes on in it before ``wake_at``, or before something comes from outside.
        wake_at: When one that rests has something to do by itself.
        waiting_for: What its steps wait for, or itself, as a JSON text.
        is_queued: It waits for its turn. Who lets it in meanwhile makes the append that says so `Fenced`.
    """

    status: Status
    completed_at: datetime | None = None
    error: str | None = None
    rests: bool = False
    wake_at: datetime | None = None
    waiting_for: bytes | None = None
    is_queued: bool = False


@dataclass(frozen=True, slots=True)
class ConcurrencySlot:
    """A place among the executions of a flow that may be under way at once.

    Attributes:
        key: What they share.
        most: How many may be under way.
        is_queued: The execution waits until one of the places is free.
    """

    key: str
    most: int
    is_queued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExecution:
    """An execution that does not exist yet.

    Attributes:
        idempotency_key: Given by the caller; the same key never makes a second execution.
        request_digest: What was asked with that key, to tell a repeat from a mistake.
        by: The account that asked for it.
        parent_id: The execution that waits for its end.
        started_for: What `Started.parent` says of where it comes from.
        flow_name: What its flow is called; what the metadata of its revision says if empty.
        turn: Its place among the executions of its flow, where those are limited.
        limits: Of its account, where it is counted in the journal which of its executions are in memory.
        rerun_of: The execution it repeats, from the step ``rerun_from`` on.
        keys_of: The execution whose idempotency keys its steps send, if those are not its own.
        prefix: Events it begins with, after the first: what a rerun keeps of another execution.
        audit: Who started it, for the audit log.
    """

    id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    revision_id: RevisionId
    started_at: datetime
    idempotency_key: str | None = None
    request_digest: str | None = None
    by: WorkspaceId | None = None
    parent_id: ExecutionId | None = None
    started_for: JSON = None
    flow_name: str = ""
    slot: ConcurrencySlot | None = None
    limits: Limits | None = None
    rerun_of: ExecutionId | None = None
    rerun_from: str | None = None
    keys_of: ExecutionId | None = None
    prefix: Sequence[tuple[Event, datetime]] = ()
    audit: AuditEntry | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """An account, and the limits that what it stores is compared with."""

    workspace_id: WorkspaceId
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Events of one execution that become durable together, with the summary they lead to.

    Attributes:
        create: Set for the first events of an execution.
        epoch: The writer's epoch. A write with an old one changes nothing.
        after: Number of the last event before these.
        audit: Who caused them, for the audit log; who created it stands in ``create``.
        letters: Numbers of the letters that they answer, which are gone with it.
        quota: What the account may keep with these events; None to store them whatever it keeps.
    """

    execution_id: ExecutionId
    epoch: int
    after: int
    records: Sequence[Recorded]
    summary: Summary
    create: NewExecution | None = None
    audit: Sequence[AuditEntry] = ()
    messages: Sequence[int] = ()
    quota: Quota | None = None


class Fenced(Exception):
    """The append was refused: another process owns the execution, or it has ended."""


class Unreadable(FlowRunnerError):
    """An execution has events that this version of FlowRunner cannot read, or that do not follow from each other.

    Attributes:
        newer_since: When the event was recorded, if its kind is unknown here: a newer version may have written it.
    """

    def __init__(self, message: str, *, newer_since: datetime | None = None) -> None:
        super().__init__(message)
        self.newer_since = newer_since


class ConcurrencyLimitReached(Exception):
    """Nothing was written: as many executions of the flow are under way as may be."""


class DuplicateRequest(Exception):
    """An execution was already accepted under this idempotency key."""

    def __init__(self, execution_id: ExecutionId, request_digest: str | None) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id
        self.request_digest = request_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredExecution:
    """An execution as the engine picks it up.

    Attributes:
        account_is_gone: Its account was deleted, so it must not go on.
        size: Bytes of its events.
        last_seq: Number of its last event.
        parent_id: The execution that waits for its end.
        turn: Its place among the executions of its flow.
    """

    id: ExecutionId
    workspace_id: WorkspaceId
    flow_id: FlowId
    revision_id: RevisionId
    status: Status
    account_is_gone: bool
    size: int
    last_seq: int
    parent_id: ExecutionId | None = None
    slot: ConcurrencySlot | None = None


@dataclass(frozen=True, slots=True)
class UnreconciledChild:
    """An execution and the one that was to wait for its end; at most one of them has ended."""

    child: ExecutionId
    parent: ExecutionId
    child_has_ended: bool = False
    parent_has_ended: bool = False


# Events that people read are read in pages of about this size.
PAGE_OF_EVENTS_BYTES: Final = 256 * 1024


class Journal(Protocol):
    """The append-only events of every execution."""

    def append(self, append: Append) -> Awaitable[None]:
        """Done when the events are durable. Nothing else makes an execution change.

        Raises:
            Fenced: Nothing was written: the epoch is old, or ``after`` is not the last event.
            DuplicateRequest: Nothing was written: the idempotency key is taken.
            NotFound: Nothing was written: the flow of a new execution is gone, or its revision, or its account.
            TooManyRequests: Nothing was written: it would have to wait for room, as too many of its account do.
            LimitReached: Nothing was written: the account would keep more than its quota.
        """
        ...

    async def claim(self) -> int:
        """Make this process the only one whose appends count; gives its epoch."""
        ...

    async def epoch(self) -> int:
        """The epoch of the last claim, for processes that share the journal and own executions one by one."""
        ...

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        """Make the appends of one execution count only under the mark that this gives.

        Raises:
            Fenced: The journal was claimed since ``epoch``.
        """
        ...

    async def load(
        self, id: ExecutionId, loading: Loading | None = None
    ) -> tuple[StoredExecution, Sequence[tuple[Event, datetime]]]:
        """An execution with all its events.

        Args:
            loading: Takes the room that they need in memory, if they are large.

        Raises:
            NotFound: If there is none.
            Unreadable.
        """
        ...

    async def stored(self, id: ExecutionId) -> StoredExecution:
        """An execution without its events. Raises: NotFound."""
        ...

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        """Return some events of an execution: ``limit``, or as many as come to `PAGE_OF_EVENTS_BYTES`.

        One that cannot be read is replaced by a line of the log that says so.
        """
        ...

    def announce(self, id: ExecutionId) -> None:
        """Tell other processes that the execution has new events, as whoever added them may have had no time to."""
        ...

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Executions that are to run since then or longer and that nobody has owned yet, and whose they are."""
        ...

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Running executions and whose they are, by id, beyond ``after``; the waiting ones are ``due`` in time."""
        ...

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Waiting executions whose time has come, and whose they are."""
        ...

    async def next_wake(self) -> datetime | None: ...

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        """Give the next place under ``key`` that is free to the execution that waits longest; tell which, and whose."""
        ...

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Running executions that have a place under ``key``, and whose they are."""
        ...

    async def queued_keys(self) -> Sequence[str]:
        """Keys under which executions wait for their turn."""
        ...

    async def last_queued(self, key: str) -> ExecutionId | None:
        """The one that was created last of those that wait for their turn under ``key``."""
        ...

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        """Those that share a limit with ``id`` and were created before it, the oldest first.

        Ones that have ended are not among them. If it has ended itself, or does not exist, there are none.
        """
        ...

    async def unreconciled_children(self, parent: ExecutionId | None = None) -> Sequence[UnreconciledChild]:
        """Executions and the ones that wait for them, where one may have missed what the other did.

        Args:
            parent: The only one to look at; None for all there are.
        """
        ...
