"""Appends that are durable although their answer was lost: what callers, subscribers and other executions are told."""

import contextlib
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Cancelled, Completed, SignalReceived
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.engine.engine import FlowEngine
from flowrunner.ports.concurrency import ConcurrencyLimits
from flowrunner.ports.dispatch import OUTCOME_UNKNOWN
from flowrunner.ports.journal import Append
from services.callers import caller_of
from support.databases import MARA_ACCOUNT, rows_of
from support.dependencies import Machine, machine
from support.invariants import check_database, check_effects

from .events import ending, of_type

FLOW: Final = """
nodes:
  a: {type: webhook, params: {url: "http://peer/"}, next: ask}
  ask: {type: wait, params: {key: go}, next: child}
  child: {type: flow, params: {flow: child, input: {}}, next: b}
  b: {type: webhook, params: {url: "http://peer/"}, next: done}
  done: {type: return, params: {value: "${nodes.ask.result}"}}
"""
CHILD: Final = """
nodes:
  x: {type: webhook, params: {url: "http://peer/"}}
"""
# More than the two executions need.
APPENDS: Final = range(1, 13)


class LosingAnswers:
    """A journal that loses the answer to one append after its commit, as a broken connection does."""

    def __init__(self, journal: Any, *, at: int) -> None:
        self._journal = journal
        self._left = at

    async def append(self, append: Append) -> None:
        await self._journal.append(append)
        self._left -= 1
        if self._left == 0:
            raise Unavailable("The database cannot be written at the moment")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class LosingACancellation:
    """A journal that loses the answer to the first append of a cancellation after its commit."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal
        self._has_lost = False

    async def append(self, append: Append) -> None:
        await self._journal.append(append)
        if not self._has_lost and isinstance(append.records[-1].event, Cancelled):
            self._has_lost = True
            raise Unavailable("The database cannot be written at the moment")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class LosingAdmissions:
    """Limits of concurrency that lose the answer to their first admission after its commit."""

    def __init__(self, concurrency: ConcurrencyLimits) -> None:
        self._concurrency = concurrency
        self._has_lost = False

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        admitted = await self._concurrency.admit(key)
        if admitted is not None and not self._has_lost:
            self._has_lost = True
            raise Unavailable("The database cannot be written at the moment")
        return admitted

    def __getattr__(self, name: str) -> Any:
        return getattr(self._concurrency, name)


def unseen(engine: Machine) -> list[tuple[str, int]]:
    """Return the durable events that subscribers were neither sent nor sent to the journal for."""
    seen = {(id, record.seq) for id, records in engine.broadcast.published.items() for record in records}
    events = [(id, seq) for id, seq in rows_of(engine.path, "SELECT execution_id, seq FROM events ORDER BY 1, 2")]
    return [each for each in events if each not in seen and ExecutionId(each[0]) not in engine.broadcast.stale]


async def until_shown(engine: Machine) -> None:
    """Wait for the repetition of the append, which finds out that it was durable."""

    async def is_shown() -> bool:
        return not unseen(engine)

    await engine.until(is_shown)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "seconds_after", lambda attempts: 0.0)


@pytest.mark.parametrize("lost", APPENDS)
async def test_everybody_learns_of_events_whose_append_was_not_answered(path: Path, lost: int) -> None:
    async with machine(path, wrap=lambda journal, _: LosingAnswers(journal, at=lost)) as engine:
        await engine.save(CHILD, "child")
        await engine.save(FLOW)
        with contextlib.suppress(Unavailable):
            await engine.start()
        await engine.until_parked()

        errors: list[str] = []
        try:
            await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"), "go", 1)
        except Unavailable as error:
            errors.append(str(error))

        assert errors in ([], [OUTCOME_UNKNOWN])
        assert await engine.until_ended() is Status.COMPLETED
        events = await engine.events()
        assert ending(events) == Completed(result=1)
        assert [event.payload for event in of_type(SignalReceived, events) if event.key == "signal:go"] == [1]
        await until_shown(engine)
    assert check_database(path) == []
    assert check_effects(path, [request.key for request in engine.http.requests]) == []


async def test_a_cancellation_whose_append_was_not_answered_is_reported_and_shown(path: Path) -> None:
    async with machine(path, wrap=lambda journal, _: LosingAnswers(journal, at=3)) as engine:
        await engine.save("nodes: {ask: {type: wait, params: {key: go}}}")
        await engine.start()
        await engine.until_parked()
        for _ in range(3):
            with contextlib.suppress(Unavailable):
                await engine.executions.cancel(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"))
                break

        assert await engine.status() is Status.CANCELLED
        await until_shown(engine)
    assert check_database(path) == []


async def test_a_child_ends_although_the_append_that_ended_its_parent_was_not_answered(path: Path) -> None:
    async with machine(path, wrap=lambda journal, _: LosingACancellation(journal)) as engine:
        await engine.save("nodes: {ask: {type: wait, params: {key: go}}}", "child")
        await engine.save("nodes: {call: {type: flow, params: {flow: child, input: {}}}}")
        await engine.start()

        async def both_wait() -> bool:
            return rows_of(path, "SELECT count(*) FROM executions WHERE is_idle") == [(2,)] and not engine.in_memory

        await engine.until(both_wait)
        with contextlib.suppress(Unavailable):
            await engine.executions.cancel(caller_of(MARA_ACCOUNT), ExecutionId("exec-1"))

        ((child,),) = rows_of(path, "SELECT id FROM executions WHERE parent_id = 'exec-1'")
        assert await engine.until_ended(child) is Status.CANCELLED
        assert await engine.status() is Status.CANCELLED
    assert check_database(path) == []


async def test_an_end_by_the_engine_itself_whose_append_was_not_answered_is_shown(path: Path) -> None:
    async with machine(path, wrap=lambda journal, _: LosingAnswers(journal, at=3)) as engine:
        await engine.save("nodes: {ask: {type: wait, params: {key: go}}}")
        id = await engine.start()
        await engine.until_parked()
        itself = FlowEngine(engine.deps)
        with pytest.raises(Unavailable):
            await itself.give_up(id)
        assert unseen(engine)

        assert await itself.load(id) is None

        assert unseen(engine) == []


async def test_an_admission_that_was_not_answered_is_found_and_the_execution_goes_on(path: Path) -> None:
    wrap: Any = LosingAdmissions
    async with machine(path, wrap_concurrency=wrap) as engine:
        await engine.save(
            "limits: {concurrency: {max: 1}}\n"
            "nodes: {ask: {type: wait, params: {key: go}, next: done}, done: {type: return}}"
        )
        ids = [(await engine.executions.run(caller_of(MARA_ACCOUNT), FlowId("flow-1"), {})).id for _ in range(3)]
        for id in ids:
            await engine.signals.send(caller_of(MARA_ACCOUNT), id, "go", None)

        assert [await engine.until_ended(id) for id in ids] == [Status.COMPLETED] * 3
    assert check_database(path) == []
