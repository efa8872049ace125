"""The steps of executions, read from both databases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import Event, NodeCompleted, NodeStarted
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.steps import StoredEvent
from flowrunner.security.memory_room import FairBodies
from flowrunner.services import steps as steps_module
from flowrunner.services.steps import Steps, StepView
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.step_events import SqlStepEvents
from services.callers import caller_of
from support.databases import MARA, OMAR, Place, change, completion, creation, following, log_line

ID = ExecutionId("e")


@dataclass
class Counted:
    """The events of a database, and how many were read for the index and for values."""

    events: SqlStepEvents
    indexed: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)

    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        found = await self.events.after(id, seq, limit=limit, are_small=are_small)
        self.indexed += [event.seq for event in found]
        self.pages.append(len(found))
        return found

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        found = await self.events.numbered(id, seqs)
        self.shown += [event.seq for event in found]
        return found


def run_of_b(number: int, result: Any = 1) -> list[Event]:
    common: Any = {"node": "b", "node_type": "log", "iteration": number, "attempt": 1}
    return [NodeStarted(**common), NodeCompleted(**common, action="default", result=result)]


@pytest.fixture
def events(database: Database) -> Counted:
    return Counted(SqlStepEvents(database))


@pytest.fixture
def steps(journal: SqlJournal, events: Counted) -> Steps:
    return Steps(journal, events, cast("Any", None), FairBodies())


async def page(steps: Steps, *, after: int = 0, limit: int = 100, caller: Caller | None = None) -> Sequence[StepView]:
    views, _ = await steps.page(caller or caller_of(MARA), ID, after=after, limit=limit, scope=None, step=None)
    return views


async def test_each_event_is_indexed_once_and_a_page_reads_only_what_it_shows(
    journal: SqlJournal, steps: Steps, events: Counted
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=[1])
    await journal.append(following("e", log_line(), done, *run_of_b(1), epoch=epoch, after=2))

    first, second = await page(steps)
    assert events.indexed == [1, 2, 4, 5, 6]
    assert (first.id, first.status, second.id) == (2, "completed", 5)
    assert second.input is not None
    assert second.input.value == b"[1]"

    await journal.append(following("e", *run_of_b(2, "new"), epoch=epoch, after=6))
    events.shown.clear()
    (third,) = await page(steps, after=5)
    assert events.indexed == [1, 2, 4, 5, 6, 7, 8]
    assert events.shown == [6, 8]
    assert third.result is not None
    assert third.result.value == b'"new"'


async def test_a_page_indexes_no_more_events_than_it_needs(
    journal: SqlJournal, steps: Steps, events: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "_INDEXED_AT_MOST", 20)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=1)
    runs = [event for number in range(1, 50) for event in run_of_b(number)]
    await journal.append(following("e", done, *runs, epoch=epoch, after=2))

    first = await page(steps, limit=3)
    assert ([view.id for view in first], events.indexed[-1]) == ([2, 4, 6], 20)
    await page(steps, limit=3)
    assert events.indexed[-1] == 20
    following_page = await page(steps, after=6, limit=9)
    assert ([view.id for view in following_page], events.indexed[-1]) == ([*range(8, 25, 2)], 40)
    assert [view.status for view in await page(steps)] == ["completed"] * 50
    assert events.indexed == [*range(1, 102)]


async def test_long_values_make_a_page_shorter(
    journal: SqlJournal, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "_PAGE_BYTES", 50_000)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=1)
    runs = [event for number in range(1, 10) for event in run_of_b(number, "é" * 20_000)]
    await journal.append(following("e", done, *runs, epoch=epoch, after=2))

    found: list[int] = []
    sizes = []
    after: int | None = 0
    while after is not None:
        views, after = await steps.page(caller_of(MARA), ID, after=after, limit=100, scope=None, step=None)
        found += [view.id for view in views]
        sizes.append(len(views))
        assert all(view.result is not None and len(view.result.text or "") <= 1024 for view in views[1:])
    assert len(found) == len(set(found)) == 10
    assert max(sizes) <= 4


async def test_events_that_are_large_together_are_indexed_in_pages_of_a_limited_size(
    journal: SqlJournal, steps: Steps, events: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=1)
    runs = [event for number in range(1, 20) for event in run_of_b(number, "x" * 100_000)]
    await journal.append(following("e", done, *runs, epoch=epoch, after=2))
    limited = await events.after(ID, 0, limit=1000)
    assert len(limited) < len(await events.after(ID, 0, limit=1000, are_small=True)) == 41

    monkeypatch.setattr(steps_module, "_PAGE_MEMORY", 1_000_000)
    events.pages.clear()
    assert len(await page(steps)) == 20

    assert sum(events.pages) == 41
    assert max(events.pages) <= len(limited)


async def test_another_workspace_has_no_such_execution(journal: SqlJournal, steps: Steps) -> None:
    await journal.append(creation("e", epoch=await journal.claim()))

    assert [view.step for view in await page(steps)] == ["a.1"]
    with pytest.raises(NotFound, match="Execution not found"):
        await page(steps, caller=caller_of(OMAR))


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_an_execution_that_is_being_deleted_is_not_found(
    journal: SqlJournal, steps: Steps, path: Place, is_indexed: bool
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(completion("e", epoch=epoch))
    if is_indexed:
        await page(steps)
    change(path, "DELETE FROM events WHERE seq <= 2")

    with pytest.raises(NotFound):
        await page(steps)
