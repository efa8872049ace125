"""Execution of one flow in this process, without a server. Nothing is stored."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from flowrunner.domain.errors import Conflict, InvalidInput, NotFound
from flowrunner.domain.events import Event, NodeWaiting
from flowrunner.domain.values import JSON, ExecutionId, rfc3339
from flowrunner.domain.waits import ApprovalWait, SignalWait
from flowrunner.flowtest.memory import NOBODY, GivenFlow, MemoryJournal, new_execution
from flowrunner.ids import new_id
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import Dispatcher, Signal
from flowrunner.ports.journal import Recorded, load_whole
from flowrunner.services.admission import InputForms
from flowrunner.services.signals import checked_data

# Receives events as they are recorded.
Watch = Callable[[ExecutionId, Sequence[Recorded]], None]

STUCK: Final = "no input was given for its waiting steps"
_BY: Final = "local"


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """Answer to an approval."""

    approved: bool
    data: JSON = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Inputs for waiting steps.

    Attributes:
        signals: Payloads by the signal's key. They are used in order, and the last one repeatedly.
        approvals: Answers by the name of the node.
    """

    signals: Mapping[str, Sequence[JSON]] = field(default_factory=dict)
    approvals: Mapping[str, ApprovalAnswer] = field(default_factory=dict)


@dataclass(slots=True)
class Watcher:
    """Implements `ports.Broadcast`, and keeps the waits for the runner."""

    watch: Watch
    waits: list[tuple[ExecutionId, NodeWaiting]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        self.watch(execution_id, records)
        self.waits += [(execution_id, r.event) for r in records if isinstance(r.event, NodeWaiting)]
        self.changed.set()

    def mark_stale(self, execution_id: ExecutionId) -> None:
        """Do nothing: events in memory are never missed."""


@dataclass(slots=True, kw_only=True)
class LocalRunner:
    """Runner of flows without a server.

    Attributes:
        config: The configuration values that are given.
        unanswered: Waits that were left when nothing could happen any more: `{step, node, type, …}`, as
            `domain.explain` writes them.
    """

    journal: MemoryJournal
    dispatcher: Dispatcher
    watcher: Watcher
    forms: InputForms
    schemas: SchemaEngine
    clock: Clock
    answers: Answers
    config: Mapping[str, JSON]
    unanswered: Sequence[Mapping[str, Any]] = ()
    _signals: dict[str, list[JSON]] = field(default_factory=dict)
    _pending: set["asyncio.Task[None]"] = field(default_factory=set)

    async def run(self, given: GivenFlow, input: Mapping[str, JSON]) -> Sequence[Event]:
        """Run the flow and every flow that it starts to the end; return its events.

        Raises:
            InvalidInput: With every fault, if the input does not match the inputs of the flow.
        """
        checked = await self.forms.check(NOBODY, given.revision_id, given.flow, input)
        self._signals = {key: list(payloads) for key, payloads in self.answers.signals.items()}
        now = self.clock.now()
        id = ExecutionId(new_id("exec", now))
        await self.dispatcher.start(new_execution(id, given, now, config=self.config), given.flow, checked)
        was_stuck = False
        while self.journal.open_ones:
            while self.watcher.waits:
                await self._answer(*self.watcher.waits.pop(0))
            if self._is_stuck:
                self.unanswered = [wait for open_one in self.journal.open_ones for wait in self._waits(open_one)]
                # A handler that waits is ended only by force.
                self.cancel(STUCK, force=was_stuck)
                was_stuck = True
            self.watcher.changed.clear()
            if not self.watcher.waits:
                await self.watcher.changed.wait()
        _, events = await load_whole(self.journal, id)
        return [event for event, _ in events]

    def cancel(self, reason: str, *, force: bool = False) -> None:
        """Cancel every open execution soon."""
        for id in self.journal.open_ones:
            self._later(self.dispatcher.cancel(id, reason=reason, force=force), name=f"cancel {id}")

    def _later(self, request: Coroutine[Any, Any, object], *, name: str) -> None:
        async def send() -> None:
            try:
                await request
            except (Conflict, NotFound):
                # The execution has ended meanwhile.
                return

        def on_done(task: "asyncio.Task[None]") -> None:
            self._pending.discard(task)
            self.watcher.changed.set()

        task = asyncio.create_task(send(), name=name)
        self._pending.add(task)
        task.add_done_callback(on_done)

    async def _answer(self, id: ExecutionId, event: NodeWaiting) -> None:
        given: list[tuple[str, JSON]]
        match event.wait_for:
            case SignalWait(key=key) if payloads := self._signals.get(key):
                given = [(_BY, payloads.pop(0) if len(payloads) > 1 else payloads[0])]
            case ApprovalWait() as wait if (answer := self.answers.approvals.get(event.node)) is not None:
                try:
                    data = checked_data(wait.form, answer.data, approved=answer.approved, schemas=self.schemas)
                except (InvalidInput, Conflict) as error:
                    self.cancel(f"the answer to '{event.node}' does not fit its form: {error}")
                    return
                at = rfc3339(self.clock.now())
                # As many accounts approve as are needed.
                names = [_BY] + [f"{_BY}-{number}" for number in range(2, wait.needed + 1)]
                given = [(by, {"approved": answer.approved, "by": by, "at": at, "data": data}) for by in names]
                given = given if answer.approved else given[:1]
            case _:
                return
        step = str(event.step)
        for by, payload in given:
            signal = Signal(key=event.signal_key or "", payload=payload, by=by, if_awaited=True)
            self._later(self.dispatcher.signal(id, signal), name=f"answer {step}")

    @property
    def _is_stuck(self) -> bool:
        """Return whether nothing can happen any more."""
        open_ones = self.journal.open_ones
        for id in open_ones:
            summary = self.journal.summary(id)
            if not summary.is_idle or summary.wake_at is not None:
                return False
            # The end of a child execution may not have been delivered yet.
            for wait in self._waits(id):
                if wait["type"] == "flow" and wait["execution_id"] not in open_ones:
                    return False
        return bool(open_ones) and not self._pending

    def _waits(self, id: ExecutionId) -> Sequence[Mapping[str, Any]]:
        waits: Sequence[Mapping[str, Any]] = msgspec.json.decode(self.journal.summary(id).waiting_for or b"[]")
        return waits
