"""One execution while it is in memory: what it records, and what it has under way.

A run is an actor. Results, log lines and the wish to cancel come into its inbox; its loop turns
them into events, asks `decide` what follows, makes both durable together, and only then acts.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypeAlias, assert_never

import structlog

from flowrunner.domain.decide import Finish, Record, Start, Wait, decide, failed_try
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.execution import (
    Cancelled,
    Completed,
    Event,
    ExecutionState,
    Failed,
    Failure,
    Logged,
    NodeCompleted,
    NodeFailed,
    Started,
    Status,
    Step,
    TimerSet,
    replay,
)
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON
from flowrunner.engine.recorder import record
from flowrunner.engine.step import Identity, StepResult, run_step, timed_out
from flowrunner.engine.world import World
from flowrunner.ports import Append, NewExecution, Recorded, Redactor, StoredExecution, Summary

logger = structlog.get_logger()

# A wait no longer than this is spent in memory: to come back costs more than to stay.
SHORT_WAIT_SECONDS: Final = 1.0
# Log lines of a node that is still running become visible after this time.
LOG_DELAY_SECONDS: Final = 0.1
# How long a cancelled node may take to clean up after itself.
CANCEL_GRACE_SECONDS: Final = 0.5
# Results of pure nodes wait for company, up to so many events.
MAX_UNRECORDED_EVENTS: Final = 64
MAX_UNRECORDED_BYTES: Final = 1024 * 1024
MAX_LOG_LINES: Final = 10_000
MAX_EXECUTION_BYTES: Final = 256 * 1024 * 1024
_RETRY_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)

_TOO_MUCH: Final = Failure(
    type="limit.size",
    message=f"The events of this execution take more than {MAX_EXECUTION_BYTES // 1024**2} MiB",
)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a try of a step came to; one that nobody waits for any more means nothing."""

    step: Step
    attempt: int
    outcome: StepResult


_Message: TypeAlias = _Result | Logged


