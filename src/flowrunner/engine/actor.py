"""One execution while it is in memory: what comes in, what follows from it, what is begun.

A run is an actor. Results, log lines, signals and the wish to cancel come into its mailbox; its loop
turns them into events, asks `decide` what follows, makes both durable together, and only then acts.
"""

import asyncio
import contextlib
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, assert_never, cast

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.decide import (
    Collect,
    Decision,
    EvaluateOutputs,
    Finish,
    Record,
    Resume,
    Start,
    Wait,
    cancelled,
    collected,
    decide,
    fail_attempt,
    failed,
)
from flowrunner.domain.errors import LimitReached, RedactionLimit
from flowrunner.domain.events import (
    ROOT,
    Completed,
    Ending,
    Event,
    Failure,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Step,
)
from flowrunner.domain.execution import ExecutionState, Status
from flowrunner.domain.values import WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies, Stopped
from flowrunner.engine.event_log import AT_A_STRETCH, MAX_UNRECORDED_EVENTS, EventLog, replayed
from flowrunner.engine.expressions import ExecutionRef, OnConsole
from flowrunner.engine.links import PendingNotifications
from flowrunner.engine.log import level_of, line_of_end, line_of_failure
from flowrunner.engine.mailbox import Mailbox, Result, SignalMessage
from flowrunner.engine.outputs import collection, evaluate_outputs
from flowrunner.engine.recorder import hidden_soon, signal_key, storable_again, storable_soon
from flowrunner.engine.signals import counts, is_asked_before
from flowrunner.engine.step import StepResult, run_step
from flowrunner.engine.step_tasks import StepTasks
from flowrunner.language.json_schema import size_of
from flowrunner.ports import LONG_BYTES, Cancel, Redactor, Signal

MAX_EXECUTION_BYTES: Final = 256 * 1024 * 1024
_BYTES_OF_HANDLERS: Final = 16 * 1024 * 1024
# As many may have been lost in a crash, and a few more.
_CAREFUL_EVENTS: Final = 4 * MAX_UNRECORDED_EVENTS
# An execution of so many events and more stays for a while when it has to wait. To load an event takes some
# 30 µs, so that even one that is told of the end of a sub-flow each time that it has left costs little.
_LONG_EVENTS: Final = 1000
_STAY_SECONDS_AN_EVENT: Final = 0.001
_LONGEST_STAY_SECONDS: Final = 10.0
# What each value in a part that a loop collects counts for at least: in memory an empty list takes more than it
# does as JSON.
_BYTES_OF_A_VALUE: Final = 16
# Also how late a wait in memory may end after the clock was set forward.
_LONGEST_NAP_SECONDS: Final = 10.0

