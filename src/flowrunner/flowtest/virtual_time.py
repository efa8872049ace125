"""Virtual time for flow tests: the clock stands still while executions run, and then jumps to the next moment."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.expression.script import Script, ScriptError, ScriptOutcome
from flowrunner.domain.flow import Flow
from flowrunner.domain.step_state import StepState
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId, rfc3339
from flowrunner.domain.waits import ApprovalWait, signal_key
from flowrunner.flowtest.memory import MemoryJournal
from flowrunner.flowtest.paths import path_of
from flowrunner.language.flow_tests import FlowTest, NodePath, dotted_path
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.dispatch import Cancel, Engine, Signal
from flowrunner.ports.journal import NewExecution, Recorded, load_whole
from flowrunner.ports.sandbox import Sandbox
from flowrunner.services.signals import checked_data

# The account of an answer that names none.
_SOMEBODY: Final = "somebody"


class VirtualClock:
    """Implements `ports.Clock`."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance_to(self, moment: datetime) -> None:
        self._now = max(moment, self._now)


@dataclass(frozen=True, slots=True)
class ClockedSandbox:
    """Evaluates JavaScript at the virtual time. Implements `ports.Sandbox`."""

    sandbox: Sandbox
    clock: VirtualClock

    async def evaluate(
        self,
        workspace_id: WorkspaceId,
        scripts: Sequence[Script],
        scope: Mapping[str, JSON],
        *,
        now: datetime | None = None,
    ) -> Sequence[ScriptOutcome]:
        return await self.sandbox.evaluate(workspace_id, scripts, scope, now=now or self.clock.now())

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptError | None]:
        return await self.sandbox.check(scripts)


class NullBroadcast:
    """Implements `ports.Broadcast` without subscribers."""

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        pass

    def mark_stale(self, execution_id: ExecutionId) -> None:
        pass


@dataclass(slots=True)
class _ScheduledInput:
    """Input to an execution: a signal, an answer to an approval, or a cancellation.

    Attributes:
        at: Earliest moment; None to deliver it as soon as a step waits for it.
        key: Key of the signal; None for the other kinds.
        approval: Node of the approval that it answers; None for the other kinds.
    """

    at: datetime | None
    payload: JSON = None
    key: str | None = None
    approval: NodePath | None = None


