"""A scenario that goes through an execution, a restart and a cancellation, in processes that die at chosen writes."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from flowrunner.domain.errors import Conflict, NotFound, Unavailable
from flowrunner.domain.execution import Event, NodeWaiting
from flowrunner.domain.values import ExecutionId
from flowrunner.plugin import HttpAnswer
from flowrunner.ports import Append, DuplicateRequest, Journal, Recorded, StoredExecution, Unsettled
from flowrunner.storage.sqlite.database import SqliteDatabase
from support.databases import new_database_file
from support.invariants import check_accepted, check_database, check_effects
from support.world import FakeHttp, Machine, Request, SteppingClock, answer, machine

# Before: nothing was written. After: it was, and whoever waits for the answer never gets it. Between
# the two there is a moment only for a journal that does not write in one transaction.
Moment = Literal["before", "between", "after"]

FLOW: Final = """
nodes:
  fetch: {type: http.request, params: {url: "http://peer/flaky"}, retry: {max: 3, delay: 1ms}, next: shape}
  shape: {type: transform, params: {value: {got: "${input.status_code}"}}, next: rest}
  rest: {type: delay, params: {duration: 1h}, next: tell}
  tell: {type: webhook, params: {url: "http://peer/tell"}, next: {default: done, error: done}}
  done: {type: return, params: {value: "${nodes.shape.result.got}"}}
