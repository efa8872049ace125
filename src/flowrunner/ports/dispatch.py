"""Dispatchers and engines, the signals and cancel requests of executions, and links between executions."""

from asyncio import Future
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.events import Step
from flowrunner.domain.flow import Flow
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, RevisionId, WorkspaceId
from flowrunner.plugin import SubFlow
from flowrunner.ports.journal import NewExecution


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A named value sent to an execution.

    Attributes:
        key: A key of `domain.waits.signal_key`.
        if_awaited: Accept the signal only if a step waits for it now.
        step: The step the signal is addressed to. The signal is rejected unless that step waits for it or is running.
        failures: Failed attempts of that step before the attempt that the signal is for; None for any attempt.
        request: Digests of the idempotency key and of the request, as `key:asked`. A repeat is accepted and changes
            nothing; another request with the same key is rejected.
        audit: The audit entry that names the sender.
        message: Number of the inbox message that carried the signal, which is deleted once the signal is durable.
    """

    key: str
    payload: JSON
    by: str | None = None
    if_awaited: bool = False
    step: str | None = None
    failures: int | None = None
    request: str | None = None
    audit: AuditEntry | None = None
    message: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A cancel request for an execution.

    Attributes:
        audit: The audit entry that names the requester.
        spares_handlers: Run the handlers of the flow's end. Otherwise the execution ends at once, and handlers are
            skipped or interrupted.
    """

    reason: str
    audit: AuditEntry | None = None
    spares_handlers: bool = True


# Reasons for cancelling an execution because of another one.
PARENT_HAS_ENDED: Final = "the execution that waited for it has ended"
PARENT_HAS_GONE_ON: Final = "the execution that waited for it has gone on"
REPLACED: Final = "replaced by a newer execution"

# Error message of a cancel request that arrives too late.
HANDLERS_RUN: Final = (
    "The flow has already ended, and the handlers of its end run. Wait for them, or cut them off with ?force=true"
)

# Error messages of requests whose effect may or may not be durable.
OUTCOME_UNKNOWN: Final = "Outcome unknown: the signal may have been recorded. Check the execution before you retry."
CANCEL_UNKNOWN: Final = (
    "Outcome unknown: the execution may have been cancelled, or be about to end. Check it before you retry."
)


class ExecutionLinks(Protocol):
    """Effects of executions on each other. Each call returns at once; its effect survives a crash."""

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None: ...
    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        """End the flow of an execution. Handlers of its end that have begun continue."""
        ...

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        """Cancel child executions that no step of the parent still waits for."""
        ...

    def release_slot(self, key: str) -> None:
        """Admit executions that wait for a concurrency slot under ``key``."""
        ...


class Dispatcher(ExecutionLinks, Protocol):
    """The choice of the process that advances an execution."""

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        """Make a new execution durable; it runs by itself from then on.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its workspace.
            ConcurrencyLimitReached: If there is no free concurrency slot, and the execution is not queued.
            TooManyRequests: If it has to wait for an active slot, and the workspace's queue is full.
            Unavailable: If the server is stopping.
        """
        ...

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        """Cancel an execution; return when it has ended, or its flow has and the handlers take longer.

        Nothing changes if it was cancelled before and its handlers still run.

        Args:
            force: End it at once: skip its handlers, or interrupt them.

        Raises:
            Conflict: If it had ended before, or its flow had ended otherwise and the handlers still run.
        """
        ...

    def replace(self, by: ExecutionId) -> None:
        """Cancel the executions that are older than ``by`` and share a limit with it; none if it does not exist."""
        ...

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        """Return whether an execution waits for an active slot of this process; other waits are in the database."""
        ...

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        """Send a signal; return True once it is durable, and False if it requires a waiting step and none waits.

        Raises:
            Conflict: If the execution has ended.
            NotFound: If there is none.
            Unavailable: If no process can accept it now, or the outcome is unknown.
        """
        ...


class SubFlowStarter(Protocol):
    async def revision(self, workspace_id: WorkspaceId, flow: str, *, version: str | int | None) -> RevisionId:
        """Return the revision of a flow that a step would start. Raises: NodeFailure."""
        ...

    async def start(
        self,
        workspace_id: WorkspaceId,
        cause: ChildOf,
        flow: str,
        *,
        version: str | int | None,
        input: Mapping[str, JSON],
        dedupe: str | None = None,
    ) -> SubFlow:
        """See `plugin.SubFlows`."""
        ...


