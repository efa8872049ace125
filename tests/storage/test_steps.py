"""The steps of executions, read from both databases."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from domain.simulation import Plan, Simulation, plans
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import (
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopeEnded,
    ScopesOpened,
)
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.event_codec import encode_event
from flowrunner.ports.journal import Recorded
from flowrunner.ports.steps import ScopeEvents, StoredEvent
from flowrunner.security.memory_room import FairBodies
from flowrunner.services import step_indexes as indexes_module
from flowrunner.services import steps as steps_module
from flowrunner.services.step_entries import ScopeCounts, StepEntry
from flowrunner.services.step_indexes import StepIndexes
from flowrunner.services.steps import EVERY_STEP, StepFilter, Steps, StepView
from flowrunner.storage import step_events as step_events_module
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.step_events import SqlStepEvents
from services.callers import caller_of
from support.databases import (
    MARA_ACCOUNT,
    NOON,
    OMAR_ACCOUNT,
    Place,
    change,
    completion,
    creation,
    following,
    log_line,
)

ID = ExecutionId("e")


@dataclass
class Counted:
    """The events of a database, and how many were read for the index and for values."""

    events: SqlStepEvents
    indexed: list[int] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    picked: list[int] = field(default_factory=list)

    async def after(self, id: ExecutionId, seq: int, *, limit: int, are_small: bool = False) -> Sequence[StoredEvent]:
        found = await self.events.after(id, seq, limit=limit, are_small=are_small)
        self.indexed += [event.seq for event in found]
        self.pages.append(len(found))
        return found

    async def numbered(self, id: ExecutionId, seqs: Sequence[int]) -> Sequence[StoredEvent]:
        found = await self.events.numbered(id, seqs)
        self.shown += [event.seq for event in found]
        return found

    async def of_scopes(self, id: ExecutionId, seq: int, *, until: int, scopes: Collection[str]) -> ScopeEvents:
        found = await self.events.of_scopes(id, seq, until=until, scopes=scopes)
        self.picked += [event.seq for event in found.events]
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
    views, _ = await steps.page(caller or caller_of(MARA_ACCOUNT), ID, after=after, limit=limit, wanted=EVERY_STEP)
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
    monkeypatch.setattr(indexes_module, "_INDEXED_AT_MOST", 20)
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
        views, after = await steps.page(caller_of(MARA_ACCOUNT), ID, after=after, limit=100, wanted=EVERY_STEP)
        found += [view.id for view in views]
        sizes.append(len(views))
        assert all(view.result is not None and len(view.result.text or "") <= 1024 for view in views[1:])
    assert len(found) == len(set(found)) == 10
    assert max(sizes) <= 4


async def test_of_many_attempts_the_last_ones_are_shown(
    journal: SqlJournal, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps_module, "KEPT_ATTEMPTS", 2)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    step: Any = {"node": "a", "node_type": "log", "iteration": 1}
    error = ErrorValue(type="http.500", message="no")
    failed = [NodeFailed(**step, attempt=n, error=error, retry_at=NOON) for n in range(1, 4)]
    started = [NodeStarted(**step, attempt=n) for n in range(2, 5)]
    tries = [event for pair in zip(failed, started, strict=True) for event in pair]
    await journal.append(following("e", *tries, epoch=epoch, after=2))

    async with steps.step(caller_of(MARA_ACCOUNT), ID, 2) as detail:
        assert [(each.attempt, each.status) for each in detail.attempts] == [(3, "failed"), (4, "running")]
        assert detail.view.attempts == 4


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

    monkeypatch.setattr(indexes_module, "PAGE_MEMORY", 1_000_000)
    events.pages.clear()
    assert len(await page(steps)) == 20

    assert sum(events.pages) == 41
    assert max(events.pages) <= len(limited)


async def test_another_workspace_has_no_such_execution(journal: SqlJournal, steps: Steps) -> None:
    await journal.append(creation("e", epoch=await journal.claim()))

    assert [view.step for view in await page(steps)] == ["a.1"]
    with pytest.raises(NotFound, match="Execution not found"):
        await page(steps, caller=caller_of(OMAR_ACCOUNT))


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


LOOP: Final[Any] = {"node": "each", "node_type": "foreach", "iteration": 1, "attempt": 1}
ROUNDS: Final = 2000


def long_loop(rounds: int = ROUNDS) -> list[Event]:
    """Return the events after those of `creation`: a loop with many rounds, and a step after it."""
    done = NodeCompleted(node="a", node_type="log", iteration=1, attempt=1, action="default", result=[1])
    keys = [str(n) for n in range(rounds)]
    events: list[Event] = [
        done, NodeStarted(**LOOP),
        ScopesOpened(**LOOP, keys=keys, inputs=list(range(rounds)), concurrency=1, needed=rounds),
    ]  # fmt: skip
    for key in keys:
        push: Any = {"node": "b", "node_type": "log", "iteration": 1, "attempt": 1, "scope": f"each.1[{key}]"}
        events += [NodeStarted(**push), NodeCompleted(**push, action="default", result=int(key))]
        events += [ScopeEnded(scope=f"each.1[{key}]", outcome="completed")]
    return [*events, NodeCompleted(**LOOP, action="default", result=["whole"]), *run_of_b(1, "last")]


async def test_a_page_of_a_long_loop_reads_its_own_steps_and_counts_the_rounds(
    journal: SqlJournal, steps: Steps, events: Counted
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(following("e", *long_loop(), epoch=epoch, after=2))

    shown = await page(steps, limit=5)
    assert [view.step for view in shown] == ["a.1", "each.1", "each.1[0]/b.1", "each.1[1]/b.1", "each.1[2]/b.1"]
    each = shown[1]
    assert (each.status, each.scopes) == ("completed", ScopeCounts(ROUNDS, completed=ROUNDS))
    assert each.result is not None
    assert each.result.value == b'["whole"]'

    own, _ = await steps.page(caller_of(MARA_ACCOUNT), ID, after=0, limit=5, wanted=StepFilter(scope=""))
    assert [view.step for view in own] == ["a.1", "each.1", "b.1"]
    named, _ = await steps.page(
        caller_of(MARA_ACCOUNT), ID, after=0, limit=5, wanted=StepFilter(step="each.1[1999]/b.1")
    )
    assert [view.input and view.input.value for view in named] == [b"1999"]
    async with steps.step(caller_of(MARA_ACCOUNT), ID, named[0].id) as detail:
        assert (detail.view.parent, detail.view.result and detail.view.result.value) == (each.id, b"1999")
    with pytest.raises(NotFound, match="Step not found"):
        async with steps.step(caller_of(MARA_ACCOUNT), ID, named[0].id + 1):
            pass
    assert len(events.indexed) + len(events.picked) < 1100


def simulated(count: int) -> list[Sequence[tuple[Event, Any]]]:
    """Return the events of random flows, some not ended."""
    found: list[Sequence[tuple[Event, Any]]] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(plan=plans(), most=st.sampled_from([20, 60, 10_000]))
    def run(plan: Plan, most: int) -> None:
        run = Simulation(plan)
        run.run(most)
        if any(isinstance(event, ScopesOpened) for event, _ in run.journal) and len(run.journal) < 500:
            found.append(run.journal)

    run()
    return found


async def test_the_steps_of_some_scopes_are_the_same_as_among_all_of_them(
    journal: SqlJournal, events: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes_module, "_SEARCHED_AT_MOST", 50)
    monkeypatch.setattr(step_events_module, "_EVENTS_AT_ONCE", 30)
    epoch, compared = await journal.claim(), 0
    for number, run in enumerate(simulated(60)):
        id = f"e{number}"
        records = [Recorded(seq, at, event, encode_event(event)) for seq, (event, at) in enumerate(run, start=1)]
        await journal.append(replace(creation(id, epoch=epoch), records=records))
        stored = await journal.stored(ExecutionId(id))
        # Of every second one a page ends with its bytes, and of the others with the number of its events.
        monkeypatch.setattr(step_events_module, "PAGE_OF_EVENTS_BYTES", 2_000 if number % 2 else 256 * 1024)
        monkeypatch.setattr(step_events_module, "_EVENTS_AT_ONCE", 1000 if number % 2 else 9)
        whole = await StepIndexes(events, FairBodies()).whole(stored)
        entries = list(whole.entries())
        for scope in {entry.step.scope for entry in entries}:
            with monkeypatch.context() as patch:
                patch.setattr(indexes_module, "_FEW", -1)
                found = await StepIndexes(events, FairBodies()).of_scopes(stored, [scope])
            compared += not found.has_signals
            own = [entry for entry in entries if entry.step.scope == scope]
            # What its open scopes do at the moment is no part of any answer.
            assert [structs.replace(found[id], own=None) for id in found.in_scope(scope)] == [
                structs.replace(entry, own=None) for entry in own
            ]
    assert compared > 80


async def test_a_page_of_selected_steps_looks_at_no_more_than_it_needs(
    journal: SqlJournal, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    await journal.append(following("e", *long_loop(), epoch=epoch, after=2))
    looks: list[str] = []
    has = StepFilter.has

    def counted(self: StepFilter, entry: StepEntry) -> bool:
        looks.append(str(entry.step))
        return has(self, entry)

    monkeypatch.setattr(StepFilter, "has", counted)
    wanted = StepFilter(node="b", scope=None)
    first, after = await steps.page(caller_of(MARA_ACCOUNT), ID, after=0, limit=2, wanted=wanted)
    assert after is not None
    second, _ = await steps.page(caller_of(MARA_ACCOUNT), ID, after=after, limit=2, wanted=wanted)

    found = [view.step for view in (*first, *second)]
    assert found == [f"each.1[{number}]/b.1" for number in range(4)]
    # The nodes before the loop, and the step that begins the next page.
    assert looks == ["a.1", "each.1", *found[:3], *found[2:4], "each.1[4]/b.1"]
