"""The actor of one execution in memory.

Results, log lines, signals and cancel requests arrive in its mailbox. Its loop turns them into events, calls `decide`,
makes the events and the decisions durable together, and only then acts.
"""

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final, assert_never

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.decide import (
    about_to_resume,
    decide,
    evaluated,
    fail_attempt,
    may_decide,
    node_of,
    still_cut_off,
)
from flowrunner.domain.decisions import (
    Action,
    Evaluate,
    Finish,
    Record,
    Resume,
    Start,
    Wait,
    cancelled,
)
from flowrunner.domain.errors import LimitReached, RedactionLimit
from flowrunner.domain.events import (
    ROOT,
    Completed,
    Ending,
    ErrorValue,
    Event,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Step,
)
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.status import Status
from flowrunner.domain.values import WorkspaceId
from flowrunner.domain.waits import parse_signal_key
from flowrunner.engine.children import PendingNotifications
from flowrunner.engine.event_log import AT_A_STRETCH, MAX_UNRECORDED_EVENTS, MEASURED_BYTES, EventLog, Replay
from flowrunner.engine.log_lines import line_of_answer, line_of_end, line_of_failed_attempt, line_of_interruption
from flowrunner.engine.mailbox import (
    CancelRequest,
    Mailbox,
    Result,
    SignalMessage,
    TaskOutcome,
    is_accepted,
    is_repeat,
    step_waiting_for,
)
from flowrunner.engine.recorder import (
    redacted_key,
    storable_again,
    storable_error_soon,
    storable_soon,
    storable_start,
)
from flowrunner.engine.step_tasks import StepTasks
from flowrunner.ports.dispatch import Cancel, Signal
from flowrunner.ports.secrets import LONG_BYTES

# More than a crash can lose.
_CAREFUL_EVENTS: Final = 4 * MAX_UNRECORDED_EVENTS
# Quick steps that run without a look at the messages.
_QUICK_AT_A_STRETCH: Final = 32
# A longer execution stays in memory for a while when it has to wait. Loading an event takes about 30 µs, so even an
# execution that is notified of the end of a sub-flow each time after it has left costs little.
_LONG_EVENTS: Final = 1000
_STAY_SECONDS_AN_EVENT: Final = 0.001
_LONGEST_STAY_SECONDS: Final = 10.0
# Also the maximum delay of a wait in memory after the clock was set forward.
_LONGEST_NAP_SECONDS: Final = 10.0


