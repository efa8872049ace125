"""Advances executions by a clock that stands still while they act, and leaps to the next moment when none does."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.errors import Conflict, InvalidInput
from flowrunner.domain.execution import ExecutionState, StepState, replay
from flowrunner.domain.expression.script import Script, ScriptFault, ScriptOutcome
from flowrunner.domain.flow import Flow
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.flowtest.memory import MemoryJournal
from flowrunner.flowtest.paths import path_of
from flowrunner.language.flow_tests import FlowTest, NodePath, dotted_path
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports import Cancel, Engine, NewExecution, Recorded, Sandbox, Signal
from flowrunner.services.signals import checked_data


class VirtualClock:
    """Fills `ports.Clock`."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def leap(self, to: datetime) -> None:
        self._now = max(to, self._now)


@dataclass(frozen=True, slots=True)
class ClockedSandbox:
    """Evaluates JavaScript at the time of a test's clock. Fills `ports.Sandbox`."""

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

    async def check(self, scripts: Sequence[Script]) -> Sequence[ScriptFault | None]:
        return await self.sandbox.check(scripts)


class NullBroadcast:
    """Fills `ports.Broadcast`."""

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        pass

    def mark_stale(self, execution_id: ExecutionId) -> None:
        pass


@dataclass(slots=True)
class _Cue:
    """Something that comes from outside.

    Attributes:
        at: Not before then; None for as soon as it is waited for.
        key: The signal, or None.
        approval: The node whose approval it answers, or None. Without either it is the wish to cancel.
    """

    at: datetime | None
    payload: JSON = None
    key: str | None = None
    approval: NodePath | None = None


@dataclass(slots=True)
class VirtualTimeDispatcher:
    """Fills `ports.Dispatcher`. One execution acts at a time, in a fixed order.

    Attributes:
        problem: Is told what keeps a test from meaning anything.
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
        # The start of one is not cut off here half-way.
        pass

    def release_slot(self, key: str) -> None:
        pass

    def replace(self, by: ExecutionId) -> None:
        pass

    def waits_to_become_active(self, id: ExecutionId) -> bool:
        return False

    # Time

    async def play(self, id: ExecutionId, flow: Flow, test: FlowTest) -> None:
        """Go on until nothing moves any more; ``test`` says what comes from outside to execution ``id``."""
        cues = _cues(test, self.clock.now())
        while True:
            while self._ready:
                await self._advance(next(iter(self._ready)))
            is_open = id in self.journal.open_ones
            if is_open and await self._give_cue(id, flow, cues):
                continue
            now = self.clock.now()
            moments = list(self._due.values())
            if is_open:
                moments += [cue.at for cue in cues if cue.at is not None and cue.at > now]
            if not moments:
                return
            self.clock.leap(min(moments))
            for due in [due for due, at in self._due.items() if at <= self.clock.now()]:
                del self._due[due]
                self._ready[due] = None

    async def _advance(self, id: ExecutionId) -> None:
        del self._ready[id]
        self._due.pop(id, None)
        run = await self.engine.load(id)
        mail, reason = self._mail.pop(id, ()), self._cancels.pop(id, None)
        if run is None:
            return
        for signal in mail:
            # Nobody waits for the answer: what is taken is in the journal.
            run.receive(signal, asyncio.get_running_loop().create_future())
        if reason is not None:
            run.cancel(Cancel(reason=reason))
        at = await run.advance()
        if at is not None:
            self._due[id] = at

    async def _give_cue(self, id: ExecutionId, flow: Flow, cues: list[_Cue]) -> bool:
        """Whether something came from outside just now."""
        now = self.clock.now()
        waiting: list[StepState] | None = None
        for cue in cues:
            if cue.at is not None and cue.at > now:
                continue
            is_asked_for = cue.approval is not None or (cue.key is not None and cue.at is None)
            if is_asked_for and waiting is None:
                waiting = await self._waiting(id)
            signal = _signal(cue, flow, waiting or [], now)
            if is_asked_for and signal is None:
                continue
            cues.remove(cue)
            if cue.approval is not None and signal is not None:
                signal = self._checked(cue.approval, signal, waiting or [])
                if signal is None:
                    return True
            if signal is None:
                self.cancel_soon(id, reason="cancelled by the test")
            else:
                self.child_ended(id, signal)
            return True
        return False

    def _checked(self, approval: NodePath, answer: Signal, waiting: Sequence[StepState]) -> Signal | None:
        """The answer with the defaults of its form filled in; None if it does not fit."""
        details = next(c.waiting.details for c in waiting if c.waiting is not None and c.waiting.key == answer.key)
        assert isinstance(details, dict), "an approval says what it is about"
        assert isinstance(answer.payload, dict), "an answer is an object"
        given, is_yes = answer.payload["data"], bool(answer.payload["approved"])
        try:
            data = checked_data(details.get("form"), given, approved=is_yes, schemas=self.schemas)
        except (InvalidInput, Conflict) as error:
            self.problem(f"the answer to '{dotted_path(approval)}' does not fit its form: {error}")
            return None
        return replace(answer, payload={**answer.payload, "data": data})

    async def _waiting(self, id: ExecutionId) -> list[StepState]:
        _, events = await self.journal.load(id)
        state: ExecutionState = replay(events)
        return [current for current in map(state.at, state.timed) if current.waiting is not None]


def _signal(cue: _Cue, flow: Flow, waiting: Sequence[StepState], now: datetime) -> Signal | None:
    """What the execution is told; None where it is not told of signals, or waits for none."""
    if cue.key is not None:
        signal = Signal(key=f"signal:{cue.key}", payload=cue.payload)
        is_awaited = any(c.waiting is not None and c.waiting.key == signal.key for c in waiting)
        return signal if is_awaited or cue.at is not None else None
    for current in waiting:
        key = current.waiting.key if current.waiting is not None else None
        is_approval = key is not None and key.startswith("approval:")
        if is_approval and key is not None and path_of(flow, str(current.step)) == cue.approval:
            assert isinstance(cue.payload, dict), "an answer is an object"
            at = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return Signal(key=key, payload={**cue.payload, "at": at})
    return None


def _cues(test: FlowTest, start: datetime) -> list[_Cue]:
    def at(after: float | None) -> datetime | None:
        return None if after is None else start + timedelta(seconds=after)

    cues = [_Cue(at(s.after), s.payload, key=key) for key, given in test.signals.items() for s in given]
    for path, answers in test.approvals.items():
        for answer in answers:
            payload: JSON = {"approved": answer.approved, "by": answer.by, "data": answer.data}
            cues.append(_Cue(at(answer.after), payload, approval=path))
    if test.cancel_after is not None:
        cues.append(_Cue(at(test.cancel_after)))
    return cues