class Run:
    """One execution in memory. Fills `ports.ActiveExecution`."""

    def __init__(
        self,
        world: World,
        identity: Identity,
        redactor: Redactor,
        state: ExecutionState,
        create: NewExecution | None = None,
    ) -> None:
        self._world = world
        self._identity = identity
        self._flow = identity.flow
        self._redactor = redactor
        self._state = state
        self._create = create
        self._inbox: deque[_Message] = deque()
        self._wake = asyncio.Event()
        self._log_timer: asyncio.TimerHandle | None = None
        self._running: dict[Step, asyncio.Task[None] | None] = {}
        self._abandoned: set[asyncio.Task[None]] = set()
        self._unrecorded: list[Recorded] = []
        self._unrecorded_bytes = 0
        self._size = 0
        # What the database has: what is in memory may not become durable.
        self._durable_status = state.status
        # Also pure nodes are recorded as started before they run: the one before may be what ended
        # the process, and would end it again and again if nothing counted its tries.
        self._is_careful = state.seq > 0
        self._cancel_reason: str | None = None

    @classmethod
    async def begin(cls, world: World, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> Self:
        """A run of a new execution, which exists when this returns."""
        identity = Identity(execution_id=new.id, account_id=new.account_id, flow_id=new.flow_id, flow=flow)
        redactor = await world.vault.redactor(new.account_id)
        run = cls(world, identity, redactor, ExecutionState(), create=new)
        start = flow.nodes[flow.start]
        run._record(Started(node=start.name, node_type=start.type, input=input))
        run._record(Logged(level="info", message="Execution started", node=start.name, node_type=start.type))
        if at_once and not start.pure:
            run._decide()
        await run._flush()
        return run

    @classmethod
    async def resume(
        cls, world: World, stored: StoredExecution, events: Sequence[tuple[Event, datetime]], flow: Flow
    ) -> Self:
        """A run of an execution as it is stored."""
        identity = Identity(execution_id=stored.id, account_id=stored.account_id, flow_id=stored.flow_id, flow=flow)
        redactor = await world.vault.redactor(stored.account_id)
        run = cls(world, identity, redactor, replay(events))
        run._size = stored.size
        return run

    @property
    def status(self) -> Status:
        return self._durable_status

    def cancel(self, reason: str) -> None:
        self._cancel_reason = self._cancel_reason or reason
        self._wake.set()

    def nudge(self) -> None:
        self._wake.set()

    async def fail(self, failure: Failure) -> None:
        """End the execution as failed, for a reason outside its flow."""
        self._finish(Failed(error=failure))
        await self._flush()

    async def advance(self) -> datetime | None:
        try:
            while True:
                if self._cancel_reason is not None and not self._state.status.is_final:
                    await self._stop_steps()
                    self._finish(Cancelled(reason=self._cancel_reason))
                    await self._flush()
                    return None
                due_at = await self._go_on()
                if self._state.status.is_final:
                    return None
                if self._world.is_stopping and not self._running:
                    return None
                if due_at is not None:
                    seconds = (due_at - self._world.clock.now()).total_seconds()
                    if seconds > SHORT_WAIT_SECONDS and self._cancel_reason is None:
                        return due_at
                    await self._sleep(seconds)
                else:
                    await self._wake.wait()
                self._wake.clear()
                self._take_messages()
        finally:
            if self._log_timer is not None:
                self._log_timer.cancel()
            for task in self._running.values():
                if task is not None:
                    task.cancel()

    async def _go_on(self) -> datetime | None:
        """Decide, record, act, as long as there is something to do; gives what it waits for."""
        while True:
            has_more = self._cancel_reason is None and not self._world.is_stopping
            due_at = self._decide() if has_more else None
            pure = self._pure_step()
            if pure is None or self._is_careful or self._is_much_unrecorded():
                await self._flush()
            if pure is None:
                self._launch()
                return due_at
            # Nothing outside sees a pure node run, so its start need not be durable before.
            self._running.pop(pure)
            result = await run_step(self._world, self._identity, self._state, pure, self._record_log)
            self._record_result(pure, result)

    def _is_much_unrecorded(self) -> bool:
        return len(self._unrecorded) >= MAX_UNRECORDED_EVENTS or self._unrecorded_bytes >= MAX_UNRECORDED_BYTES

    def _decide(self) -> datetime | None:
        while True:
            if self._size > MAX_EXECUTION_BYTES and self._state.ending is None:
                self._finish(Failed(error=_TOO_MUCH))
            now = self._world.clock.now()
            decisions = decide(self._flow, self._state, running=self._running, now=now)
            if not decisions:
                return None
            for decision in decisions:
                match decision:
                    case Start(event):
                        self._record(event)
                        self._running[Step(event.node, event.iteration)] = None
                    case Record(event):
                        if isinstance(event, NodeFailed):
                            self._log_failure(event)
                        self._record(event)
                    case Finish(event):
                        self._finish(event)
                    case Wait(until):
                        return until
                    case _:
                        assert_never(decision)

    def _pure_step(self) -> Step | None:
        """A step that was decided on and can run at once."""
        for step, task in self._running.items():
            if task is None and self._flow.nodes[step.node].pure:
                return step
        return None

    def _launch(self) -> None:
        for step, task in self._running.items():
            if task is None:
                self._running[step] = asyncio.create_task(self._perform(step), name=f"step {step}")

    async def _perform(self, step: Step) -> None:
        attempt = self._state.steps[step.node].attempts
        seconds = self._flow.nodes[step.node].timeout_seconds
        # The step ends itself when its time is up, unless the node type does not let itself be
        # cancelled: then nobody waits for it any longer than that.
        timer = asyncio.get_running_loop().call_later(
            seconds + CANCEL_GRACE_SECONDS, self._deliver, _Result(step, attempt, timed_out(step.node, seconds))
        )
        outcome: StepResult
        try:
            outcome = await run_step(self._world, self._identity, self._state, step, self._report)
        except Exception as error:
            # A fault of ours; without an outcome the execution would wait for this step for ever.
            logger.exception("step.crashed", execution_id=self._identity.execution_id, step=str(step))
            outcome = Failure(type="node.crashed", message=f"The step failed: {type(error).__name__}", node=step.node)
        finally:
            timer.cancel()
        self._deliver(_Result(step, attempt, outcome))

    def _deliver(self, result: _Result) -> None:
        self._inbox.append(result)
        self._wake.set()

    async def _stop_steps(self) -> None:
        tasks = [task for task in self._running.values() if task is not None]
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE_SECONDS)
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, Logged):
                self._record_log(message)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._wake.wait()

    # Messages to events

    def _take_messages(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if isinstance(message, Logged):
                self._record_log(message)
            elif self._is_awaited(message):
                self._let_go(message.step)
                self._record_result(message.step, message.outcome)

    def _let_go(self, step: Step) -> None:
        task = self._running.pop(step)
        if task is not None and not task.done():
            # It goes on as long as it likes; what it comes to means nothing any more.
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)

    def _is_awaited(self, result: _Result) -> bool:
        return result.step in self._running and self._state.steps[result.step.node].attempts == result.attempt

    def _record_result(self, step: Step, result: StepResult) -> None:
        match result:
            case Failure():
                event = failed_try(
                    self._flow,
                    self._state.steps[step.node],
                    result,
                    now=self._world.clock.now(),
                    draw=self._world.draw(),
                )
                self._log_failure(event)
                self._record(event)
            case NodeCompleted() | TimerSet():
                recorded = self._record(result)
                if isinstance(recorded, NodeFailed):
                    # A result that cannot be kept.
                    self._log_failure(recorded)
            case _:
                assert_never(result)

    def _log_failure(self, event: NodeFailed) -> None:
        data: dict[str, JSON] = {"type": event.error.type, "attempt": event.attempt}
        if event.retry_at is not None:
            data["retry_at"] = event.retry_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._record_log(
            Logged(
                level="error" if event.retry_at is None else "warn",
                message=event.error.message,
                node=event.node,
                node_type=event.node_type,
                data=data,
            )
        )

    def _report(self, line: Logged) -> None:
        """Take a log line from a step that is running."""
        self._inbox.append(line)
        if self._log_timer is None:
            self._log_timer = asyncio.get_running_loop().call_later(LOG_DELAY_SECONDS, self._show_logs)

    def _show_logs(self) -> None:
        self._log_timer = None
        self._wake.set()

    def _record_log(self, line: Logged) -> None:
        if self._state.log_lines < MAX_LOG_LINES:
            self._record(line)
        elif self._state.log_lines == MAX_LOG_LINES:
            self._record(Logged(level="warn", message=f"Log truncated: {MAX_LOG_LINES} lines are kept of an execution"))

    def _finish(self, event: Completed | Failed | Cancelled) -> None:
        cursor = self._state.steps.get(self._state.cursor) if self._state.cursor is not None else None
        node = None if cursor is None else cursor.step.node
        node_type = None if cursor is None else cursor.node_type
        match event:
            case Completed():
                line = Logged(level="info", message="Execution completed", node=node, node_type=node_type)
            case Failed():
                message = f"Execution failed: {event.error.message}"
                line = Logged(level="error", message=message, node=node, node_type=node_type)
            case Cancelled():
                line = Logged(level="warn", message="Execution cancelled", node=node, node_type=node_type)
            case _:
                assert_never(event)
        self._record(line)
        self._record(event)

    # Events to the journal

    def _record(self, event: Event) -> Event:
        """Take an event into account; gives it as it is stored, which may be another one."""
        recorded = record(event, seq=self._state.seq + 1, at=self._world.clock.now(), redactor=self._redactor)
        self._state.apply(recorded.event, recorded.at)
        self._unrecorded.append(recorded)
        self._unrecorded_bytes += len(recorded.data)
        self._size += len(recorded.data)
        return recorded.event

    async def _flush(self) -> None:
        """Make what was recorded durable, and tell the subscribers."""
        if not self._unrecorded:
            return
        records, self._unrecorded, self._unrecorded_bytes = self._unrecorded, [], 0
        append = Append(
            execution_id=self._identity.execution_id,
            epoch=self._world.epoch,
            after=self._state.seq - len(records),
            records=records,
            summary=self._summary(records[-1].at),
            create=self._create,
        )
        for seconds in self._patience():
            try:
                await self._world.journal.append(append)
                break
            except Unavailable:
                if seconds is None:
                    raise
                await asyncio.sleep(seconds)
        self._create = None
        self._durable_status = append.summary.status
        self._world.broadcast.publish(self._identity.execution_id, records)

    def _patience(self) -> Iterator[float | None]:
        """Seconds to wait between tries of an append; None lets its failure through."""
        if self._create is not None:
            # Nobody has been promised an execution that does not exist yet: failing is an answer.
            yield None
        yield from _RETRY_SECONDS
        while not self._world.is_stopping:
            yield _RETRY_SECONDS[-1]
        yield None

    def _summary(self, at: datetime) -> Summary:
        state = self._state
        error = state.ending.error.message if isinstance(state.ending, Failed) else None
        due_at = None
        if state.status is Status.WAITING and state.cursor is not None:
            due_at = state.steps[state.cursor].due_at
        return Summary(
            status=state.status,
            completed_at=at if state.status.is_final else None,
            error=error,
            wake_at=due_at,
        )