@dataclass(slots=True)
class VirtualTimeDispatcher:
    """Implements `ports.Dispatcher`. Executions run one at a time, in a fixed order.

    Attributes:
        problem: Called with each reason why the test is not meaningful.
    """

    engine: Engine
    journal: MemoryJournal
    clock: VirtualClock
    schemas: SchemaEngine
    problem: Callable[[str], object]
    _ready: dict[ExecutionId, None] = field(default_factory=dict)
    _due: dict[ExecutionId, datetime] = field(default_factory=dict)
    _mail: defaultdict[ExecutionId, list[Signal]] = field(default_factory=lambda: defaultdict(list))
    _cancels: dict[ExecutionId, str] = field(default_factory=dict)

    # Ports

    async def start(self, new: NewExecution, flow: Flow, input: JSON) -> None:
        await self.engine.begin(new, flow, input, at_once=False)
        self._ready[new.id] = None

    async def cancel(
        self, id: ExecutionId, *, reason: str, audit: AuditEntry | None = None, force: bool = False
    ) -> None:
        self.cancel_soon(id, reason=reason)

    async def signal(self, id: ExecutionId, signal: Signal) -> bool:
        self.child_ended(id, signal)
        return True

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None:
        self._mail[parent_id].append(signal)
        self._ready[parent_id] = None

    def cancel_soon(self, id: ExecutionId, *, reason: str) -> None:
        self._cancels.setdefault(id, reason)
        self._ready[id] = None

    def reconcile_children(self, parent_id: ExecutionId) -> None:
        # The start of a child is never interrupted here.
        pass

    def release_slot(self, key: str) -> None:
        pass

    def replace(self, by: ExecutionId) -> None:
        pass

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return False

    # Time

    async def run(self, id: ExecutionId, flow: Flow, test: FlowTest) -> None:
        """Advance until nothing can happen any more. ``test`` holds the inputs to execution ``id``."""
        inputs = _scheduled_inputs(test, self.clock.now())
        while True:
            while self._ready:
                await self._advance(next(iter(self._ready)))
            is_open = id in self.journal.open_ones
            if is_open and await self._deliver_next(id, flow, inputs):
                continue
            now = self.clock.now()
            moments = list(self._due.values())
            if is_open:
                moments += [item.at for item in inputs if item.at is not None and item.at > now]
            if not moments:
                return
            # Nothing else suspends a flow of pure nodes: its time limit, and Ctrl-C, would have to wait for its end.
            await asyncio.sleep(0)
            self.clock.advance_to(min(moments))
            for due in [due for due, at in self._due.items() if at <= self.clock.now()]:
                del self._due[due]
                self._ready[due] = None

    async def _advance(self, id: ExecutionId) -> None:
        del self._ready[id]
        self._due.pop(id, None)
        actor = await self.engine.load(id)
        mail, reason = self._mail.pop(id, ()), self._cancels.pop(id, None)
        if actor is None:
            return
        for signal in mail:
            # The answer is not needed: the journal shows which signals were taken.
            actor.receive(signal, asyncio.get_running_loop().create_future())
        if reason is not None:
            actor.cancel(Cancel(reason=reason))
        at = await actor.advance()
        if at is not None:
            self._due[id] = at

    async def _deliver_next(self, id: ExecutionId, flow: Flow, inputs: list[_ScheduledInput]) -> bool:
        """Deliver the next input that is due; return whether there was one."""
        now = self.clock.now()
        waiting: list[StepState] | None = None
        for item in inputs:
            if item.at is not None and item.at > now:
                continue
            needs_wait = item.approval is not None or (item.key is not None and item.at is None)
            if needs_wait and waiting is None:
                waiting = await self._waiting(id)
            signal = _signal(item, flow, waiting or [], now)
            if needs_wait and signal is None:
                continue
            inputs.remove(item)
            if item.approval is not None and signal is not None:
                signal = self._checked(item.approval, _answered_by(signal, waiting or []), signal)
                if signal is None:
                    return True
            if signal is None:
                self.cancel_soon(id, reason="cancelled by the test")
            else:
                self.child_ended(id, signal)
            return True
        return False

    def _checked(self, node: NodePath, current: StepState, answer: Signal) -> Signal | None:
        """Return the answer with the defaults of its form, or None if the server would reject it."""
        assert isinstance(answer.payload, dict), "an answer is an object"
        approval = current.wait_for
        assert isinstance(approval, ApprovalWait), "the step waits for an answer"
        if any(given.by == answer.by for given in current.answers):
            self.problem(f"'{answer.by}' has answered '{dotted_path(node)}' already: each account answers once")
            return None
        given, is_approved = answer.payload["data"], bool(answer.payload["approved"])
        try:
            data = checked_data(approval.form, given, approved=is_approved, schemas=self.schemas)
        except (InvalidInput, Conflict) as error:
            self.problem(f"the answer to '{dotted_path(node)}' does not fit its form: {error}")
            return None
        return replace(answer, payload={**answer.payload, "data": data})

    async def _waiting(self, id: ExecutionId) -> list[StepState]:
        _, events = await load_whole(self.journal, id)
        state: ExecutionState = replay(events)
        return [current for current in map(state.at, state.timed) if current.waiting is not None]


def _signal(item: _ScheduledInput, flow: Flow, waiting: Sequence[StepState], now: datetime) -> Signal | None:
    """Return the signal to deliver, or None if this is a cancellation or no step waits for it."""
    if item.key is not None:
        signal = Signal(key=signal_key("signal", item.key), payload=item.payload)
        is_awaited = any(c.waiting is not None and c.waiting.signal_key == signal.key for c in waiting)
        return signal if is_awaited or item.at is not None else None
    for current in waiting:
        if isinstance(current.wait_for, ApprovalWait) and path_of(flow, str(current.step)) == item.approval:
            assert isinstance(item.payload, dict), "an answer is an object"
            # Answers without a name are those of different accounts.
            by = str(item.payload["by"] or _SOMEBODY + (f"-{len(current.answers) + 1}" if current.answers else ""))
            answer: JSON = {**item.payload, "by": by, "at": rfc3339(now)}
            return Signal(key=signal_key("approval", str(current.step)), payload=answer, by=by)
    return None


def _answered_by(answer: Signal, waiting: Sequence[StepState]) -> StepState:
    """Return the step that waits for an answer."""
    return next(c for c in waiting if c.waiting is not None and c.waiting.signal_key == answer.key)


def _scheduled_inputs(test: FlowTest, start: datetime) -> list[_ScheduledInput]:
    def at(after: float | None) -> datetime | None:
        return None if after is None else start + timedelta(seconds=after)

    inputs = [_ScheduledInput(at(s.after), s.payload, key=key) for key, given in test.signals.items() for s in given]
    for path, answers in test.approvals.items():
        for answer in answers:
            payload: JSON = {"approved": answer.approved, "by": answer.by, "data": answer.data}
            inputs.append(_ScheduledInput(at(answer.after), payload, approval=path))
    if test.cancel_after is not None:
        inputs.append(_ScheduledInput(at(test.cancel_after)))
    return inputs
