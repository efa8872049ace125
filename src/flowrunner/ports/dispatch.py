"""Who advances executions, what they are told, and what they do to each other."""

from asyncio import Future
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.execution import Status
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, FlowId, WorkspaceId
from flowrunner.plugin import SubFlow
from flowrunner.ports.journal import NewExecution


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Something that an execution is told from outside.

    Attributes:
        if_awaited: It counts only if a step waits for it at this moment.
        step: The step it is for, which waits for it or is about to: otherwise it does not count.
        request: Digests of its idempotency key and of what was asked, as `key:asked`. A repeat counts and changes
            nothing; another request with the same key does not count.
        audit: Who sends it, for the audit log.
        letter: The letter that it came by, which is gone once it is durable.
    """

    key: str
    payload: JSON
    by: str | None = None
    if_awaited: bool = False
    step: str | None = None
    request: str | None = None
    audit: AuditEntry | None = None
    message: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The wish that an execution ends.

    Attributes:
        audit: Whose wish it is, for the audit log.
        spares_handlers: The handlers of its end run. Otherwise it ends at once, without them or in the middle of them.
    """

    reason: str
    audit: AuditEntry | None = None
    spares_handlers: bool = True


@dataclass(frozen=True, slots=True)
class InboxMessage:
    """Something that an execution is told by a process that does not have it in memory."""

    number: int
    execution_id: ExecutionId
    content: "Signal | Cancel"


class Inbox(Protocol):
    """What is on its way to executions in other processes.

    A letter is gone once what it says is durable: see `Append.letters`. One that did not count is marked, until
    whoever sent it has seen that.
    """

    async def send(self, id: ExecutionId, content: "Signal | Cancel", *, at: datetime) -> int:
        """Gives its number. Secrets must not be in it. Raises: NotFound."""
        ...

    async def unread(self, ids: Collection[ExecutionId]) -> Sequence[InboxMessage]:
        """In the order in which they came."""
        ...

    async def reject(self, number: int, fencing_token: int) -> None:
        """It did not count; means nothing if another process has its execution by now: see `Journal.own`."""
        ...

    async def discard(self, number: int, fencing_token: int) -> None:
        """It did not count, and nobody waits to see that; means nothing if another process has its execution by now."""
        ...

    async def answer(self, number: int) -> bool | None:
        """Whether it counted; None while that is open."""
        ...

    async def cancel(self, number: int) -> bool:
        """Whether it was still there."""
        ...

    async def waiting(self, *, since: datetime, limit: int) -> Sequence[ExecutionId]:
        """Executions that go on and have letters that have been on their way since then or longer."""
        ...

    async def purge(self, *, before: datetime) -> None:
        """Delete letters from before then that nobody takes: refused ones, and to executions that have ended."""
        ...