class ExecutionActor:
    """The actor of an execution in memory. Implements `ports.ActiveExecution`."""

    def __init__(self, log: EventLog, notifications: PendingNotifications) -> None:
        loaded = log.loaded
        self._deps = loaded.deps
        self._execution = loaded.execution
        self._flow = loaded.execution.flow
        self._redactor = loaded.redactor
        self._notifications = notifications
        self._mailbox = Mailbox()
        self._cancel_requests: list[CancelRequest] = []
        self._is_held = False
        self._on_left: Callable[[], object] | None = None
        self._begin_with(log)

    def _begin_with(self, log: EventLog) -> None:
        self._events = log
        log.memory.on_excess(self._mailbox.wake)
        self._state = state = log.state
        self._steps = StepTasks(log.loaded, self._mailbox)
        self._may_be_interrupted = state.seq > 0
        self._cut_off = about_to_resume(state)
        # Up to this event the start of pure nodes is durable before they run, too: one of them may have crashed the
        # process, and would crash it again indefinitely if no attempt were counted.
        self._careful_until = state.seq + _CAREFUL_EVENTS if state.seq > 0 else 0
        self._size_at_yield = log.size

    def on_leave(self, left: Callable[[], object]) -> None:
        """Call ``left`` once when the execution leaves memory, even if it is dropped before it has advanced."""
        self._on_left = weakref.finalize(self, left)

    async def create(self, *, begins: bool) -> None:
        """Make a new execution durable; with the start of its first steps if ``begins``."""
        if begins:
            await self._decide()
        await self._flush()

    @property
    def held_bytes(self) -> int:
        return self._state.held_bytes

    @property
    def workspace_id(self) -> WorkspaceId:
        return self._execution.workspace_id

    @property
    def status(self) -> Status:
        return self._events.status

    @property
    def fencing_token(self) -> int:
        return self._events.epoch

    def cancel(
        self, request: Cancel, answer: "asyncio.Future[bool] | None" = None, *, message: int | None = None
    ) -> None:
        self._cancel_requests.append(CancelRequest(request, answer, message))
        self._mailbox.wake()

    def receive(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        self._mailbox.put(SignalMessage(signal, answer))

    def hold(self) -> None:
        self._is_held = True

    @property
    def cut_off(self) -> Mapping[Step, int]:
        return self._cut_off

    def resume_after_hold(self, cut_off: Mapping[Step, int]) -> None:
        self._cut_off = still_cut_off(self._cut_off, cut_off)

    def nudge(self) -> None:
        self._mailbox.wake()

    async def advance(self) -> datetime | None:
        try:
            while True:
                try:
                    return await self._advance()
                except LimitReached as error:
                    await self._revert(error)
        finally:
            self._mailbox.close()
            self._steps.cancel_all()
            self._events.memory.leave()
            if self._on_left is not None:
                self._on_left()

    async def _advance(self) -> datetime | None:
        """Advance until the execution has to leave memory.

        Raises:
            LimitReached: The recorded events would exceed the storage quota of the workspace.
        """
        while True:
            if self._cancel_requests and self._state.ending is None:
                await self._cancel()
            due_at = await self._decide_and_act()
            if self._state.ending is not None:
                return None
            if self._cancel_requests:
                continue
            is_busy = bool(self._steps or self._mailbox)
            if self._starts_no_steps and not is_busy:
                return None
            seconds = None if due_at is None else (due_at - self._deps.clock.now()).total_seconds()
            stay_seconds = self._stay_seconds()
            if is_busy or (seconds is not None and seconds <= max(self._deps.longest_wait_in_memory, stay_seconds)):
                await self._mailbox.wait(None if seconds is None else min(seconds, _LONGEST_NAP_SECONDS))
            elif not stay_seconds or not await self._mailbox.wait(stay_seconds):
                return due_at
            await self._take_messages(most=AT_A_STRETCH)

    async def _revert(self, error: LimitReached) -> None:
        """Return to the stored state, from which the execution fails."""
        # Without the stored state: the memory reservation covers one state, so the old one is dropped first.
        loaded, epoch = replace(self._events.loaded, state=ExecutionState()), self._events.epoch
        refusal = ErrorValue(type="limit.workspace_stored", message=str(error), node=self._events.refused_node)
        self._steps.cancel_all()
        # They belong to steps whose events are not stored.
        self._mailbox.take_lines()
        self._events.memory.leave()
        self._begin_with(EventLog(loaded, epoch=epoch))
        replay = Replay()
        stored = await self._deps.journal.load(self._execution.execution_id, replay.add)
        log = EventLog.resumed(replace(loaded, state=replay.state), stored=stored, epoch=epoch)
        log.refusal = refusal
        self._begin_with(log)

    def _stay_seconds(self) -> float:
        """Return how long an execution stays in memory while it waits; 0 for a short one.

        A cancelled execution leaves at once, so that the caller does not wait.
        """
        if not self._deps.long_ones_stay or self._state.seq < _LONG_EVENTS or self._state.root.ended is not None:
            return 0.0
        return min(self._state.seq * _STAY_SECONDS_AN_EVENT, _LONGEST_STAY_SECONDS)

    async def _cancel(self) -> None:
        """Stop running steps and end the flow; its handlers still run unless a request skips them."""
        # Record the results that have arrived by now.
        await self._take_messages()
        if self._state.ending is not None:
            return
        requests, self._cancel_requests = self._cancel_requests, []
        # The first of several requests with the same effect is recorded as the cause.
        cause = next((r.cancel for r in requests if not r.cancel.spares_handlers), requests[0].cancel)
        force, ended = not cause.spares_handlers, self._state.root.ended
        if ended is None or force:
            await self._steps.stop()
            await self._take_messages()
        decision = cancelled(self._flow, self._state, cause.reason, force=force)
        if decision is not None:
            audit = cause.audit
            if force and (ended is not None or self._flow.on_finish is not None):
                audit = self._note_lost_handlers(cause, ended)
            self._events.exceed_quota()
            self._act(decision)
            self._events.attribute(audit, [r.message for r in requests if r.message is not None])
        try:
            await self._flush()
        except LimitReached:
            self._cancel_requests = requests + self._cancel_requests
            raise
        is_cancelled = decision is not None or (ended is not None and ended.outcome == "cancelled")
        for request in requests:
            request.reply(is_cancelled)

    def _note_lost_handlers(self, request: Cancel, ended: ScopeEnded | None) -> AuditEntry | None:
        """Log that handlers were skipped or interrupted; return the audit entry with that detail."""
        became = "skipped" if ended is None else "cut off"
        message = f"The handlers of the end were {became}: the execution was cancelled with force=true"
        self._events.log(Logged(level="warn", message=message), even_if_full=True)
        if request.audit is None:
            return None
        status = "cancelled" if ended is None else ended.outcome
        return replace(request.audit, details={**request.audit.details, "handlers": became, "status": status})

    async def _decide_and_act(self) -> datetime | None:
        """Decide, record and act until nothing is left to do; return the due time of the next timer."""
        quick = 0
        while True:
            # Recorded here: `_finish` cannot pause between lines.
            if lines := self._mailbox.take_lines():
                await self._log(*lines)
            due_at = await self._decide()
            if self._cancel_requests and self._state.ending is None:
                return None
            if self._steps.quick:
                if self._is_careful or self._events.is_much_unrecorded:
                    await self._flush()
                    self._steps.launch()
                await self._run_quick()
                quick += 1
                if quick % _QUICK_AT_A_STRETCH == 0:
                    await self._take_messages(most=AT_A_STRETCH)
                continue
            if self._may_hold_back():
                self._mailbox.wake_soon()
            else:
                await self._flush()
            self._steps.launch()
            return due_at

    async def _run_quick(self) -> None:
        """Run a short step here. It has no effect outside, so its start need not be durable before."""
        lines: list[Logged] = []
        try:
            step, run = self._steps.begin_quick(lines.append)
            outcome = await run
        finally:
            if lines:
                await self._log(*lines)
        await self._record_outcome(step, outcome)

    @property
    def _starts_no_steps(self) -> bool:
        return self._is_held or self._deps.is_stopping

    @property
    def _is_careful(self) -> bool:
        return self._state.seq < self._careful_until

    def _may_hold_back(self) -> bool:
        """Return whether recorded events can wait: no step that is about to start has an effect outside."""
        log = self._events
        return self._steps.are_pure and not (self._is_careful or log.is_awaited or log.is_much_unrecorded)

    async def _flush(self) -> None:
        if await self._events.flush():
            self._notifications.notify(self._state.ending)

    # Decisions

    async def _decide(self) -> datetime | None:
        """Decide and record until nothing is left to do; return the due time of the next timer."""
        count, measured_bytes = 0, self._state.measured_bytes
        while not (self._cancel_requests or self._starts_no_steps):
            too_large = self._events.end_if_too_large()
            if too_large is not None:
                self._act(too_large)
            now = self._deps.clock.now()
            # Steps started by this process still run: only steps from before its load can have been interrupted.
            self._may_be_interrupted = self._may_be_interrupted and any(
                s not in self._steps for s in self._state.running
            )
            decisions = decide(
                self._flow,
                self._state,
                running=self._steps,
                evaluating=self._steps.evaluating,
                cut_off=self._cut_off,
                now=now,
                may_be_interrupted=self._may_be_interrupted,
            )
            if not decisions:
                return None
            for decision in decisions:
                if isinstance(decision, Wait):
                    return decision.until
                self._act(decision)
                count += 1
                if count % AT_A_STRETCH == 0 or self._state.measured_bytes - measured_bytes > MEASURED_BYTES:
                    # Let other tasks run.
                    measured_bytes = self._state.measured_bytes
                    await asyncio.sleep(0)
            if isinstance(decision, Evaluate) and self._steps.quick:
                # Its value leads to the next decision.
                return None
            if not may_decide(self._flow, self._state):
                return None
        return None

    def _act(self, decision: Action) -> None:
        match decision:
            case Start(event):
                if event.interrupted:
                    self._events.log(line_of_interruption(event))
                self._events.record(storable_start(event))
                self._steps.add(event.step)
            case Resume(step):
                self._steps.add(step)
            case Record(NodeFailed() as event):
                self._record_failed_attempt(event)
            case Record(event):
                if isinstance(event, ScopeEnded):
                    self._end_scope(event)
                self._record_known(event)
            case Evaluate(last):
                self._steps.add_evaluation(last)
            case Finish(event):
                self._finish(event)
            case _:
                assert_never(decision)

    async def _log(self, *lines: Logged) -> None:
        for line in lines:
            if self._state.ending is not None:
                return
            if self._events.accepts_lines:
                self._events.log(await storable_soon(line, self._redactor))
                await self._yield_after_long_events()
            else:
                self._events.log(line)

    async def _yield_after_long_events(self) -> None:
        """Yield to other tasks if redacting the events since the last yield may have taken long."""
        if self._events.size - self._size_at_yield > LONG_BYTES:
            self._size_at_yield = self._events.size
            await asyncio.sleep(0)

    def _end_scope(self, event: ScopeEnded) -> None:
        """Stop the steps in a scope that ends, and the child executions they have started."""
        if event.scope == ROOT:
            self._log_end(event)
        for frame in self._state.within(event.scope):
            for current in frame.steps.values():
                self._steps.cancel(current.step)
                self._notifications.leave(current)

    def _finish(self, event: Ending) -> None:
        # No event can be recorded after the end.
        for line in self._mailbox.take_lines():
            self._events.log(line)
        if self._state.root.ended is None:
            self._log_end(event)
        for frame in self._state.frames.values():
            for current in frame.steps.values():
                self._notifications.leave(current)
        self._steps.cancel_all()
        self._record_known(event)

    def _record_failed_attempt(self, event: NodeFailed) -> None:
        self._events.log(line_of_failed_attempt(event))
        self._notifications.leave(self._state.at(event.step))
        self._events.record(event)

    def _record_known(self, event: Event) -> None:
        """Record an event derived from earlier ones: what one of them contains is not redacted again."""
        is_known = isinstance(event, NodeCompleted) or (
            isinstance(event, ScopeEnded | Completed) and event.result is not None
        )
        self._events.record(storable_again(event) if is_known else event)

    def _log_end(self, event: Ending | ScopeEnded) -> None:
        self._events.log(line_of_end(event, self._state.root.current), even_if_full=True)

    # Messages

    async def _take_messages(self, *, most: int | None = None) -> None:
        # The rest is taken after the decisions that follow from these.
        for message in self._mailbox.take(most=most):
            match message:
                case Logged():
                    await self._log(message)
                case SignalMessage(signal, answer):
                    await self._take_signal(signal, answer)
                case Result(step, _, outcome):
                    if self._steps.is_awaited(message):
                        self._steps.abandon(step)
                        await self._record_outcome(step, outcome)
                case _:
                    assert_never(message)
            if self._events.is_too_large or self._state.ending is not None:
                # It ends before more is held, and after its end nothing is recorded.
                self._mailbox.wake()
                return

    async def _take_signal(self, signal: Signal, answer: "asyncio.Future[bool]") -> None:
        if answer.done():
            return
        repeats = is_repeat(signal, self._state)
        if repeats:
            self._events.answer_when_durable(answer)
            return
        key = redacted_key(signal.key, self._redactor)
        if repeats is False or not is_accepted(signal, key, self._state):
            answer.set_result(False)
            return
        event = SignalReceived(key=key, payload=signal.payload, by=signal.by, request=signal.request)
        try:
            stored = await storable_soon(event, self._redactor)
        except RedactionLimit as error:
            answer.set_exception(error)
            return
        if answer.done():
            # The sender has timed out meanwhile.
            return
        answered = step_waiting_for(key, self._state)
        self._events.record(stored)
        if answered is not None and answered.answers and parse_signal_key(key)[0] != "link":
            self._events.log(line_of_answer(answered))
        self._events.attribute(signal.audit, () if signal.message is None else (signal.message,))
        self._events.answer_when_durable(answer)

    async def _record_outcome(self, step: Step, outcome: TaskOutcome) -> None:
        match outcome:
            case ErrorValue():
                error = await storable_error_soon(outcome, self._redactor)
                current, now, draw = self._state.at(step), self._deps.clock.now(), self._deps.draw()
                self._record_failed_attempt(fail_attempt(self._flow, self._state, current, error, now=now, draw=draw))
            case NodeCompleted() | NodeWaiting() | ScopesOpened():
                edges = node_of(self._flow, self._state, step).next
                recorded = self._events.record(await storable_soon(outcome, self._redactor, edges=edges))
                if isinstance(recorded, NodeFailed):
                    # The result cannot be stored.
                    self._events.log(line_of_failed_attempt(recorded))
            case ScopeEnded():
                for decision in evaluated(self._flow, self._state, outcome):
                    self._act(decision)
            case _:
                assert_never(outcome)
        await self._yield_after_long_events()
