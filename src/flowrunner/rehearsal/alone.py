"""Runs one flow for real, without a server: nothing of it outlives the process."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from flowrunner.domain.errors import Conflict, NotFound
from flowrunner.domain.execution import Event, Status
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports import Clock, Dispatcher, Recorded
from flowrunner.rehearsal.memory import GivenFlow, MemoryJournal, new_execution
from flowrunner.services.admission import InputForms
from flowrunner.services.ids import new_id

STUCK: Final = "it waits for a signal or an approval, and without a server nobody can give one"

# Is told of events as they are recorded.
Watch = Callable[[ExecutionId, Sequence[Recorded]], None]


@dataclass(slots=True)
class Watcher:
    """Fills `ports.Broadcast`."""

    watch: Watch
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, execution_id: ExecutionId, records: Sequence[Recorded]) -> None:
        self.watch(execution_id, records)
        self.changed.set()


@dataclass(slots=True, kw_only=True)
class Alone:
    """What runs flows without a server."""

    journal: MemoryJournal
    dispatcher: Dispatcher
    watcher: Watcher
    forms: InputForms
    clock: Clock
    _asked: set["asyncio.Task[None]"] = field(default_factory=set)

    async def run(self, given: GivenFlow, input: Mapping[str, JSON]) -> Sequence[Event]:
        """Done when the flow has ended, and every other that it has started; gives its events.

        Raises:
            InvalidInput: With every fault, if the input is not what the flow asks for.
        """
        checked = self.forms.check(given.revision_id, given.flow, input)
        now = self.clock.now()
        id = ExecutionId(new_id("exec", now))
        await self.dispatcher.start(new_execution(id, given, now), given.flow, checked)
        while self.journal.open_ones:
            if self._is_stuck:
                self.cancel(STUCK)
            self.watcher.changed.clear()
            await self.watcher.changed.wait()
        _, events = await self.journal.load(id)
        return [event for event, _ in events]

    def cancel(self, reason: str) -> None:
        """End soon whatever is under way."""
        for id in self.journal.open_ones:
            task = asyncio.create_task(self._cancel(id, reason), name=f"cancel {id}")
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _cancel(self, id: ExecutionId, reason: str) -> None:
        try:
            await self.dispatcher.cancel(id, reason=reason)
        except (Conflict, NotFound):
            # It has ended meanwhile.
            return

    @property
    def _is_stuck(self) -> bool:
        """Whether nothing can happen any more."""
        open_ones = self.journal.open_ones
        for id in open_ones:
            summary = self.journal.summary(id)
            if summary.status is not Status.WAITING or summary.wake_at is not None:
                return False
            # The end of another flow may be on its way.
            for wait in msgspec.json.decode(summary.waiting_for or b"[]"):
                if wait["type"] == "flow" and wait["execution_id"] not in open_ones:
                    return False
        return bool(open_ones)
