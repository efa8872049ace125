"""Virtual time for flow tests: the clock stands still while executions run, and then jumps to the next moment."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias, assert_never

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
from flowrunner.language.flow_tests import FlowTest, GivenApproval, NodePath, dotted_path
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


@dataclass(frozen=True, slots=True)
class _DueSignal:
    """A signal. Attributes: at: When it comes; None as soon as a step waits for it."""

    at: datetime | None
    key: str
    payload: JSON


@dataclass(frozen=True, slots=True)
class _DueAnswer:
    """An answer to an approval.

    Attributes:
        at: The earliest moment; it comes when the node waits for it.
        node: The node of the approval.
    """

    at: datetime | None
    node: NodePath
    answer: GivenApproval


@dataclass(frozen=True, slots=True)
class _DueCancellation:
    at: datetime | None


_Input: TypeAlias = _DueSignal | _DueAnswer | _DueCancellation


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
        self._send(id, signal)
        return True

    def child_ended(self, parent_id: ExecutionId, signal: Signal) -> None:
        self._send(parent_id, signal)

    def _send(self, id: ExecutionId, signal: Signal) -> None:
        self._mail[id].append(signal)
        self._ready[id] = None

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

    async def _deliver_next(self, id: ExecutionId, flow: Flow, inputs: list[_Input]) -> bool:
        """Deliver the next input that is due; return whether there was one."""
        now = self.clock.now()
        due = [item for item in inputs if item.at is None or item.at <= now]
        waiting = await self._waiting(id) if due else []
        for item in due:
            if self._deliver(id, flow, item, waiting):
                inputs.remove(item)
                return True
        return False

    def _deliver(self, id: ExecutionId, flow: Flow, item: _Input, waiting: Sequence[StepState]) -> bool:
        """Deliver an input that is due; return False if no step waits for it yet."""
        match item:
            case _DueCancellation():
                self.cancel_soon(id, reason="cancelled by the test")
            case _DueSignal():
                key = signal_key("signal", item.key)
                is_awaited = any(c.waiting is not None and c.waiting.signal_key == key for c in waiting)
                if item.at is None and not is_awaited:
                    return False
                self._send(id, Signal(key=key, payload=item.payload))
            case _DueAnswer():
                for current in waiting:
                    approval = current.wait_for
                    if isinstance(approval, ApprovalWait) and path_of(flow, str(current.step)) == item.node:
                        answer = self._answer(item, current, approval)
                        if answer is not None:
                            self._send(id, answer)
                        return True
                return False
            case _:
                assert_never(item)
        return True

    def _answer(self, given: _DueAnswer, current: StepState, approval: ApprovalWait) -> Signal | None:
        """Return the answer with the defaults of its form, or None if the server would reject it."""
        answer, name = given.answer, dotted_path(given.node)
        # Answers without a name are those of different accounts.
        by = answer.by or _SOMEBODY + (f"-{len(current.answers) + 1}" if current.answers else "")
        if any(earlier.by == by for earlier in current.answers):
            self.problem(f"'{by}' has answered '{name}' already: each account answers once")
            return None
        try:
            data = checked_data(approval.form, answer.data, approved=answer.approved, schemas=self.schemas)
        except (InvalidInput, Conflict) as error:
            self.problem(f"the answer to '{name}' does not fit its form: {error}")
            return None
        payload: JSON = {"approved": answer.approved, "by": by, "at": rfc3339(self.clock.now()), "data": data}
        return Signal(key=signal_key("approval", str(current.step)), payload=payload, by=by)

    async def _waiting(self, id: ExecutionId) -> list[StepState]:
        _, events = await load_whole(self.journal, id)
        state: ExecutionState = replay(events)
        return [current for current in map(state.at, state.timed) if current.waiting is not None]


def _scheduled_inputs(test: FlowTest, start: datetime) -> list[_Input]:
    def at(after: float | None) -> datetime | None:
        return None if after is None else start + timedelta(seconds=after)

    inputs: list[_Input] = [
        _DueSignal(at(one.after), key, one.payload) for key, given in test.signals.items() for one in given
    ]
    inputs += [_DueAnswer(at(one.after), node, one) for node, given in test.approvals.items() for one in given]
    if test.cancel_after is not None:
        inputs.append(_DueCancellation(at(test.cancel_after)))
    return inputs
