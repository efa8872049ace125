"""Executions with very many events, or large ones: other tasks run while they are read."""

import asyncio
import gc
import sqlite3
import time
import tracemalloc
from collections.abc import Awaitable
from contextlib import closing
from pathlib import Path
from typing import Final, TypeVar

import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import Logged
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.event_log import Replay
from flowrunner.ports.journal import Unreadable, load_whole
from flowrunner.security.memory_room import FairMemory
from flowrunner.storage import journal as journal_module
from flowrunner.storage.journal import PAGE_OF_EVENTS, SqlJournal
from flowrunner.storage.step_events import OF_SCOPES, PAGE_WITHOUT_LOGS
from flowrunner.storage.transaction import Statement
from support.databases import MARA, Place, change, completion, creation, following, log_line

LONGEST_TURN_SECONDS: Final = 0.25
MANY: Final = 100_000
LARGE: Final = 40

T = TypeVar("T")


async def longest_iteration(work: Awaitable[T]) -> tuple[float, T]:
    """Return the most processor time of one iteration of the event loop during the work, and its result."""
    # A garbage collection would traverse all objects of the test run, which no server has. They stay frozen, as after
    # the collection of tests.
    gc.collect()
    gc.freeze()
    working = asyncio.ensure_future(work)
    longest, before = 0.0, time.thread_time()
    while not working.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, before = max(longest, now - before), now
    return longest, await working


async def add_events(place: Place, journal: SqlJournal, count: int, *, large_ones: int = LARGE) -> ExecutionId:
    """Create an open execution with that many log lines, the last ones large."""
    epoch = await journal.claim()
    await journal.append(creation("long", epoch=epoch))
    small, large = '{"level":"info","message":"x"}', f'{{"level":"info","message":"{"x" * 900_000}"}}'
    size = (count - large_ones) * len(small) + large_ones * len(large)
    change(place, "UPDATE executions SET last_seq = last_seq + ?, size = size + ? WHERE id = 'long'", count, size)
    numbers = f"SELECT n FROM generate_series(1, {count}) AS numbers (n)"
    if isinstance(place, Path):
        numbers = f"WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count}) SELECT n FROM t"
    change(
        place,
        "INSERT INTO events (execution_id, seq, at, type, data) SELECT 'long', n + 2, n, 'log',"
        f" CASE WHEN n > {count - large_ones} THEN '{large}' ELSE '{small}' END FROM ({numbers}) AS numbered",
    )
    return ExecutionId("long")


async def test_a_long_execution_is_loaded_in_short_iterations(journal: SqlJournal, path: Place) -> None:
    id = await add_events(path, journal, MANY)

    longest, (stored, events) = await longest_iteration(load_whole(journal, id))

    assert stored.id == id
    assert len(events) == MANY + 2
    assert isinstance(events[-1][0], Logged)
    assert [round(at.timestamp() * 1000) for _, at in events[2:]] == list(range(1, MANY + 1))
    assert longest <= LONGEST_TURN_SECONDS


async def test_a_long_execution_is_loaded_in_little_memory(journal: SqlJournal, path: Place) -> None:
    id = await add_events(path, journal, 5_000)
    replay = Replay()

    tracemalloc.start()
    try:
        stored = await journal.load(id, replay.add)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (replay.state.seq, replay.state.log_lines) == (5_002, 5_000)
    assert stored.last_seq == 5_002
    # The large events alone have 36 MB.
    assert peak <= 12 * 1024 * 1024


async def test_room_is_taken_for_all_events_although_a_part_of_them_is_read_at_a_time(
    journal: SqlJournal, path: Place
) -> None:
    id = await add_events(path, journal, 20, large_ones=8)
    memory = FairMemory()
    loading = memory.loading()

    stored = await journal.load(id, Replay().add, loading)

    # In MiB.
    assert memory.memory.held(MARA) >= stored.size / 1024**2
    loading.give_back()
    assert memory.memory.held(MARA) == 0


@pytest.mark.parametrize("page", [PAGE_OF_EVENTS, PAGE_WITHOUT_LOGS, OF_SCOPES])
def test_sqlite_reads_no_event_behind_a_page(page: Statement) -> None:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE events (execution_id, seq, at, type, data, PRIMARY KEY (execution_id, seq))")
        connection.executemany("INSERT INTO events VALUES ('long', ?, 0, 'x', '{  }')", [(n,) for n in range(1, 1001)])
        connection.set_progress_handler(count, 1)
        values = {"id": "long", "after": 500, "until": 1000, "scopes": '[""]', "limit": 1000, "characters": 8}
        rows = connection.execute(page.sqlite, values).fetchall()

    assert [seq for seq, *_ in rows] == [501, 502]
    # About 20 for each event that is looked at.
    assert steps <= 500


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
async def test_pages_that_end_with_the_last_event_or_beside_it(
    journal: SqlJournal, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_PAGE", 2)
    monkeypatch.setattr(journal_module, "_EVENTS_A_PORTION", 2)
    epoch = await journal.claim()
    first = creation("e", epoch=epoch)
    later = [following("e", log_line(str(n)), epoch=epoch, after=2 + n) for n in range(count)]
    for append in (first, *later):
        await journal.append(append)

    _, events = await load_whole(journal, ExecutionId("e"))

    assert events == [(record.event, record.at) for append in (first, *later) for record in append.records]


@pytest.mark.parametrize("gone", ["seq <= 1", "seq <= 3", "seq <= 5", "seq > 3", "seq > 0"])
@pytest.mark.parametrize("is_ended", [True, False])
async def test_an_execution_without_all_its_events_is_being_deleted_or_cannot_be_read(
    journal: SqlJournal, path: Place, gone: str, is_ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_PAGE", 2)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(following("e", *(log_line() for _ in range(4)), epoch=epoch, after=2))
    if is_ended:
        await journal.append(completion("e", epoch=epoch, after=6))
    change(path, f"DELETE FROM events WHERE {gone}")

    # Only executions that have ended are deleted.
    with pytest.raises(NotFound if is_ended else Unreadable):
        await load_whole(journal, ExecutionId("e"))
