"""One execution while it is in memory: what it records, and what it has under way.

A run is an actor. Results, log lines, signals and the wish to cancel come into its inbox; its loop
turns them into events, asks `decide` what follows, makes both durable together, and only then acts.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self, TypeAlias, assert_never

import msgspec
import structlog

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.decide import (
    Conclude,
    Decision,
    Finish,
    Record,
    Resume,
    Start,
    Wait,
    cancelled,
    concluded,
    deadline_of,
    decide,
    failed,
    failed_try,
    node_of,
)
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import (
    ROOT,
    Admitted,
    Completed,
    Ending,
    Event,
    Failed,
    Failure,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
    Step,
)
from flowrunner.domain.execution import ExecutionState, Status, StepState, StepStatus, replay
from flowrunner.domain.explain import waiting_for
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, AccountId, ExecutionId
from flowrunner.engine.recorder import record, signal_key
from flowrunner.engine.relatives import SUB_FLOW, tell_relatives
from flowrunner.engine.scope import Identity, Names
from flowrunner.engine.step import StepResult, run_step, timed_out
from flowrunner.engine.world import Stopped, World
from flowrunner.ports import (
    PARENT_HAS_GONE_ON,
    Append,
    NewExecution,
    Recorded,
    Redactor,
    Signal,
    StoredExecution,
    Summary,
    Turn,
)

logger = structlog.get_logger()

# What nothing has to wait for becomes durable, and visible, after this time.
SHOW_SECONDS: Final = 0.1
# How long a cancelled node may take to clean up after itself.
CANCEL_GRACE_SECONDS: Final = 0.5
# Results of pure nodes wait for company, up to so many events.
MAX_UNRECORDED_EVENTS: Final = 64
MAX_UNRECORDED_BYTES: Final = 1024 * 1024
# As many may have been lost in a crash, and a few more.
_CAREFUL_EVENTS: Final = 4 * MAX_UNRECORDED_EVENTS
MAX_LOG_LINES: Final = 10_000
# Signals that came before a step asked for them.
MAX_EARLY_SIGNALS: Final = 1000
MAX_EXECUTION_BYTES: Final = 256 * 1024 * 1024
# Events that are taken into account without a break for others.
_AT_A_STRETCH: Final = 200
_RETRY_SECONDS: Final = (0.1, 0.3, 1.0, 3.0)
# An execution of so many events and more stays for a while when it has to wait. To load an event takes some
# 30 µs, so that even one that is told of the end of a sub-flow each time that it has left costs little.
_LONG_EVENTS: Final = 1000
_STAY_SECONDS_AN_EVENT: Final = 0.001
_LONGEST_STAY_SECONDS: Final = 10.0

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


@dataclass(frozen=True, slots=True)
class _Mail:
    """A signal, and who wants to know what became of it."""

    signal: Signal
    answer: "asyncio.Future[bool]"


_Message: TypeAlias = _Result | Logged | _Mail


class Run:
    """One execution in memory. Fills `ports.ActiveExecution`."""

    def __init__(
        self,
        world: World,
        identity: Identity,
        redactor: Redactor,
        state: ExecutionState,
        started: Started,
        *,
        epoch: int,
        create: NewExecution | None = None,
        parent_id: ExecutionId | None = None,
        turn: Turn | None = None,
    ) -> None:
        self._world = world
        self._identity = identity
        self._flow = identity.flow
        self._redactor = redactor
        self._state = state
        self._started = started
        self._epoch = epoch
        self._create = create
        self._parent_id = parent_id
        self._turn = turn
        self._inbox: deque[_Message] = deque()
        self._wake = asyncio.Event()
        self._show_timer: asyncio.TimerHandle | None = None
        self._running: dict[Step, asyncio.Task[None] | None] = {}
        # Those of them that have no task yet.
        self._to_begin: dict[Step, None] = {}
        self._may_be_cut_off = state.seq > 0
        self._abandoned: set[asyncio.Task[None]] = set()
        self._unrecorded: list[Recorded] = []
        self._unrecorded_bytes = 0
        self._size = 0
        # Answered when what they brought is durable.
        self._answers: list[asyncio.Future[bool]] = []
        # Who caused what is recorded next.
        self._acts: list[AuditEntry] = []
        # What told of it, and is done with then.
        self._letters: list[int] = []
        # Sub-flows that nobody waits for any more; told once that is durable.
        self._orphans: list[ExecutionId] = []
        # A step was left that may have started one, and nothing here tells.
        self._may_have_more_orphans = False
        self._has_to_conclude = False
        # What the database has: what is in memory may not become durable.
        self._durable_status = state.status
        self._is_ending = state.seq > 0 and state.root.ended is not None
        # Up to this event also pure nodes are recorded as started before they run: one of them may be what
        # ended the process before, and would end it again and again if nothing counted its tries.
        self._careful_until = state.seq + _CAREFUL_EVENTS if state.seq > 0 else 0
        self._cancel_reason: str | None = None
        self._cancelled_by: AuditEntry | None = None
        # The letters that the wish to cancel came by, and whom to tell that there was nothing to be done.
        self._cancel_letters: dict[int, Callable[[], None]] = {}
        self._cuts_handlers_off = False
        self._is_held = False

    @classmethod
    async def begin(cls, world: World, new: NewExecution, flow: Flow, input: JSON, *, at_once: bool) -> Self:
        """A run of a new execution, which exists when this returns."""
        identity = Identity(execution_id=new.id, account_id=new.account_id, flow_id=new.flow_id, flow=flow)
        redactor = await world.vault.redactor(new.account_id)
        start = flow.nodes[flow.start]
        is_queued = new.turn is not None and new.turn.is_queued
        started = Started(
            node=start.name,
            node_type=start.type,
            input=input,
            by=new.by,
            parent=new.started_for,
            rerun_of=None if new.rerun_of is None else {"execution_id": new.rerun_of, "from": new.rerun_from},
            is_queued=is_queued,
            flow_name=new.flow_name if new.flow_name != flow.name else "",
        )
        run = cls(
            world,
            identity,
            redactor,
            ExecutionState(),
            started,
            epoch=world.epoch,
            create=new,
            parent_id=new.parent_id,
            turn=new.turn,
        )
        run._record(started)
        for number, (event, at) in enumerate(new.prefix, start=1):
            run._record(event, at)
            if number % _AT_A_STRETCH == 0:
                # Others go on in between.
                await asyncio.sleep(0)
        message = "Execution queued: too many of its flow are under way" if is_queued else "Execution started"
        run._record(Logged(level="info", message=message, node=start.name, node_type=start.type))
        if at_once and not start.pure and not new.prefix:
            await run._decide()
        await run._flush()
        return run

    @classmethod
    async def resume(
        cls, world: World, epoch: int, stored: StoredExecution, events: Sequence[tuple[Event, datetime]], flow: Flow
    ) -> Self:
        """A run of an execution as it is stored."""
        identity = Identity(execution_id=stored.id, account_id=stored.account_id, flow_id=stored.flow_id, flow=flow)
        redactor = await world.vault.redactor(stored.account_id)
        state = await replayed(events)
        started = events[0][0]
        assert isinstance(started, Started), "the first event of every execution is its start"
        run = cls(world, identity, redactor, state, started, epoch=epoch, parent_id=stored.parent_id, turn=stored.turn)
        run._size = stored.size
        if state.is_queued and stored.turn is not None and not stored.turn.is_queued:
            run._record(Admitted())
        return run

    @property
    def account_id(self) -> AccountId:
        return self._identity.account_id

    @property
    def status(self) -> Status:
        return self._durable_status

    @property
    def mark(self) -> int:
        return self._epoch

    @property
    def is_ending(self) -> bool:
        return self._is_ending

    def cancel(
        self,
        reason: str,
        audit: AuditEntry | None = None,
        *,
        spares_handlers: bool = False,
        letter: int | None = None,
        unneeded: Callable[[], None] = lambda: None,
    ) -> None:
        has_ended = self._state.root.ended is not None
        if self._cancel_reason is None and has_ended and spares_handlers:
            unneeded()
            return
        if self._cancel_reason is None:
            self._cancel_reason, self._cancelled_by = reason, audit
            # Whoever cancels a flow that ends by itself meanwhile does not mean its handlers.
            self._cuts_handlers_off = has_ended
        if letter is not None:
            self._cancel_letters[letter] = unneeded
        self._wake.set()

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self._inbox.append(_Mail(signal, answer))
        self._wake.set()

    def hold(self) -> None:
        self._is_held = True

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
                    await self._cancel(self._cancel_reason)
                due_at = await self._go_on()
                if self._state.status.is_final:
                    return None
                if self._cancel_reason is not None:
                    continue
                seconds = None if due_at is None else (due_at - self._world.clock.now()).total_seconds()
                if self._running or self._inbox or (seconds is not None and seconds <= self._world.short_wait):
                    if self._begins_nothing and not self._running and not self._inbox:
                        return None
                    await self._sleep(seconds)
                elif self._begins_nothing or not await self._stays():
                    return None if self._begins_nothing else due_at
                self._wake.clear()
                self._take_messages(most=_AT_A_STRETCH)
        finally:
            if self._show_timer is not None:
                self._show_timer.cancel()
            for task in self._running.values():
                if task is not None:
                    task.cancel()

    async def _cancel(self, reason: str) -> None:
        """Stop what is under way; the handler of the flow's end still runs."""
        # What has come to something by now is recorded.
        self._take_messages()
        if self._state.root.ended is None or self._cuts_handlers_off:
            await self._stop_steps()
            self._take_messages()
            self._act(cancelled(self._flow, self._state, reason))
            if self._cancelled_by is not None:
                self._acts.append(self._cancelled_by)
            self._letters += self._cancel_letters
            await self._flush()
        else:
            for unneeded in self._cancel_letters.values():
                unneeded()
        self._cancel_letters.clear()
        self._cancel_reason = None

    async def _go_on(self) -> datetime | None:
        """Decide, record, act, as long as there is something to do; gives what it waits for."""
        while True:
            due_at = await self._decide()
            if self._has_to_conclude:
                self._has_to_conclude = False
                with contextlib.suppress(Stopped):
                    self._act(await self._conclusion())
                continue
            quick = self._quick_step()
            if quick is not None:
                if self._is_careful or self._is_much_unrecorded():
                    await self._flush()
                # Nothing outside sees a pure node run, so its start need not be durable before.
                self._forget(quick)
                result = await run_step(self._world, self._identity, self._state, quick, self._record_log)
                self._record_result(quick, result)
                continue
            if self._may_hold_back():
                self._show_soon()
            else:
                await self._flush()
            self._launch()
            return due_at

    @property
    def _begins_nothing(self) -> bool:
        return self._is_held or self._world.is_stopping

    @property
    def _is_careful(self) -> bool:
        return self._state.seq < self._careful_until

    def _is_much_unrecorded(self) -> bool:
        return len(self._unrecorded) >= MAX_UNRECORDED_EVENTS or self._unrecorded_bytes >= MAX_UNRECORDED_BYTES

    def _may_hold_back(self) -> bool:
        """Whether what is recorded can become durable later: all that is about to begin has no effect outside."""
        if self._is_careful or self._answers or self._is_much_unrecorded():
            return False
        return bool(self._to_begin) and all(node_of(self._flow, self._state, step).pure for step in self._to_begin)

    async def _decide(self) -> datetime | None:
        """Decide and record until there is no more to do; gives when there is by itself."""
        count = 0
        while not (self._has_to_conclude or self._cancel_reason is not None or self._begins_nothing):
            if self._size > MAX_EXECUTION_BYTES and self._state.ending is None:
                self._finish(Failed(error=_TOO_MUCH))
            now = self._world.clock.now()
            # What this process decides on, it runs: only what was there before it can have been cut off.
            self._may_be_cut_off = self._may_be_cut_off and any(s not in self._running for s in self._state.running)
            decisions = decide(
                self._flow, self._state, running=self._running, now=now, may_be_cut_off=self._may_be_cut_off
            )
            if not decisions:
                return None
            for decision in decisions:
                if isinstance(decision, Wait):
                    return decision.until
                self._act(decision)
                count += 1
                if count % _AT_A_STRETCH == 0:
                    # Others go on in between.
                    await asyncio.sleep(0)
        return None

    def _act(self, decision: Decision) -> None:
        match decision:
            case Start(event):
                self._record(event)
                self._set_going(Step(event.node, event.iteration, event.scope))
            case Resume(step):
                self._set_going(step)
            case Record(event):
                if isinstance(event, NodeFailed):
                    self._log_failure(event)
                    self._leave_children(self._state.at(Step(event.node, event.iteration, event.scope)))
                if isinstance(event, ScopeEnded):
                    self._end_scope(event)
                self._record(event)
            case Conclude():
                self._has_to_conclude = True
            case Finish(event):
                self._finish(event)
            case Wait():
                pass
            case _:
                assert_never(decision)

    async def _conclusion(self) -> Decision:
        """The flow's outputs, and with them its end."""
        outputs, current = self._flow.outputs, self._state.root.current
        assert outputs is not None, "decided only for flows with outputs"
        names = Names(self._world, self._identity, self._state, None, self._say, {})
        try:
            filling = await names.fill(outputs)
            return concluded(self._flow, filling.render(outputs))
        except ExpressionFailed as error:
            failure = Failure(type="expression", message=f"The outputs of the flow: {error}")
            return failed(self._flow, self._state, failure, current)

    def _say(self, level: str, text: str) -> None:
        self._record_log(Logged(level="info", message=text))

    def _end_scope(self, event: ScopeEnded) -> None:
        """Stop what runs in a scope that ends, and whatever it has set going elsewhere."""
        if event.scope == ROOT:
            self._log_end(event)
        for frame in self._state.within(event.scope):
            for current in frame.steps.values():
                task = self._forget(current.step)
                if task is not None:
                    self._abandon(task)
                    task.cancel()
                self._leave_children(current)

    def _leave_children(self, current: StepState) -> None:
        """Note what a step has set going elsewhere, which nobody waits for from now on."""
        if current.status is StepStatus.RUNNING and current.node_type == SUB_FLOW:
            self._may_have_more_orphans = True
        about = current.waiting.about if current.waiting is not None else None
        if isinstance(about, Mapping) and about.get("type") == SUB_FLOW and current.status is StepStatus.WAITING:
            self._orphans.append(ExecutionId(str(about["execution_id"])))

    def _quick_step(self) -> Step | None:
        """A step that was decided on and is done at once."""
        for step in self._to_begin:
            if node_of(self._flow, self._state, step).is_quick:
                return step
        return None

    def _launch(self) -> None:
        for step in self._to_begin:
            self._running[step] = asyncio.create_task(self._perform(step), name=f"step {step}")
        self._to_begin.clear()

    def _set_going(self, step: Step) -> None:
        self._running[step] = self._to_begin[step] = None

    def _forget(self, step: Step) -> "asyncio.Task[None] | None":
        self._to_begin.pop(step, None)
        return self._running.pop(step, None)

    async def _perform(self, step: Step) -> None:
        attempt = self._state.at(step).attempts
        seconds = node_of(self._flow, self._state, step).timeout_seconds
        # The step ends itself when its time is up, unless the node type does not let itself be
        # cancelled: then nobody waits for it any longer than that.
        timer = None
        if seconds is not None:
            late = _Result(step, attempt, timed_out(step.node, seconds))
            timer = asyncio.get_running_loop().call_later(seconds + CANCEL_GRACE_SECONDS, self._deliver, late)
        outcome: StepResult
        try:
            outcome = await run_step(self._world, self._identity, self._state, step, self._report)
        except Stopped:
            self._forget(step)
            self._wake.set()
            return
        except Exception as error:
            # A fault of ours; without an outcome the execution would wait for this step for ever.
            logger.exception("step.crashed", execution_id=self._identity.execution_id, step=str(step))
            outcome = Failure(type="node.crashed", message=f"The step failed: {type(error).__name__}", node=step.node)
        finally:
            if timer is not None:
                timer.cancel()
        self._deliver(_Result(step, attempt, outcome))

    def _deliver(self, result: _Result) -> None:
        self._inbox.append(result)
        self._wake.set()

    async def _stop_steps(self) -> None:
        tasks = [task for task in self._running.values() if task is not None]
        self._running.clear()
        self._to_begin.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE_SECONDS)

    async def _sleep(self, seconds: float | None) -> bool:
        """Whether something came before so many seconds had passed; None for no limit."""
        if seconds is None:
            return await self._wake.wait()
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                return await self._wake.wait()
        except TimeoutError:
            return False

    async def _stays(self) -> bool:
        """Whether something came soon enough for an execution that waits to be in memory yet: a long one stays
        for a while, as coming back costs it more. Whoever cancels one is not kept waiting by that."""
        if self._state.seq < _LONG_EVENTS or self._state.root.ended is not None:
            return False
        return await self._sleep(min(self._state.seq * _STAY_SECONDS_AN_EVENT, _LONGEST_STAY_SECONDS))

    # Messages to events

    def _take_messages(self, *, most: int | None = None) -> None:
        count = 0
        while self._inbox:
            if count == most:
                # The rest comes after what follows from these.
                self._wake.set()
                return
            count += 1
            message = self._inbox.popleft()
            match message:
                case Logged():
                    self._record_log(message)
                case _Mail(signal, answer):
                    self._take_signal(signal, answer)
                case _Result(step, _, outcome):
                    if self._is_awaited(message):
                        self._let_go(step)
                        self._record_result(step, outcome)
                case _:
                    assert_never(message)

    def _take_log_lines(self) -> None:
        """Record the lines that have come: nothing can be recorded after the end."""
        waiting, self._inbox = self._inbox, deque()
        for message in waiting:
            if isinstance(message, Logged):
                self._record_log(message)
            else:
                self._inbox.append(message)

    def _take_signal(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        if answer.done():
            return
        state, key = self._state, signal_key(signal.key, self._redactor)
        is_awaited = any((waiting := state.at(step).waiting) is not None and waiting.key == key for step in state.timed)
        if signal.step is not None:
            # Kept while the step it is for is about to wait for it, which is always the case for a child
            # that has ended at once; whatever the step has gone on from without it means nothing. Several
            # may tell of the same end.
            is_told = key in state.signals
            counts = not is_told and (is_awaited or any(str(step) == signal.step for step in state.running))
        else:
            is_too_much = sum(map(len, state.signals.values())) >= MAX_EARLY_SIGNALS
            counts = is_awaited or not (signal.if_awaited or is_too_much)
        if state.status.is_final or not counts:
            answer.set_result(False)
            return
        self._record(SignalReceived(key=key, payload=signal.payload, by=signal.by))
        self._answers.append(answer)
        if signal.audit is not None:
            self._acts.append(signal.audit)
        if signal.letter is not None:
            self._letters.append(signal.letter)

    def _let_go(self, step: Step) -> None:
        task = self._forget(step)
        if task is not None:
            self._abandon(task)

    def _abandon(self, task: "asyncio.Task[None]") -> None:
        if not task.done():
            # It goes on as long as it likes; what it comes to means nothing any more.
            self._abandoned.add(task)
            task.add_done_callback(self._abandoned.discard)

    def _is_awaited(self, result: _Result) -> bool:
        return result.step in self._running and self._state.at(result.step).attempts == result.attempt

    def _record_result(self, step: Step, result: StepResult) -> None:
        match result:
            case Failure():
                event = failed_try(
                    self._flow,
                    self._state,
                    self._state.at(step),
                    result,
                    now=self._world.clock.now(),
                    draw=self._world.draw(),
                )
                self._log_failure(event)
                self._leave_children(self._state.at(step))
                self._record(event)
            case NodeCompleted() | NodeWaiting() | ScopesOpened():
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
                scope=event.scope,
                iteration=event.iteration,
            )
        )

    def _report(self, line: Logged) -> None:
        """Take a log line from a step that is running."""
        self._inbox.append(line)
        self._show_soon()

    def _show_soon(self) -> None:
        if self._show_timer is None:
            self._show_timer = asyncio.get_running_loop().call_later(SHOW_SECONDS, self._show)

    def _show(self) -> None:
        self._show_timer = None
        self._wake.set()

    def _record_log(self, line: Logged, *, even_if_full: bool = False) -> None:
        if self._state.log_lines < MAX_LOG_LINES or even_if_full:
            self._record(line)
        elif self._state.log_lines == MAX_LOG_LINES:
            self._record(Logged(level="warn", message=f"Log truncated: {MAX_LOG_LINES} lines are kept of an execution"))

    def _finish(self, event: Ending) -> None:
        self._take_log_lines()
        if self._state.root.ended is None:
            self._log_end(event)
        self._end_everything()
        self._record(event)

    def _end_everything(self) -> None:
        for frame in self._state.frames.values():
            for current in frame.steps.values():
                self._leave_children(current)
        for task in self._running.values():
            if task is not None:
                self._abandon(task)
                task.cancel()
        self._running.clear()
        self._to_begin.clear()

    def _log_end(self, event: Ending | ScopeEnded) -> None:
        """The line that tells how the flow itself has ended."""
        current = self._state.root.current
        node = None if current is None else current.step.node
        node_type = None if current is None else current.node_type
        outcome = event.outcome if isinstance(event, ScopeEnded) else None
        if isinstance(event, Completed) or outcome == "completed":
            line = Logged(level="info", message="Execution completed", node=node, node_type=node_type)
        elif isinstance(event, Failed | ScopeEnded) and event.error is not None:
            message = f"Execution failed: {event.error.message}"
            line = Logged(level="error", message=message, node=node, node_type=node_type)
        else:
            line = Logged(level="warn", message="Execution cancelled", node=node, node_type=node_type)
        self._record_log(line, even_if_full=True)

    # Events to the journal

    def _record(self, event: Event, at: datetime | None = None) -> Event:
        """Take an event into account; gives it as it is stored, which may be another one."""
        at = at or self._world.clock.now()
        recorded = record(event, seq=self._state.seq + 1, at=at, redactor=self._redactor)
        self._state.apply(recorded.event, recorded.at)
        self._unrecorded.append(recorded)
        self._unrecorded_bytes += len(recorded.data)
        self._size += len(recorded.data)
        return recorded.event

    async def _flush(self) -> None:
        """Make what was recorded durable, and tell whoever is to know."""
        if not self._unrecorded:
            return
        records, self._unrecorded, self._unrecorded_bytes = self._unrecorded, [], 0
        answers, self._answers = self._answers, []
        orphans, self._orphans = self._orphans, []
        has_more_orphans, self._may_have_more_orphans = self._may_have_more_orphans, False
        acts, self._acts = self._acts, []
        letters, self._letters = self._letters, []
        is_ending = self._state.root.ended is not None
        append = Append(
            execution_id=self._identity.execution_id,
            epoch=self._epoch,
            after=self._state.seq - len(records),
            records=records,
            summary=self._summary(records[-1].at),
            create=self._create,
            audit=acts,
            letters=letters,
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
        self._is_ending = is_ending
        self._world.broadcast.publish(self._identity.execution_id, records)
        for answer in answers:
            if not answer.done():
                answer.set_result(True)
        # Some may have come while this was written.
        orphans, self._orphans = [*orphans, *self._orphans], []
        for orphan in orphans:
            self._world.relatives.cancel_soon(orphan, reason=PARENT_HAS_GONE_ON)
        if has_more_orphans or self._may_have_more_orphans:
            self._may_have_more_orphans = False
            self._world.relatives.look_for_orphans(self._identity.execution_id)
        if self._state.ending is not None:
            id = self._identity.execution_id
            tell_relatives(self._world, id, self._parent_id, self._turn, [self._started, self._state.ending])

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
        state, status = self._state, self._state.status
        is_waiting = status is Status.WAITING
        due_at = state.due_at if is_waiting else None
        if is_waiting and (deadline := deadline_of(self._flow, state)) is not None:
            due_at = deadline if due_at is None else min(due_at, deadline)
        return Summary(
            status=status,
            completed_at=at if status.is_final else None,
            error=state.ending.error.message if isinstance(state.ending, Failed) else None,
            wake_at=due_at,
            waiting_for=msgspec.json.encode(waiting_for(state)) if is_waiting else None,
            is_queued=state.is_queued,
        )


async def replayed(events: Sequence[tuple[Event, datetime]]) -> ExecutionState:
    """As `replay`, without holding up others while a long execution is gone through."""
    if len(events) <= _AT_A_STRETCH:
        return replay(events)
    return await asyncio.to_thread(replay, events)
