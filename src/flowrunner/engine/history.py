"""The events of an execution in memory: what they add up to, and which of them are durable."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.decide import deadline_of
from flowrunner.domain.errors import FlowRunnerError, LimitReached, Unavailable
from flowrunner.domain.events import (
    Admitted,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopesOpened,
)
from flowrunner.domain.execution import ExecutionState, replay
from flowrunner.domain.explain import waiting_for
from flowrunner.domain.flow import Flow
from flowrunner.engine.recorder import Storable, record
from flowrunner.engine.scope import Identity
from flowrunner.engine.server_log import log_failed, log_step, logs_steps, step_facts
from flowrunner.engine.world import World
from flowrunner.ports import (
    NOBODY_KNOWS,
    Append,
    Fenced,
    NewExecution,
    Quota,
    Recorded,
    Redactor,
    StoredExecution,
    Summary,
)

# Results of pure nodes wait for company, up to so many events.
MAX_UNRECORDED_EVENTS: Final = 64
MAX_UNRECORDED_BYTES: Final = 1024 * 1024
MAX_LOG_LINES: Final = 10_000
# Events that are taken into account without a break for others.
AT_A_STRETCH: Final = 200
_RETRY_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)


class _Tail:
    """What becomes durable next, all of it together."""

    def __init__(self) -> None:
        self.records: list[Recorded] = []
        self.size = 0
        # It is stored also where the account keeps as much as it may.
        self.may_exceed = False
        # Who caused it.
        self.acts: list[AuditEntry] = []
        # What told of it, and is done with then.
        self.letters: list[int] = []
        # Given when it is durable.
        self.answers: list[asyncio.Future[bool]] = []
        # Told in the server's log then.
        self.steps: list[dict[str, Any]] = []

    def answer(self) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_result(True)

    def answer_that_nobody_knows(self) -> None:
        """Whoever asks once more, as of what was not taken, would be heard twice if it was."""
        self.refuse(Unavailable(NOBODY_KNOWS))

    def refuse(self, error: FlowRunnerError) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(error)
                # Whoever asked may have gone.
                answer.exception()

    @property
    def last_node(self) -> str | None:
        """The node whose result came last."""
        results = (NodeCompleted, NodeFailed, NodeWaiting, ScopesOpened)
        return next((r.event.node for r in reversed(self.records) if isinstance(r.event, results)), None)


class History:
    """What one run records. The state is ahead of the journal by the events that are not flushed yet.

    Args:
        create: The execution to create with the first events, if there is none yet.

    Attributes:
        size: Bytes that the events take.
        status: As the database has it: what is in memory may not become durable.
        refused_node: The node whose result came last in an append that exceeded the quota of the account.
    """

    def __init__(
        self,
        world: World,
        identity: Identity,
        redactor: Redactor,
        state: ExecutionState,
        *,
        epoch: int,
        size: int = 0,
        create: NewExecution | None = None,
    ) -> None:
        self.state = state
        self.epoch = epoch
        self.size = size
        self.status = state.status
        self._world = world
        self._identity = identity
        self._redactor = redactor
        self._create = create
        self._tail = _Tail()
        self._logs_steps = logs_steps()
        self.refused_node: str | None = None

    @classmethod
    def resumed(
        cls,
        world: World,
        identity: Identity,
        redactor: Redactor,
        state: ExecutionState,
        *,
        stored: StoredExecution,
        epoch: int,
    ) -> "History":
        """Return the history of an execution as it is stored, which has been let in if it waited for its turn."""
        history = cls(world, identity, redactor, state, epoch=epoch, size=stored.size)
        if state.is_queued and stored.turn is not None and not stored.turn.is_queued:
            history.record(Admitted())
        return history

    @property
    def is_much_unrecorded(self) -> bool:
        return len(self._tail.records) >= MAX_UNRECORDED_EVENTS or self._tail.size >= MAX_UNRECORDED_BYTES

    @property
    def is_awaited(self) -> bool:
        """Whether somebody is to be answered as soon as what was recorded is durable."""
        return bool(self._tail.answers)

    def record(self, event: Event | Storable, at: datetime | None = None) -> Event:
        """Take an event into account; gives it as it is stored, which may be another one. Raises: As `storable`."""
        state, tail = self.state, self._tail
        recorded = record(event, seq=state.seq + 1, at=at or self._world.clock.now(), redactor=self._redactor)
        # What another execution has done before has a time of its own, and was told of then.
        if self._logs_steps and at is None and isinstance(recorded.event, NodeCompleted | NodeFailed):
            tail.steps.append(step_facts(recorded.event, state, recorded.at))
        state.apply(recorded.event, recorded.at)
        size = len(recorded.data)
        tail.records.append(recorded)
        tail.size += size
        self.size += size
        return recorded.event

    @property
    def has_room_for_lines(self) -> bool:
        return self.state.log_lines < MAX_LOG_LINES

    def log(self, line: Logged | Storable, *, even_if_full: bool = False) -> None:
        """Record a line, unless there are as many as are kept."""
        if self.state.log_lines < MAX_LOG_LINES or even_if_full:
            self.record(line)
        elif self.state.log_lines == MAX_LOG_LINES:
            self.record(Logged(level="warn", message=f"Log truncated: {MAX_LOG_LINES} lines are kept of an execution"))

    def attribute(self, audit: AuditEntry | None, letters: Collection[int]) -> None:
        """Say who caused what was recorded, and by which letters: these are done with once it is durable."""
        if audit is not None:
            self._tail.acts.append(audit)
        self._tail.letters += letters

    def exceed_quota(self) -> None:
        """Have what becomes durable next stored also where the account keeps as much as it may."""
        self._tail.may_exceed = True

    def answer_when_durable(self, answer: "asyncio.Future[bool]") -> None:
        """Give True once all that was recorded until now is durable."""
        if self._tail.records:
            self._tail.answers.append(answer)
        else:
            answer.set_result(True)

    async def flush(self) -> bool:
        """Make what was recorded durable, and show it; False if there was nothing.

        Raises:
            What `Journal.append` does.
        """
        if not self._tail.records:
            return False
        tail, self._tail = self._tail, _Tail()
        append = Append(
            execution_id=self._identity.execution_id,
            epoch=self.epoch,
            after=self.state.seq - len(tail.records),
            records=tail.records,
            summary=summary_of(self._identity.flow, self.state, tail.records[-1].at),
            create=self._create,
            audit=tail.acts,
            letters=tail.letters,
            quota=None if tail.may_exceed else self._quota,
        )
        await self._append(append, tail)
        self._create = None
        self.status = append.summary.status
        self._world.broadcast.publish(self._identity.execution_id, tail.records)
        tail.answer()
        self._tell_server_log(tail)
        return True

    def _tell_server_log(self, tail: _Tail) -> None:
        id, account_id = self._identity.execution_id, self._identity.account_id
        for facts in tail.steps:
            log_step(id, account_id, facts)
        ending = tail.records[-1].event
        if isinstance(ending, Failed):
            log_failed(id, account_id, self._identity.flow_id, ending.error)

    @property
    def _quota(self) -> Quota | None:
        limits = self._world.limits
        return None if limits.stored is None else Quota(self._identity.account_id, limits)

    async def _append(self, append: Append, tail: _Tail) -> None:
        may_be_durable = False
        try:
            for seconds in self._patience():
                try:
                    return await self._world.journal.append(append)
                except Unavailable:
                    may_be_durable = True
                    if seconds is None:
                        raise
                    # Executions that failed together do not all come back together.
                    await asyncio.sleep(seconds * (0.5 + self._world.draw()))
        except (Fenced, Unavailable):
            if may_be_durable:
                self._world.broadcast.hear(append.execution_id)
                tail.answer_that_nobody_knows()
            raise
        except LimitReached as error:
            tail.refuse(error)
            self.refused_node = tail.last_node
            raise

    def _patience(self) -> Iterator[float | None]:
        """Seconds to wait between tries of an append; None lets its failure through."""
        if self._create is not None:
            # Nobody has been promised an execution that does not exist yet: failing is an answer.
            yield None
        yield from _RETRY_SECONDS
        while not self._world.is_stopping:
            yield _RETRY_SECONDS[-1]
        yield None


def summary_of(flow: Flow, state: ExecutionState, at: datetime) -> Summary:
    """What lists show of an execution, as it stands at this time."""
    status, rests = state.status, state.rests
    due_at = state.due_at if rests else None
    if rests and (deadline := deadline_of(flow, state)) is not None:
        due_at = deadline if due_at is None else min(due_at, deadline)
    waits = waiting_for(state) if state.ending is None and (state.timed or state.is_queued) else None
    return Summary(
        status=status,
        completed_at=at if status.is_final else None,
        error=state.ending.error.message if isinstance(state.ending, Failed) else None,
        rests=rests,
        wake_at=due_at,
        waiting_for=msgspec.json.encode(waits) if waits else None,
        is_queued=state.is_queued,
    )


async def replayed(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """As `replay`, without holding up others while a long execution is gone through."""
    if len(events) <= AT_A_STRETCH:
        return replay(events)
    return await asyncio.to_thread(replay, events)