_TOO_MUCH: Final = Failure(
    type="limit.size",
    message=f"The events of this execution take more than {MAX_EXECUTION_BYTES // 1024**2} MiB",
)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A wish that the execution ends, with where its answer goes and the letter that it came by."""

    cancel: Cancel
    answer: "asyncio.Future[bool] | None"
    message: int | None


class ExecutionActor:
    """One execution in memory. Fills `ports.ActiveExecution`."""

    def __init__(
        self,
        deps: EngineDependencies,
        execution: ExecutionRef,
        redactor: Redactor,
        log: EventLog,
        notifications: PendingNotifications,
    ) -> None:
        self._deps = deps
        self._execution = execution
        self._flow = execution.flow
        self._redactor = redactor
        self._notifications = notifications
        self._mailbox = Mailbox()
        self._wishes: list[_Wish] = []
        self._is_held = False
        # Why the account cannot store what this has recorded, until it ends for that.
        self._refusal: Failure | None = None
        self._left: Callable[[], object] | None = None
        self._begin_with(log)

    def _begin_with(self, log: EventLog) -> None:
        self._events = log
        self._state = state = log.state
        self._steps = StepTasks(self._deps, self._execution, state, self._mailbox)
        self._may_be_cut_off = state.seq > 0
        # Up to this event also pure nodes are recorded as started before they run: one of them may be what
        # ended the process before, and would end it again and again if nothing counted its tries.
        self._careful_until = state.seq + _CAREFUL_EVENTS if state.seq > 0 else 0
        self._to_work_out: EvaluateOutputs | Collect | None = None
        self._size_at_break = log.size

    def on_leave(self, left: Callable[[], object]) -> None:
        """Have it told once, when the execution leaves memory: also one that is dropped before it has advanced."""
        self._left = weakref.finalize(self, left)

    async def create(self, *, begins: bool) -> None:
        """Make a new execution durable; with its first steps as started, if it begins."""
        if begins:
            await self._decide()
        await self._flush()

    @property
    def workspace_id(self) -> WorkspaceId:
        return self._execution.workspace_id

    @property
    def status(self) -> Status:
        return self._events.status

    @property
    def fencing_token(self) -> int:
        return self._events.epoch

    def cancel(self, wish: Cancel, answer: "asyncio.Future[bool] | None" = None, *, message: int | None = None) -> None:
        self._wishes.append(_Wish(wish, answer, message))
        self._mailbox.wake()

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self._mailbox.put(SignalMessage(signal, answer))

    def hold(self) -> None:
        self._is_held = True

    def nudge(self) -> None:
        self._mailbox.wake()

    async def advance(self) -> datetime | None:
        try:
            while True:
                try:
                    return await self._advance()
                except LimitReached as error:
                    await self._start_over(error)
        finally:
            self._mailbox.close()
            self._steps.cut_off_all()
            if self._left is not None:
                self._left()

    async def _advance(self) -> datetime | None:
        """Raises: LimitReached: What was recorded is not stored, as the account would keep more than it may."""
        while True:
            if self._wishes and self._state.ending is None:
                await self._cancel()
            due_at = await self._go_on()
            if self._state.ending is not None:
                return None
            if self._wishes:
                continue
            is_busy = bool(self._steps or self._mailbox)
            if self._begins_nothing and not is_busy:
                return None
            seconds = None if due_at is None else (due_at - self._deps.clock.now()).total_seconds()
            stay_seconds = self._stay_seconds()
            if is_busy or (seconds is not None and seconds <= max(self._deps.short_wait, stay_seconds)):
                await self._mailbox.wait(None if seconds is None else min(seconds, _LONGEST_NAP_SECONDS))
            elif not stay_seconds or not await self._mailbox.wait(stay_seconds):
                return due_at
            await self._take_messages(most=AT_A_STRETCH)

    async def _start_over(self, error: LimitReached) -> None:
        """Go back to what is stored, from which the execution ends."""
        deps, execution, redactor, epoch = self._deps, self._execution, self._redactor, self._events.epoch
        self._refusal = Failure(type="limit.account_stored", message=str(error), node=self._events.refused_node)
        self._steps.cut_off_all()
        # They tell of what is not stored.
        self._mailbox.take_lines()
        # The room in memory that it has is for one state.
        self._begin_with(EventLog(deps, execution, redactor, ExecutionState(), epoch=epoch))
        stored, events = await deps.journal.load(execution.execution_id)
        self._begin_with(
            EventLog.resumed(deps, execution, redactor, await replayed(events), stored=stored, epoch=epoch)
        )

    def _stay_seconds(self) -> float:
        """Return how long an execution stays in memory for what it waits for; 0 for a short one.

        Whoever cancels one is not kept waiting by that.
        """
        if self._state.seq < _LONG_EVENTS or self._state.root.ended is not None:
            return 0.0
        return min(self._state.seq * _STAY_SECONDS_AN_EVENT, _LONGEST_STAY_SECONDS)

    async def _cancel(self) -> None:
        """Stop what is under way; the handler of the flow's end still runs, unless somebody wants it not to."""
        # What has come to something by now is recorded.
        await self._take_messages()
        wishes, self._wishes = self._wishes, []
        # Of several with the same effect, the first one is the cause.
        wish = next((w.cancel for w in wishes if not w.cancel.spares_handlers), wishes[0].cancel)
        force, ended = not wish.spares_handlers, self._state.root.ended
        if ended is None or force:
            await self._steps.stop()
            await self._take_messages()
        decision = cancelled(self._flow, self._state, wish.reason, force=force)
        if decision is not None:
            audit = wish.audit
            if force and (ended is not None or self._flow.on_finish is not None):
                audit = self._note_lost_handlers(wish, ended)
            self._exceed_quota()
            self._act(decision)
            self._events.attribute(audit, [w.message for w in wishes if w.message is not None])
        try:
            await self._flush()
        except LimitReached:
            self._wishes = wishes + self._wishes
            raise
        counts = decision is not None or (ended is not None and ended.outcome == "cancelled")
        for each in wishes:
            if each.answer is not None and not each.answer.done():
                each.answer.set_result(counts)

    def _note_lost_handlers(self, wish: Cancel, ended: ScopeEnded | None) -> AuditEntry | None:
        """Log that handlers of the end do not run to their end; return the audit entry that says so."""
        became = "skipped" if ended is None else "cut off"
        message = f"The handlers of the end were {became}: the execution was cancelled with force=true"
        self._events.log(Logged(level="warn", message=message), even_if_full=True)
        if wish.audit is None:
            return None
        status = "cancelled" if ended is None else ended.outcome
        return replace(wish.audit, details={**wish.audit.details, "handlers": became, "status": status})

    async def _go_on(self) -> datetime | None:
        """Decide, record, act, as long as there is something to do; gives what it waits for."""
        while True:
            # Not left to the end, which is recorded in one go.
            await self._log_all(self._mailbox.take_lines())
            due_at = await self._decide()
            if self._to_work_out is not None:
                with contextlib.suppress(Stopped):
                    await self._work_out()
                continue
            quick = self._steps.take_quick()
            if quick is not None:
                if self._is_careful or self._events.is_much_unrecorded:
                    await self._flush()
                # Nothing outside sees a pure node run, so its start need not be durable before.
                lines: list[Logged] = []
                try:
                    result = await run_step(self._deps, self._execution, self._state, quick, lines.append)
                finally:
                    await self._log_all(lines)
                await self._record_result(quick, result)
                continue
            if self._may_hold_back():
                self._mailbox.wake_soon()
            else:
                await self._flush()
            self._steps.launch()
            return due_at

    @property
    def _begins_nothing(self) -> bool:
        return self._is_held or self._deps.is_stopping

    @property
    def _is_careful(self) -> bool:
        return self._state.seq < self._careful_until

    def _may_hold_back(self) -> bool:
        """Whether what is recorded can become durable later: all that is about to begin has no effect outside."""
        log = self._events
        return self._steps.are_pure and not (self._is_careful or log.is_awaited or log.is_much_unrecorded)

    async def _flush(self) -> None:
        if await self._events.flush():
            self._notifications.notify(self._state.ending)

    # What follows

    async def _decide(self) -> datetime | None:
        """Decide and record until there is no more to do; gives when there is by itself."""
        count = 0
        while not (self._to_work_out or self._wishes or self._begins_nothing):
            too_much = self._too_much()
            if too_much is not None:
                self._act(too_much)
            now = self._deps.clock.now()
            # What this process decides on, it runs: only what was there before it can have been cut off.
            self._may_be_cut_off = self._may_be_cut_off and any(s not in self._steps for s in self._state.running)
            decisions = decide(
                self._flow, self._state, running=self._steps, now=now, may_be_interrupted=self._may_be_cut_off
            )
            if not decisions:
                return None
            for decision in decisions:
                if isinstance(decision, Wait):
                    return decision.until
                self._act(decision)
                count += 1
                if count % AT_A_STRETCH == 0:
                    # Others go on in between.
                    await asyncio.sleep(0)
        return None

    def _too_much(self) -> Decision | None:
        """Return how an execution ends that has recorded more than can be kept; its handlers have room of their own."""
        ended, size = self._state.root.ended, self._events.size
        failure = self._refusal or (_TOO_MUCH if size > MAX_EXECUTION_BYTES else None)
        if self._state.ending is not None or failure is None:
            return None
        if ended is None:
            self._exceed_quota()
            return failed(self._flow, self._state, failure)
        if self._refusal is None and size <= MAX_EXECUTION_BYTES + _BYTES_OF_HANDLERS:
            return None
        self._exceed_quota()
        self._events.log(Logged(level="warn", message=f"The handlers of the end were cut off: {failure.message}"))
        return cancelled(self._flow, self._state, "", force=True)

    def _exceed_quota(self) -> None:
        """Have the end of an execution stored whose account cannot store more."""
        if self._refusal is not None:
            self._refusal = None
            self._events.exceed_quota()

    def _act(self, decision: Decision) -> None:
        match decision:
            case Start(event):
                self._events.record(event)
                self._steps.add(Step(event.node, event.iteration, event.scope))
            case Resume(step):
                self._steps.add(step)
            case Record(event):
                if isinstance(event, NodeFailed):
                    self._events.log(line_of_failure(event))
                    self._notifications.leave(self._state.at(Step(event.node, event.iteration, event.scope)))
                if isinstance(event, ScopeEnded):
                    self._end_scope(event)
                self._record_known(event)
            case EvaluateOutputs() | Collect():
                self._to_work_out = decision
            case Finish(event):
                self._finish(event)
            case Wait():
                pass
            case _:
                assert_never(decision)

    async def _work_out(self) -> None:
        """Evaluate what was decided to be: the flow's outputs, or what a loop collects."""
        lines: list[Logged] = []

        def on_console(level: str, text: str) -> None:
            lines.append(Logged(level=level_of(level), message=text))

        what, self._to_work_out = self._to_work_out, None
        try:
            decisions = await (
                self._collect(what.scope, on_console) if isinstance(what, Collect) else self._conclude(on_console)
            )
        finally:
            await self._log_all(lines)
        for decision in decisions:
            self._act(decision)
        await self._let_others_go_on()

    async def _conclude(self, on_console: OnConsole) -> Sequence[Decision]:
        decision = await evaluate_outputs(self._deps, self._execution, self._state, on_console)
        if isinstance(decision, Record | Finish):
            stored = await storable_soon(decision.event, self._redactor)
            decision = replace(decision, event=cast("Any", stored.event))
        return (decision,)

    async def _collect(self, scope: str, on_console: OnConsole) -> Sequence[Decision]:
        event = await collection(self._deps, self._execution, self._state, scope, on_console)
        stored = await storable_soon(event, self._redactor)
        ended = cast("ScopeEnded", stored.event)
        if ended.outcome == "completed":
            values, _ = size_of(ended.result)
            ended = replace(ended, part_bytes=max(len(stored.data), values * _BYTES_OF_A_VALUE))
        return collected(self._state, ended)

    async def _log_all(self, lines: Sequence[Logged]) -> None:
        for line in lines:
            await self._log(line)

    async def _log(self, line: Logged) -> None:
        if self._events.has_room_for_lines:
            self._events.log(await storable_soon(line, self._redactor))
            await self._let_others_go_on()
        else:
            self._events.log(line)

    async def _let_others_go_on(self) -> None:
        """Make a break where what was recorded since the last may have taken long to search for secrets."""
        if self._events.size - self._size_at_break > LONG_BYTES:
            self._size_at_break = self._events.size
            await asyncio.sleep(0)

    def _end_scope(self, event: ScopeEnded) -> None:
        """Stop what runs in a scope that ends, and whatever it has set going elsewhere."""
        if event.scope == ROOT:
            self._log_end(event)
        for frame in self._state.within(event.scope):
            for current in frame.steps.values():
                self._steps.cut_off(current.step)
                self._notifications.leave(current)

    def _finish(self, event: Ending) -> None:
        # Nothing can be recorded after the end.
        for line in self._mailbox.take_lines():
            self._events.log(line)
        if self._state.root.ended is None:
            self._log_end(event)
        for frame in self._state.frames.values():
            for current in frame.steps.values():
                self._notifications.leave(current)
        self._steps.cut_off_all()
        self._record_known(event)

    def _record_known(self, event: Event) -> None:
        """Record what follows from events before: a result that is in one of them is not searched for secrets again."""
        is_known = isinstance(event, NodeCompleted | ScopeEnded | Completed) and event.result is not None
        self._events.record(storable_again(event) if is_known else event)

    def _log_end(self, event: Ending | ScopeEnded) -> None:
        self._events.log(line_of_end(event, self._state.root.current), even_if_full=True)

    # What came in

    async def _take_messages(self, *, most: int | None = None) -> None:
        # What is left over comes after what follows from these.
        for message in self._mailbox.take(most=most):
            match message:
                case Logged():
                    await self._log(message)
                case SignalMessage(signal, answer):
                    await self._take_signal(signal, answer)
                case Result(step, _, outcome):
                    if self._steps.is_awaited(message):
                        self._steps.let_go(step)
                        await self._record_result(step, outcome)
                case _:
                    assert_never(message)

    async def _take_signal(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        if answer.done():
            return
        is_repeat = is_asked_before(signal, self._state)
        if is_repeat:
            self._events.answer_when_durable(answer)
            return
        key = signal_key(signal.key, self._redactor)
        if is_repeat is False or not counts(signal, key, self._state):
            answer.set_result(False)
            return
        event = SignalReceived(key=key, payload=signal.payload, by=signal.by, request=signal.request)
        try:
            stored = await storable_soon(event, self._redactor)
        except RedactionLimit as error:
            answer.set_exception(error)
            return
        if answer.done():
            # Who sent it has gone meanwhile.
            return
        self._events.record(stored)
        self._events.attribute(signal.audit, () if signal.message is None else (signal.message,))
        self._events.answer_when_durable(answer)

    async def _record_result(self, step: Step, result: StepResult) -> None:
        match result:
            case Failure():
                result = await hidden_soon(result, self._redactor)
                current, now, draw = self._state.at(step), self._deps.clock.now(), self._deps.draw()
                event = fail_attempt(self._flow, self._state, current, result, now=now, draw=draw)
                self._events.log(line_of_failure(event))
                self._notifications.leave(current)
                self._events.record(event)
            case NodeCompleted() | NodeWaiting() | ScopesOpened():
                recorded = self._events.record(await storable_soon(result, self._redactor))
                if isinstance(recorded, NodeFailed):
                    # A result that cannot be kept.
                    self._events.log(line_of_failure(recorded))
            case _:
                assert_never(result)
        await self._let_others_go_on()
