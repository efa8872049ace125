"""The events of an execution in memory: stored ones become its state, and new ones become durable."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self

import msgspec

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.decide import deadline_of
from flowrunner.domain.decisions import Finish, Record, cancelled, failed
from flowrunner.domain.errors import FlowRunnerError, LimitReached, Unavailable
from flowrunner.domain.events import (
    LOG_TRUNCATED,
    Admitted,
    Cancelled,
    Completed,
    Ending,
    ErrorValue,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    ScopesOpened,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.explain import latest_approval, waiting_for
from flowrunner.domain.flow import Flow
from flowrunner.domain.status import Status
from flowrunner.domain.transitions import apply
from flowrunner.engine.dependencies import LoadedExecution
from flowrunner.engine.held_memory import UNCOUNTED_BYTES, ExecutionMemory
from flowrunner.engine.log_lines import log_ended, log_step
from flowrunner.engine.recorder import Storable, storable
from flowrunner.ports.dispatch import OUTCOME_UNKNOWN
from flowrunner.ports.journal import (
    Append,
    Fenced,
    NewExecution,
    Quota,
    Recorded,
    StoredExecution,
    Summary,
    Unreadable,
)
from flowrunner.retrying import rising

# Results of pure nodes are appended together, up to these limits.
MAX_UNRECORDED_EVENTS: Final = 64
MAX_UNRECORDED_BYTES: Final = 1024 * 1024
MAX_LOG_LINES: Final = 10_000
MAX_EXECUTION_BYTES: Final = 256 * 1024 * 1024
_BYTES_OF_HANDLERS: Final = 16 * 1024 * 1024
# Events that are applied without yielding to other tasks, and memory that is measured, which takes up to 5 ms.
AT_A_STRETCH: Final = 200
MEASURED_BYTES: Final = 4 * 1024 * 1024
_RETRY_DELAY: Final = rising(0.1, 0.3, 1.0, 3.0)
# Retries of an append even while the server stops.
_MIN_RETRIES: Final = 4

_TOO_LARGE: Final = ErrorValue(
    type="limit.size",
    message=f"The events of this execution take more than {MAX_EXECUTION_BYTES // 1024**2} MiB",
)


class PendingAppend:
    """The events that become durable with the next append."""

    def __init__(self) -> None:
        self.records: list[Recorded] = []
        self.size = 0
        # Store the events beyond the quota of the workspace.
        self.may_exceed = False
        # Audit entries of the requests that caused the events.
        self.acts: list[AuditEntry] = []
        # Inbox messages that are deleted with the append.
        self.messages: list[int] = []
        # Set to True when the append is durable.
        self.answers: list[asyncio.Future[bool]] = []

    def answer(self) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_result(True)

    def report_unknown_outcome(self) -> None:
        """Set the answers to an error: a caller that repeats its request could have it recorded twice."""
        self.reject(Unavailable(OUTCOME_UNKNOWN))

    def reject(self, error: FlowRunnerError) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(error)
                # Mark the exception as retrieved: the caller may have gone.
                answer.exception()

    @property
    def last_node(self) -> str | None:
        """Return the node of the last result; None if there is none."""
        results = (NodeCompleted, NodeFailed, NodeWaiting, ScopesOpened)
        return next((r.event.node for r in reversed(self.records) if isinstance(r.event, results)), None)


class EventLog:
    """The events of one execution. The state is ahead of the journal by the events that are not flushed yet.

    Args:
        create: The execution to create with the first events, if it does not exist yet.

    Attributes:
        loaded: The execution.
        size: Bytes of the events.
        memory: Memory that the execution holds.
        status: The durable status.
        refused_node: The node of the last result in an append that exceeded the quota of the workspace.
        refusal: The exceeded quota, until the execution ends because of it.
    """

    def __init__(
        self,
        loaded: LoadedExecution,
        *,
        epoch: int,
        size: int = 0,
        create: NewExecution | None = None,
    ) -> None:
        deps, execution = loaded.deps, loaded.execution
        self.loaded = loaded
        self.state = state = loaded.state
        self.epoch = epoch
        self.size = size
        self.memory = ExecutionMemory(deps.held, execution.workspace_id, state)
        self.status = state.status
        self._deps = deps
        self._execution = execution
        self._redactor = loaded.redactor
        self._create = create
        self._quota = None if deps.limits.stored is None else Quota(execution.workspace_id, deps.limits)
        self._pending = PendingAppend()
        # The summary of the last append; None before the first.
        self._summary: Summary | None = None
        self.refused_node: str | None = None
        self.refusal: ErrorValue | None = None

    @classmethod
    def resumed(cls, loaded: LoadedExecution, *, stored: StoredExecution, epoch: int) -> Self:
        """Return the log of a stored execution; an `Admitted` event is added if it has got its slot since."""
        log = cls(loaded, epoch=epoch, size=stored.size)
        if loaded.state.is_queued and stored.slot is not None and not stored.slot.is_queued:
            log.record(Admitted())
        return log

    @property
    def is_much_unrecorded(self) -> bool:
        return len(self._pending.records) >= MAX_UNRECORDED_EVENTS or self._pending.size >= MAX_UNRECORDED_BYTES

    @property
    def is_awaited(self) -> bool:
        """Return whether a caller waits until the recorded events are durable."""
        return bool(self._pending.answers)

    def record(self, event: Event | Storable, at: datetime | None = None) -> Event:
        """Apply an event and return its stored form, which may be another event. Raises: See `storable`."""
        state, pending = self.state, self._pending
        stored, data = event if isinstance(event, Storable) else storable(event, self._redactor)
        if at is None:
            begun = _BEGINNINGS.get(type(stored))
            since = None if begun is None else begun(stored, state)
            recorded = Recorded(state.seq + 1, self._deps.clock.now(), stored, data, since)
        else:
            # Events with a time of their own come from another execution.
            recorded = Recorded(state.seq + 1, at, stored, data, None, True)
        apply(state, stored, recorded.at)
        if not -UNCOUNTED_BYTES < state.held_bytes - self.memory.counted_bytes < UNCOUNTED_BYTES:
            self.memory.count()
        size = len(data)
        pending.records.append(recorded)
        pending.size += size
        self.size += size
        return stored

    @property
    def is_too_large(self) -> bool:
        """Return whether the execution has to end because of what it has recorded."""
        return self.state.ending is None and self._excess() is not None

    @property
    def accepts_lines(self) -> bool:
        return self.state.log_lines < MAX_LOG_LINES

    def log(self, line: Logged | Storable, *, even_if_full: bool = False) -> None:
        """Record a line, unless the limit is reached."""
        if self.state.log_lines < MAX_LOG_LINES or even_if_full:
            self.record(line)
        elif not self.state.is_log_truncated:
            message = f"{LOG_TRUNCATED}{MAX_LOG_LINES} lines are kept of an execution"
            self.record(Logged(level="warn", message=message))

    def attribute(self, audit: AuditEntry | None, messages: Collection[int]) -> None:
        """Add the audit entry and the inbox messages that caused the recorded events to their append."""
        if audit is not None:
            self._pending.acts.append(audit)
        self._pending.messages += messages

    def exceed_quota(self) -> None:
        """Store the end of an execution beyond the quota of the workspace, if that is the reason for the end."""
        if self.refusal is not None:
            self.refusal = None
            self._pending.may_exceed = True

    def end_if_too_large(self) -> Record | Finish | None:
        """Return the end of an execution whose events are too large, or whose steps hold too much memory."""
        error = self._excess()
        if error is None or self.state.ending is not None:
            return None
        self.exceed_quota()
        if self.state.root.ended is None:
            return failed(self._execution.flow, error)
        self.log(Logged(level="warn", message=f"The handlers of the end were cut off: {error.message}"))
        return cancelled(self._execution.flow, self.state, "", force=True)

    def _excess(self) -> ErrorValue | None:
        """Return the limit that is exceeded, if one is. The handlers have an allowance of their own."""
        if self.refusal is not None:
            return self.refusal
        if self.size > MAX_EXECUTION_BYTES and (
            self.state.root.ended is None or self.size > MAX_EXECUTION_BYTES + _BYTES_OF_HANDLERS
        ):
            return _TOO_LARGE
        return self.memory.excess()

    def answer_when_durable(self, answer: "asyncio.Future[bool]") -> None:
        """Set ``answer`` to True once all recorded events are durable."""
        if self._pending.records:
            self._pending.answers.append(answer)
        else:
            answer.set_result(True)

    async def flush(self) -> bool:
        """Make the recorded events durable and publish them; return False if there are none.

        Raises:
            Exceptions of `Journal.append`.
        """
        if not self._pending.records:
            return False
        pending, self._pending = self._pending, PendingAppend()
        summary = summary_of(self._execution.flow, self.state, pending.records[-1].at)
        append = Append(
            execution_id=self._execution.execution_id,
            epoch=self.epoch,
            after=self.state.seq - len(pending.records),
            records=pending.records,
            summary=summary,
            is_summary_unchanged=summary is self._summary or summary == self._summary,
            create=self._create,
            audit=pending.acts,
            messages=pending.messages,
            quota=None if pending.may_exceed else self._quota,
        )
        await self._append(append, pending)
        self._create = None
        self._summary = summary
        self.status = summary.status
        self._deps.broadcast.publish(self._execution.execution_id, pending.records)
        self._deps.observer.observe(self._execution, pending.records)
        pending.answer()
        self._write_server_log(pending)
        return True

    def _write_server_log(self, pending: PendingAppend) -> None:
        if self._deps.logs_steps:
            for recorded in pending.records:
                if isinstance(recorded.event, NodeCompleted | NodeFailed) and not recorded.is_kept:
                    log_step(self._execution, recorded.event, recorded)
        last = pending.records[-1]
        if isinstance(last.event, Ending):
            log_ended(self._execution, last.event, last)

    async def _append(self, append: Append, pending: PendingAppend) -> None:
        attempts = 0
        try:
            while True:
                try:
                    return await self._deps.journal.append(append)
                except Unavailable:
                    attempts += 1
                    # The caller has no promise of a new execution yet, so an error is a valid answer.
                    if self._create is not None or (self._deps.is_stopping and attempts > _MIN_RETRIES):
                        raise
                # Jitter: executions that failed together must not retry together.
                await asyncio.sleep(_RETRY_DELAY(attempts) * (0.5 + self._deps.draw()))
        except (Fenced, Unavailable):
            if attempts:
                # An append that failed may be durable.
                self._deps.broadcast.mark_stale(append.execution_id)
                pending.report_unknown_outcome()
            raise
        except LimitReached as error:
            pending.reject(error)
            self.refused_node = pending.last_node
            raise


class Replay:
    """The state after the events so far; the events themselves are not kept.

    Attributes:
        first: The first event.
        last: The last event so far.
    """

    first: Event
    last: Event

    def __init__(self) -> None:
        self._state = ExecutionState()
        self._error: Exception | None = None

    async def add(self, events: Sequence[tuple[Event, datetime]]) -> None:
        """Apply a portion of events, of which there is at least one."""
        if self._state.seq == 0 and self._error is None:
            self.first = events[0][0]
        self.last = events[-1][0]
        if self._error is not None:
            return
        state, measured_bytes = self._state, self._state.measured_bytes
        try:
            for event, at in events:
                apply(state, event, at)
                if state.measured_bytes - measured_bytes > MEASURED_BYTES:
                    # Let other tasks run.
                    measured_bytes = state.measured_bytes
                    await asyncio.sleep(0)
        except MemoryError:
            raise
        except Exception as error:  # any error of the replay means that the events cannot be used
            self._error = error

    @property
    def state(self) -> ExecutionState:
        """Return the state after all events. Raises: Unreadable."""
        if self._error is not None:
            message = f"The events of this execution do not follow from each other ({self._error})"
            raise Unreadable(message) from self._error
        return self._state


# Of an execution that waits for nothing.
_RUNNING: Final = Summary(status=Status.RUNNING)


def summary_of(flow: Flow, state: ExecutionState, at: datetime) -> Summary:
    """Return the row of an execution for lists."""
    if state.ending is None and not state.timed and not state.is_queued:
        return _RUNNING
    status, is_idle = state.status, state.is_idle
    due_at = state.due_at if is_idle else None
    if is_idle and (deadline := deadline_of(flow, state)) is not None:
        due_at = deadline if due_at is None else min(due_at, deadline)
    waits = waiting_for(state) if state.ending is None and (state.timed or state.is_queued) else None
    return Summary(
        status=status,
        completed_at=at if status.is_final else None,
        error=state.ending.error if isinstance(state.ending, Failed) else None,
        log_counts=state.log_counts if status.is_final else None,
        is_idle=is_idle,
        wake_at=due_at,
        waiting_for=msgspec.json.encode(waits) if waits else None,
        approval_at=latest_approval(state) if waits else None,
        is_queued=state.is_queued,
    )


# The beginnings of what events end: see `Recorded.since`.


def _beginning_of_step(event: Any, state: ExecutionState) -> datetime:
    return state.frames[event.scope].steps[event.node].started_at


def _beginning_of_attempt(event: NodeFailed, state: ExecutionState) -> datetime:
    """Return the start of the attempt if it is retried, or else that of the step."""
    current = state.frames[event.scope].steps[event.node]
    return current.started_at if event.retry_at is None else current.attempted_at


def _beginning_of_wait(event: NodeStarted, state: ExecutionState) -> datetime | None:
    """Return the start of the execution for its first step."""
    return None if state.started_attempts else state.started_at


def _beginning_of_execution(event: Any, state: ExecutionState) -> datetime | None:
    return state.started_at


_BEGINNINGS: Final[Mapping[type, Callable[[Any, ExecutionState], datetime | None]]] = {
    NodeStarted: _beginning_of_wait,
    Admitted: _beginning_of_execution,
    NodeCompleted: _beginning_of_step,
    NodeFailed: _beginning_of_attempt,
    Completed: _beginning_of_execution,
    Failed: _beginning_of_execution,
    Cancelled: _beginning_of_execution,
}