class ActiveSlots(Protocol):
    """Which executions may be in the memory of processes that share a journal, so many of each account.

    Room belongs to an execution, from when it has it until it leaves or ends, whichever process has it in memory and
    whether or not that one is alive.
    """

    async def enter(self, id: ExecutionId, *, most: int | None, at: datetime) -> bool:
        """Whether it has room, or gets it now; otherwise it waits from now on.

        Args:
            most: How many of its account may have room; None is no limit.
        """
        ...

    async def leave(self, id: ExecutionId, fencing_token: int) -> None:
        """It has left memory and not ended; means nothing if another process has it by now: see `Journal.own`."""
        ...

    async def is_waiting(self, id: ExecutionId) -> bool: ...

    async def admit_next(self, workspace_id: WorkspaceId, *, most: int | None) -> ExecutionId | None:
        """Give room to the one of the account that has waited longest, if there is any."""
        ...

    async def accounts_waiting(self) -> Sequence[WorkspaceId]:
        """Accounts with executions that wait."""
        ...

    async def waiting(self) -> int:
        """How many executions wait for room, or are new and no process has taken them up yet."""
        ...

    async def expected(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Executions that were let in, have waited since then or longer, and that no process has taken up."""
        ...

    async def idle(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Executions that have room and wait for something: they are about to leave, or nobody knows of them."""
        ...

    async def unnotified(self, *, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        """Executions that have got their turn since they were in memory, and are not there again yet."""
        ...


# Why an execution is cancelled by what became of another.
PARENT_HAS_ENDED: Final = "the execution that waited for it has ended"
PARENT_HAS_GONE_ON: Final = "the execution that waited for it has gone on"
REPLACED: Final = "replaced by a newer execution"

# What somebody is told who cancels an execution in vain.
HANDLERS_RUN: Final = (
    "The flow has already ended, and the handlers of its end run. Wait for them, or cut them off with ?force=true"
)

# What somebody is told who gave an execution a signal, when it may have been recorded and may not.
OUTCOME_UNKNOWN: Final = "Nobody knows whether it was taken: look before you try again"


class ExecutionLinks(Protocol):
    """What executions do to each other. Each call returns at once; what it sets going survives a crash."""

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None: ...
    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        """End the flow of an execution. Handlers of its end that have begun go on."""
        ...

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        """Cancel what was started for steps of an execution that have gone on without it."""
        ...

    def release_slot(self, key: str) -> None:
        """Let executions in that wait for their turn under ``key``."""
        ...


class Dispatcher(ExecutionLinks, Protocol):
    """Decides which process advances an execution."""

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        """Done when the execution is durable; it runs by itself from then on.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its account.
            ConcurrencyLimitReached: If it has to wait for its turn, and is not queued.
            TooManyRequests: If it has to wait, and its account has as many waiting as it may.
            Unavailable: If the server is stopping.
        """
        ...

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        """Done when the execution has ended, or its flow has and the handlers may take their time.

        Nothing changes if it was cancelled before and its handlers still run.

        Args:
            force: It ends at once: without its handlers, or in the middle of them.

        Raises:
            Conflict: If it had ended before, or its flow had ended otherwise and the handlers go on.
        """
        ...

    def replace(self, by: ExecutionId) -> None:
        """Cancel the executions that are older than ``by`` and share a limit with it; none if it does not exist."""
        ...

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        """Return whether it waits until this process has room for it. What waits for room elsewhere, rows tell."""
        ...

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        """Done when the signal is durable; False, and nothing done, if it is not awaited and has to be.

        Raises:
            Conflict: If the execution has ended.
            NotFound: If there is none.
            Unavailable: If nobody can take it at the moment, or nobody knows whether it was taken.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentStep:
    """A step that starts an execution of another flow.

    Attributes:
        flows: The flows that led to it, its own last.
        failures: Tries of the step that have failed; each may start another execution.
    """

    execution_id: ExecutionId
    workspace_id: WorkspaceId
    step: str
    failures: int
    flows: Sequence[FlowId]


class SubFlowStarter(Protocol):
    async def start(
        self, parent: ParentStep, flow: str, *, version: str | int | None, input: Mapping[str, JSON], wait: bool
    ) -> SubFlow:
        """See `plugin.SubFlows`."""
        ...


class Advancing(Protocol):
    """What advances executions in this process, or has others do it.

    Attributes:
        is_open: Whether it does.
        active: Executions in memory.
        queued: Executions that wait for room.
    """

    @property
    def is_open(self) -> bool: ...
    @property
    def active(self) -> int: ...
    @property
    def queued(self) -> int: ...

    async def open(self) -> None: ...

    async def drain(self, *, seconds: float) -> None:
        """Begin no further step, and wait for the ones under way."""
        ...

    async def close(self) -> None: ...


class OpenDispatcher(Dispatcher, Advancing, Protocol):
    """A dispatcher, as whoever starts and stops it sees it."""


class ActiveExecution(Protocol):
    """An execution while it is in memory."""

    @property
    def workspace_id(self) -> WorkspaceId: ...
    @property
    def status(self) -> Status: ...

    async def advance(self) -> datetime | None:
        """Go on until the execution ends, or has to wait, or the engine stops.

        Returns:
            When a waiting execution is due; None if it has ended, waits for nothing but signals, or the
            engine is stopping.

        Raises:
            Fenced: Another process owns the execution, or it has ended there.
            Unavailable: What it needs to go on cannot be had at the moment.
        """
        ...

    @property
    def fencing_token(self) -> int:
        """What it is written under: see `Journal.own`."""
        ...

    def cancel(self, wish: Cancel, answer: "Future[bool] | None" = None, *, message: int | None = None) -> None:
        """End the execution soon, whatever it is doing.

        Args:
            answer: True when the flow is cancelled for good, by this wish or by one before it; False if it had ended
                otherwise and its handlers go on. None comes if the execution leaves memory before.
            letter: The letter that the wish came by, which is gone once it is fulfilled.
        """
        ...

    def receive(self, signal: Signal, answer: "Future[bool]") -> None:
        """Take a signal. The answer comes when it is durable, or never if the execution leaves memory before.

        It is Unavailable if nobody knows whether the signal is durable.
        """
        ...

    def hold(self) -> None:
        """Take what has come for it, and begin nothing: it goes on another time."""
        ...

    def nudge(self) -> None:
        """Look again whether the engine is stopping."""
        ...


class Engine(Protocol):
    """Advances executions; which ones and when is the dispatcher's matter."""

    @property
    def is_stopping(self) -> bool: ...

    async def open(self) -> None:
        """Make this process the only one whose appends count."""
        ...

    async def open_shared(self) -> None:
        """Share the journal: whoever loads an execution is the only one whose appends to it count."""
        ...

    def stop(self) -> None:
        """Begin no further step; the ones under way may end."""
        ...

    async def begin(self, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> ActiveExecution | None:
        """A new execution, durable when this returns; None if it is to be loaded to go on.

        Args:
            at_once: If there is room for it in memory, its first step starts now, and is recorded as started in the
                same append.

        Raises:
            DuplicateRequest: If its idempotency key is taken.
            NotFound: If its flow is gone, or its account.
            ConcurrencyLimitReached: If it has to wait for its turn, and is not queued.
            TooManyRequests: If it would have to wait for room, as too many of its account do.
            Fenced: If the journal was claimed by another process.
            Unavailable: If it could not be written; it may exist all the same.
        """
        ...

    async def load(self, id: ExecutionId) -> ActiveExecution | None:
        """A stored execution, ready to go on; None if it has ended. Raises: NotFound."""
        ...

    async def end_of(self, id: ExecutionId) -> Signal | None:
        """What the parent of an execution is told of its end; None if it has not ended. Raises: NotFound."""
        ...

    async def orphaned_children(self, parent: ExecutionId, children: Sequence[ExecutionId]) -> Sequence[ExecutionId]:
        """Which of ``children`` no step of ``parent`` waits for, or is about to. Raises: NotFound."""
        ...

    async def replaces(self, id: ExecutionId) -> bool:
        """Whether a queued execution is to take the place of the ones before it. Raises: NotFound."""
        ...

    async def give_up(self, id: ExecutionId) -> None:
        """End an execution that a fault of ours keeps from going on, as failed."""
        ...


class Ownership(Protocol):
    """The right of one of several servers to be the active one.

    Attributes:
        is_held: This process may claim the database.
        epoch: The epoch of the last claim, by whoever made it, as it was seen last; None if nobody looks.
        is_lost: Processes that share the work are active on the database, which this one would have alone.
    """

    @property
    def is_held(self) -> bool: ...
    @property
    def epoch(self) -> int | None: ...
    @property
    def is_lost(self) -> bool: ...

    async def until(self, condition: Callable[[], bool]) -> None:
        """Done when the condition holds; it is looked at whenever something about the ownership was seen."""
        ...
