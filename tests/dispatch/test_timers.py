"""Which waits the timers find by their rows, however many there are, and when they look again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from flowrunner.clock import SystemClock
from flowrunner.dispatch import timers
from flowrunner.dispatch.timers import Timers
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.ports.journal import Summary
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.journal import SqlJournal
from support.databases import add_flows, creation, new_database_file, open_database

# More than the timers take up in one look.
MANY: Final = 1200
LONG_AGO: Final = timedelta(hours=-1)


class CountedDue(SqlDueExecutions):
    """Counts the looks, and holds one up if it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.looks = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.has_looked = asyncio.Event()

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        self.looks += 1
        return await super().due(now=now, limit=limit)

    async def next_wake(self, *, after: datetime) -> datetime | None:
        found = await super().next_wake(after=after)
        self.has_looked.set()
        await self.may_answer.wait()
        return found


class Waits:
    """Executions that wait for a time, and timers that look after them."""

    def __init__(self, database: Database) -> None:
        self.journal, self.due = SqlJournal(database), CountedDue(database)
        self.in_memory: set[ExecutionId] = set()
        self.queued: set[ExecutionId] = set()
        self.put_off: set[ExecutionId] = set()
        self.taken_up: set[ExecutionId] = set()
        self.timers = Timers(
            self.due, SystemClock(), self._take_up, in_memory=self.in_memory, queued=self.queued, put_off=self.put_off
        )

    def _take_up(self, id: ExecutionId, workspace_id: WorkspaceId) -> None:
        if id not in self.in_memory | self.queued | self.put_off:
            self.in_memory.add(id)
            self.taken_up.add(id)

    async def add(self, *ids: str, after: timedelta) -> datetime:
        """Make rows of executions that wait for that moment; gives it."""
        due_at = SystemClock().now() + after
        summary = Summary(status=Status.RUNNING, is_idle=True, wake_at=due_at)
        epoch = await self.journal.epoch()
        await asyncio.gather(*(self.journal.append(replace(creation(id, epoch=epoch), summary=summary)) for id in ids))
        return due_at

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self.timers.watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def until_taken_up(self, *ids: str) -> None:
        # Less than the longest nap: nothing is found because it is looked for without a reason.
        async with asyncio.timeout(timers._LONGEST_NAP_SECONDS / 10):
            while not self.taken_up >= set(ids):  # noqa: ASYNC110 # it is the timers' own task that adds to it
                await asyncio.sleep(0.01)


@pytest.fixture
async def waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Waits]:
    monkeypatch.setattr(timers, "_LONGEST_NAP_SECONDS", 600.0)
    database = open_database(add_flows(new_database_file(tmp_path / "flowrunner.db")))
    yield Waits(database)
    await database.close()


async def test_all_that_are_due_are_taken_up_however_many_they_are(waits: Waits) -> None:
    ids = [f"e{n:04}" for n in range(MANY)]
    await waits.add(*ids, after=LONG_AGO)

    async with waits.watched():
        await waits.until_taken_up(*ids)


@pytest.mark.parametrize("known", ["in_memory", "queued", "put_off"])
async def test_one_that_is_due_is_found_behind_any_number_that_are_known(waits: Waits, known: str) -> None:
    """What is known stays due by its row until it has gone on, and was due before this one."""
    ids = [ExecutionId(f"e{n:04}") for n in range(MANY)]
    await waits.add(*ids, after=LONG_AGO)
    await waits.add("behind", after=timedelta(0))
    getattr(waits, known).update(ids)

    async with waits.watched():
        await waits.until_taken_up("behind")

    assert waits.taken_up == {"behind"}


async def test_a_wait_that_begins_during_a_look_is_not_left_to_the_next_one(waits: Waits) -> None:
    waits.due.may_answer.clear()
    async with waits.watched():
        await waits.due.has_looked.wait()
        # All rows have been read by now.
        due_at = await waits.add("parked", after=timedelta(seconds=0.2))
        waits.timers.expect(due_at)
        waits.due.may_answer.set()

        await waits.until_taken_up("parked")


async def test_a_wait_that_ends_before_the_next_look_makes_it_earlier(waits: Waits) -> None:
    async with waits.watched():
        await waits.due.has_looked.wait()
        await asyncio.sleep(0.05)
        due_at = await waits.add("soon", after=timedelta(seconds=0.2))
        waits.timers.expect(due_at)

        await waits.until_taken_up("soon")


async def test_a_wait_that_ends_after_the_next_look_leaves_it_where_it_is(waits: Waits) -> None:
    async with waits.watched():
        await waits.due.has_looked.wait()
        await asyncio.sleep(0.05)
        looks = waits.due.looks
        for _ in range(20):
            waits.timers.expect(SystemClock().now() + timedelta(hours=1))
            await asyncio.sleep(0.01)

        assert waits.due.looks == looks


async def test_executions_that_are_due_and_wait_to_be_loaded_do_not_move_the_next_look(waits: Waits) -> None:
    await waits.add("queued", after=LONG_AGO)
    waits.queued.add(ExecutionId("queued"))
    due_at = await waits.add("later", after=timedelta(seconds=300))

    async with waits.watched():
        await waits.due.has_looked.wait()
        await asyncio.sleep(0.05)

        assert abs(waits.timers._next_check_at - due_at) < timedelta(seconds=10)
