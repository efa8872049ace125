"""Active slots are counted from the executions that hold them, and assigned in the order of requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.journal import Append
from flowrunner.storage import journal as journal_module
from flowrunner.storage.active_slots import SqlActiveSlots
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.journal import SqlJournal
from support.databases import MARA, NOON, OMAR, Place, completion, creation, open_database, rows_of

from .samples import ALL

LIMITS = WorkspaceLimits(active=2, queued=3)


@pytest.fixture
def slots(database: Database) -> SqlActiveSlots:
    return SqlActiveSlots(database)


def counted(id: str, *, epoch: int, limits: WorkspaceLimits = LIMITS, second: int = 0, **given: object) -> Append:
    append = creation(id, epoch=epoch, at=NOON + timedelta(seconds=second), **given)  # type: ignore[arg-type]
    assert append.create is not None
    return replace(append, create=replace(append.create, limits=limits))


async def create(journal: SqlJournal, *ids: str) -> int:
    """Create some executions, a second apart, and return the epoch."""
    epoch = await journal.epoch()
    for second, id in enumerate(ids):
        await journal.append(counted(id, epoch=epoch, second=second))
    return epoch


def holders(path: Place) -> Sequence[str]:
    return [id for (id,) in rows_of(path, "SELECT id FROM executions WHERE is_active ORDER BY id")]


async def test_executions_beyond_the_limit_wait_until_too_many_do(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    assert not await slots.has_waiting()
    epoch = await journal.epoch()
    answers = await asyncio.gather(
        *(journal.append(counted(f"exec-{n}", epoch=epoch)) for n in range(8)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [type(None)] * 5 + [TooManyRequests] * 3
    assert holders(path) == ["exec-0", "exec-1"]
    assert [await slots.is_waiting(ExecutionId(f"exec-{n}")) for n in range(6)] == [False] * 2 + [True] * 3 + [False]
    assert await slots.workspaces_waiting() == [MARA]
    assert await slots.has_waiting()
    # Another account has its own limit.
    await journal.append(counted("exec-omar", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar"))
    assert "exec-omar" in holders(path)


async def test_an_execution_that_waits_for_a_slot_says_so(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    await create(journal, "exec-1", "exec-2", "exec-3")
    database = open_database(path)
    try:
        reader = SqlExecutions(database)
        waits = [(await reader.get(MARA, ExecutionId(f"exec-{n}"))).waiting_for for n in (1, 2, 3)]
        assert waits == [None, None, b'[{"type":"room","until":null}]']
        listed = (await reader.page(MARA, ExecutionFilter(), ALL)).items
        assert {one.id: one.waiting_at for one in listed} == {
            "exec-1": None, "exec-2": None, "exec-3": b'{"type":"room"}',
        }  # fmt: skip
        await slots.leave(ExecutionId("exec-1"), await journal.epoch())
        assert (await slots.enter(ExecutionId("exec-3"), most=2, at=NOON)).is_active
        assert (await reader.get(MARA, ExecutionId("exec-3"))).waiting_for is None
    finally:
        await database.close()


async def test_an_execution_that_holds_a_slot_enters_without_a_commit(journal: SqlJournal, path: Place) -> None:
    await create(journal, "exec-1")
    commits: list[int] = []
    database = open_database(path, on_commit=commits.append)
    try:
        assert (await SqlActiveSlots(database).enter(ExecutionId("exec-1"), most=2, at=NOON)).is_active
    finally:
        await database.close()

    assert commits == []


async def test_an_end_frees_a_slot_for_the_execution_that_has_waited_longest(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    epoch = await create(journal, "exec-9", "exec-8", "exec-7", "exec-6")
    assert await slots.admit_next(MARA, most=2) is None

    await journal.append(completion("exec-9", epoch=epoch, after=2))

    assert await slots.admit_next(MARA, most=2) == "exec-7"
    assert await slots.admit_next(MARA, most=2) is None
    # It is expected until a process takes it over.
    late = NOON + timedelta(minutes=1)
    assert await slots.expected(since=late, limit=10) == [("exec-7", MARA)]
    assert await slots.expected(since=NOON, limit=10) == []
    assert (await slots.enter(ExecutionId("exec-7"), most=2, at=late)).is_active
    assert await slots.expected(since=late, limit=10) == []


async def test_no_execution_overtakes_one_that_has_waited_longer(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    epoch = await create(journal, "exec-1", "exec-2", "exec-3", "exec-4")
    await journal.append(completion("exec-1", epoch=epoch, after=2))

    later = NOON + timedelta(minutes=1)
    assert not (await slots.enter(ExecutionId("exec-4"), most=2, at=later)).is_active
    assert (await slots.enter(ExecutionId("exec-3"), most=2, at=later)).is_active
    assert not (await slots.enter(ExecutionId("exec-4"), most=2, at=later)).is_active
    # An execution keeps its slot when the limit is lowered.
    assert (await slots.enter(ExecutionId("exec-3"), most=1, at=later)).is_active
    assert (await slots.enter(ExecutionId("exec-4"), most=None, at=later)).is_active


@pytest.mark.parametrize("is_asked", [True, False])
async def test_an_execution_that_has_ended_while_it_waited_holds_up_no_other(
    slots: SqlActiveSlots, journal: SqlJournal, is_asked: bool
) -> None:
    epoch = await create(journal, "exec-1", "exec-2", "exec-3", "exec-4")
    for id in ("exec-3", "exec-1"):
        await journal.append(completion(id, epoch=epoch, after=2))

    if is_asked:
        assert (await slots.enter(ExecutionId("exec-4"), most=2, at=NOON)).is_active
    else:
        assert await slots.admit_next(MARA, most=2) == "exec-4"

    assert await slots.admit_next(MARA, most=9) is None


async def test_an_entry_says_since_when_no_process_had_the_execution_with_a_slot(
    slots: SqlActiveSlots, journal: SqlJournal
) -> None:
    epoch = await create(journal, "exec-1", "exec-2", "exec-3")
    id, later = ExecutionId("exec-3"), NOON + timedelta(minutes=1)

    queued, again = await slots.enter(id, most=2, at=later), await slots.enter(id, most=2, at=later)
    await journal.append(completion("exec-1", epoch=epoch, after=2))
    assert await slots.admit_next(MARA, most=2) == id
    admitted, known = await slots.enter(id, most=2, at=later), await slots.enter(id, most=2, at=later)

    assert [entry.is_active for entry in (queued, again, admitted, known)] == [False, False, True, True]
    assert queued.queued_at is not None
    assert [entry.queued_at for entry in (again, admitted, known)] == [queued.queued_at, queued.queued_at, None]


async def test_waiting_executions_are_counted_until_a_process_takes_them_over(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    epoch = await create(journal, "exec-1", "exec-2", "exec-3")
    await journal.append(counted("exec-omar", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar"))
    assert await slots.waiting() == (4, NOON)

    mark = await journal.acquire(ExecutionId("exec-1"), epoch)
    assert (await slots.waiting()).number == 3
    await journal.append(completion("exec-1", epoch=mark))
    await slots.admit_next(MARA, most=2)
    assert (await slots.waiting()).number == 2, "the admitted one is about to be taken over"


async def test_the_longest_wait_is_that_for_a_slot_or_of_a_new_one_for_a_process(
    slots: SqlActiveSlots, journal: SqlJournal
) -> None:
    assert await slots.waiting() == (0, None)
    epoch = await create(journal, "exec-1", "exec-2", "exec-3")
    assert await slots.waiting() == (3, NOON)

    await journal.acquire(ExecutionId("exec-1"), epoch)
    assert await slots.waiting() == (2, NOON + timedelta(seconds=1))

    await journal.acquire(ExecutionId("exec-2"), epoch)
    # It waits for a slot.
    assert await slots.waiting() == (1, NOON + timedelta(seconds=2))


async def test_a_new_one_with_a_concurrency_limit_has_no_part_in_the_longest_wait(
    slots: SqlActiveSlots, journal: SqlJournal
) -> None:
    append = counted("exec-1", epoch=await journal.epoch())
    assert append.create is not None
    await journal.append(replace(append, create=replace(append.create, slot=ConcurrencySlot("key", 1))))

    assert await slots.waiting() == (1, None)


async def test_a_full_queue_is_found_without_a_write(slots: SqlActiveSlots, journal: SqlJournal) -> None:
    epoch = await create(journal, "exec-0")
    for n in range(1, 5):
        await slots.check_queue(MARA, LIMITS)
        await journal.append(counted(f"exec-{n}", epoch=epoch))

    with pytest.raises(TooManyRequests):
        await slots.check_queue(MARA, LIMITS)
    await slots.check_queue(MARA, WorkspaceLimits(active=2, queued=4))
    await slots.check_queue(MARA, WorkspaceLimits())
    await slots.check_queue(OMAR, WorkspaceLimits(active=1, queued=0))


async def test_only_the_process_that_has_an_execution_in_memory_releases_its_slot(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    epoch = await create(journal, "exec-1", "exec-2")
    id = ExecutionId("exec-1")
    stale, present = await journal.acquire(id, epoch), await journal.acquire(id, epoch)

    await slots.leave(id, stale)
    assert holders(path) == ["exec-1", "exec-2"]
    await slots.leave(id, present)
    assert holders(path) == ["exec-2"]


async def test_without_a_limit_every_execution_gets_a_slot(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place
) -> None:
    await create(journal, "exec-1", "exec-2", "exec-3", "exec-4")

    assert [await slots.admit_next(MARA, most=None) for _ in range(3)] == ["exec-3", "exec-4", None]


async def test_a_process_that_advances_all_executions_alone_releases_all_slots(
    slots: SqlActiveSlots, journal: SqlJournal, due: SqlDueExecutions, path: Place
) -> None:
    await create(journal, "exec-1", "exec-2", "exec-3")

    await journal.claim()

    assert holders(path) == []
    assert await slots.workspaces_waiting() == []
    assert [id for id, _ in await due.unfinished(after=None, limit=10)] == ["exec-1", "exec-2", "exec-3"]


async def test_an_execution_that_waits_for_a_slot_is_not_listed_as_unfinished(
    slots: SqlActiveSlots, journal: SqlJournal, due: SqlDueExecutions, path: Place
) -> None:
    await create(journal, "exec-1", "exec-2", "exec-3")
    late = NOON + timedelta(minutes=1)

    assert {id for id, _ in await due.unowned(since=late, limit=10)} == {"exec-1", "exec-2"}
    assert {id for id, _ in await due.unfinished(after=None, limit=10)} == {"exec-1", "exec-2"}


async def test_slots_are_released_one_page_at_a_time(
    slots: SqlActiveSlots, journal: SqlJournal, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(journal, *(f"exec-{n}" for n in range(5)))
    monkeypatch.setattr(journal_module, "_PAGE", 2)

    await journal.claim()

    assert holders(path) == []
    assert await slots.workspaces_waiting() == []