"""
SLOW_FLOW: Final = (
    "nodes: {hang: {type: http.request, params: {url: 'http://peer/hang'}, next: after}, after: {type: return}}"
)

Wrap = Callable[[Journal, "Fate", SqliteDatabase], Journal]


@dataclass
class Fate:
    """When the processes of one scenario die.

    Attributes:
        crash_at: Which writes are the last of their process; the first is 1. Counted anew after each crash.
    """

    crash_at: Sequence[int]
    moment: Moment
    writes: int = 0
    deaths: int = 0
    is_dead: bool = False
    died: asyncio.Event = field(default_factory=asyncio.Event)

    def is_last_write(self) -> bool:
        self.writes += 1
        return self.deaths < len(self.crash_at) and self.writes == self.crash_at[self.deaths]

    async def die(self) -> None:
        """From here on nothing of this process happens any more."""
        self.deaths += 1
        self.is_dead = True
        self.died.set()
        await asyncio.Event().wait()

    def be_born(self) -> None:
        self.is_dead, self.writes = False, 0
        self.died.clear()


class CrashingJournal:
    """A journal whose process dies at a write. Fills `ports.Journal`."""

    def __init__(self, inner: Journal, fate: Fate) -> None:
        self._inner = inner
        self.fate = fate

    async def append(self, append: Append) -> None:
        await self.point("before")
        await self._inner.append(append)
        await self.point("after")

    async def claim(self) -> int:
        await self.point("before")
        epoch = await self._inner.claim()
        await self.point("after")
        return epoch

    async def point(self, moment: Moment) -> None:
        """A place where a process may die."""
        if self.fate.is_dead:
            await asyncio.Event().wait()
        if moment == self.fate.moment and self.fate.is_last_write():
            await self.fate.die()

    async def load(self, id: ExecutionId) -> tuple[StoredExecution, Sequence[tuple[Event, datetime]]]:
        return await self._inner.load(id)

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        return await self._inner.events(id, after=after, limit=limit)

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[ExecutionId]:
        return await self._inner.unfinished(after=after, limit=limit)

    async def due(self, *, now: datetime, limit: int) -> Sequence[ExecutionId]:
        return await self._inner.due(now=now, limit=limit)

    async def next_wake(self) -> datetime | None:
        return await self._inner.next_wake()

    async def admit(self, key: str) -> ExecutionId | None:
        await self.point("before")
        id = await self._inner.admit(key)
        await self.point("after")
        return id

    async def queued_keys(self) -> Sequence[str]:
        return await self._inner.queued_keys()

    async def sharing_turn(self, key: str) -> Sequence[ExecutionId]:
        return await self._inner.sharing_turn(key)

    async def unsettled(self, parent: ExecutionId | None = None) -> Sequence[Unsettled]:
        return await self._inner.unsettled(parent)


@dataclass
class Scenario:
    """What outlives the processes: the file, the other side, the clock, and the caller's own book.

    Attributes:
        accepted: The id of each execution whose start was answered, by what it is called here.
    """

    path: Path
    fate: Fate
    wrap: Wrap = lambda inner, fate, database: CrashingJournal(inner, fate)
    patience_seconds: float = 20.0
    clock: SteppingClock = field(default_factory=SteppingClock)
    http: FakeHttp = field(default_factory=FakeHttp)
    accepted: dict[str, ExecutionId] = field(default_factory=dict)
    asked: int = 0

    def __post_init__(self) -> None:
        self.http.is_cut = lambda: self.fate.is_dead
        self.http.at("http://peer/flaky", answer(503), answer())
        self.http.at("http://peer/hang", _hang)

    def _journal(self, inner: Journal, database: SqliteDatabase) -> Journal:
        return self.wrap(inner, self.fate, database)

    async def play(self) -> list[str]:
        """Go through everything, with as many lives as it takes; gives the violations found afterwards."""
        new_database_file(self.path)
        parts = [self._save, self._run_until_parked, self._run_to_the_end, self._cancel_one, self._look_again]
        for part in parts:
            while not await self._live(part):
                self.fate.be_born()
        keys = [request.key for request in self.http.requests]
        return [
            *check_database(self.path),
            *check_accepted(self.path, self.accepted.values()),
            *check_effects(self.path, keys),
        ]

    async def _live(self, part: Callable[[Machine], object]) -> bool:
        """One process; whether it got through its part."""

        async def live() -> None:
            async with machine(self.path, clock=self.clock, http=self.http, wrap=self._journal) as process:
                # What is then missing is for the checks to find.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.patience_seconds):
                        await part(process)  # type: ignore[misc]

        living, dying = asyncio.ensure_future(live()), asyncio.ensure_future(self.fate.died.wait())
        await asyncio.wait((living, dying), return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if self.fate.is_dead:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
            return False
        await living
        return True

    # The parts; each may be begun any number of times

    async def _save(self, process: Machine) -> None:
        await process.save(FLOW, "ordinary")
        await process.save(SLOW_FLOW, "slow")

    async def _start(self, process: Machine, name: str) -> ExecutionId:
        """Ask for an execution until there is an answer, as a careful caller does."""
        if name not in self.accepted:
            self.asked += 1
            try:
                id = await process.start(name, id=f"{name}-{self.asked}", key=f"key-of-{name}")
            except DuplicateRequest as repeat:
                id = repeat.execution_id
            except Unavailable:
                return await self._start(process, name)
            self.accepted[name] = id
        return self.accepted[name]

    async def _run_until_parked(self, process: Machine) -> None:
        id = await self._start(process, "ordinary")

        async def rests() -> bool:
            try:
                events = await process.events(id)
            except NotFound:
                return False
            return any(isinstance(event, NodeWaiting) for event in events) and process.dispatcher.active == 0

        await process.until(rests, seconds=self.patience_seconds)

    async def _run_to_the_end(self, process: Machine) -> None:
        self.clock.advance(hours=2)
        process.look_at_timers()
        await self._until_ended(process, self.accepted["ordinary"])

    async def _cancel_one(self, process: Machine) -> None:
        id = await self._start(process, "slow")

        async def hangs() -> bool:
            return any(r.url == "http://peer/hang" for r in self.http.requests)

        await process.until(hangs, seconds=self.patience_seconds)
        with contextlib.suppress(Conflict):
            await process.dispatcher.cancel(id, reason="by hand")

    async def _look_again(self, process: Machine) -> None:
        """A start with nothing left to do."""
        for id in self.accepted.values():
            await self._until_ended(process, id)

    async def _until_ended(self, process: Machine, id: ExecutionId) -> None:
        with contextlib.suppress(NotFound):
            await process.until_ended(id, seconds=self.patience_seconds)


async def _hang(request: Request) -> HttpAnswer:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


class RefusingJournal(CrashingJournal):
    """A journal whose write at a chosen moment is answered as refused, in a process that lives on.

    Refused before, nothing was written; refused after, it was, and nobody can tell.
    """

    async def point(self, moment: Moment) -> None:
        if moment == self.fate.moment and self.fate.is_last_write():
            self.fate.deaths += 1
            raise Unavailable("The database cannot be written at the moment")