class Advancing(Protocol):
    """The part of this process that advances executions, or has other processes advance them.

    Attributes:
        is_open: Executions advance.
        active: Number of executions in memory.
    """

    @property
    def is_open(self) -> bool: ...
    @property
    def active(self) -> int: ...

    async def open(self) -> None: ...

    async def drain(self, *, seconds: float) -> None:
        """Start no further step, and wait for the running ones."""
        ...

    async def close(self) -> None: ...


class OpenDispatcher(Dispatcher, Advancing, Protocol):
    """A dispatcher with its lifecycle.

    Attributes:
        queued: Number of executions that wait for an active slot.
        oldest_queued_seconds: The longest of these waits so far.
        is_queue_known: False while the queue is in a database that cannot be read; what is said about it is then old.
    """

    @property
    def queued(self) -> int: ...
    @property
    def oldest_queued_seconds(self) -> float: ...
    @property
    def is_queue_known(self) -> bool: ...

    async def can_assign(self) -> bool:
        """Return whether executions can be assigned to processes at present. Another service may do so."""
        ...


class ActiveExecution(Protocol):
    """An execution while it is in memory."""

    @property
    def workspace_id(self) -> WorkspaceId: ...
    @property
    def status(self) -> Status: ...

    async def advance(self) -> datetime | None:
        """Advance until the execution ends, has to wait, or the engine stops.

        Returns:
            The time at which a waiting execution is due; None if it has ended, waits only for signals, or the engine
            is stopping.

        Raises:
            Fenced: Another process owns the execution, or it has ended there.
            Unavailable: A dependency is unavailable at the moment.
        """
        ...

    @property
    def fencing_token(self) -> int:
        """The token of its appends: see `Journal.acquire`."""
        ...

    def cancel(self, request: Cancel, answer: "Future[bool] | None" = None, *, message: int | None = None) -> None:
        """End the execution soon, whatever it is doing.

        Args:
            answer: Set to True once the cancellation is durable, by this request or an earlier one; to False if the
                flow had ended otherwise and its handlers still run. Never set if the execution leaves memory before.
            message: Number of the inbox message that carried the request, which is deleted once the cancellation is
                durable.
        """
        ...

    def receive(self, signal: Signal, answer: "Future[bool]") -> None:
        """Accept a signal. The answer is set once it is durable, or never if the execution leaves memory before.

        The answer is an Unavailable error if the outcome is unknown.
        """
        ...

    def hold(self) -> None:
        """Process received messages, and start no step: the execution continues after its next load."""
        ...

    @property
    def cut_off(self) -> Mapping[Step, int]:
        """The steps that a crash may have cut off while they resumed, each with its attempts so far."""
        ...

    def resume_after_hold(self, cut_off: Mapping[Step, int]) -> None:
        """Resume steps as usual that were held: no crash has cut off others than ``cut_off``, as of the load before."""
        ...

    def nudge(self) -> None:
        """Check again whether the engine is stopping."""
        ...


class Engine(Protocol):
    """Creation and loading of executions; the dispatcher chooses which ones advance, and when."""

    @property
    def is_stopping(self) -> bool: ...

    async def open(self) -> None:
        """Make this process the only writer: appends of any other one are rejected."""
        ...

    async def open_shared(self) -> None:
        """Share the journal with other processes: each execution has one writer, the process that loaded it last."""
        ...

    def stop(self) -> None:
        """Start no further step; running ones may end."""
        ...

    def set_others_wait(self, others_wait: bool) -> None:
        """Set whether executions wait for an active slot: if so, others leave memory for short waits, too."""
        ...

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> ActiveExecution | None:
        """Make a new execution durable and return it; None if it has to be loaded to advance.

        Args:
            at_once: Start the first step now if there is memory for the execution, and record that in the same append.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its workspace.
            ConcurrencyLimitReached: If there is no free concurrency slot, and the execution is not queued.
            TooManyRequests: If it would have to wait for an active slot, and the workspace's queue is full.
            Fenced: If another process has claimed the journal.
            Unavailable: If the write failed; the execution may exist nevertheless.
        """
        ...

    async def load(self, id: ExecutionId) -> ActiveExecution | None:
        """Load a stored execution; return None if it has ended. Raises: NotFound."""
        ...

    async def end_of(self, id: ExecutionId) -> Signal | None:
        """Return the signal to the parent of an ended execution; None if it has not ended. Raises: NotFound."""
        ...

    async def orphaned_children(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        """Return the ``children`` that no waiting or running step of ``parent`` needs. Raises: NotFound."""
        ...

    async def replaces(self, id: ExecutionId) -> bool:
        """Return whether a queued execution replaces the older ones. Raises: NotFound."""
        ...

    async def give_up(self, id: ExecutionId) -> None:
        """End an execution as failed after an internal error."""
        ...
