"""What an execution records is stored only as far as its workspace may keep it."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.errors import LimitReached
from flowrunner.domain.events import Completed, Failed, Logged, NodeCompleted, NodeStarted
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from flowrunner.plugin import HttpAnswer, StepContext
from flowrunner.ports.journal import Append
from flowrunner.storage.usage import SqlUsage
from services.callers import caller_of
from support.databases import MARA, MARA_ACCOUNT, Place, emptied_postgres_database, rows_of
from support.dependencies import Acting, Machine, Request, answer, machine
from support.invariants import check_database

from .events import ending, of_type

MOST: Final = 500_000
GROWS: Final = """
start: a
nodes:
  a: {type: http.request, params: {url: "http://peer/"}, next: b}
  b: {type: http.request, params: {url: "http://peer/"}, next: a}
"""
HANDLED: Final = """
start: a
on_failure: tell
nodes:
  a: {type: http.request, params: {url: "http://peer/"}, next: b}
  b: {type: http.request, params: {url: "http://peer/"}}
  tell: {type: http.request, params: {url: "http://peer/tell"}}
"""
WAITS: Final = "nodes: {ask: {type: wait, params: {key: go}}}"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return tmp_path / "flowrunner.db"
    return emptied_postgres_database(request.getfixturevalue("postgres"))


async def kept(engine: Machine) -> int:
    return await SqlUsage(engine.database).stored(MARA)


async def test_executions_that_run_together_keep_no_more_than_their_workspace_may(place: Place) -> None:
    async with machine(place, limits=WorkspaceLimits(stored=MOST)) as engine:
        engine.http.at("http://peer/", answer(body=json.dumps("x" * 60_000)))
        await engine.save(GROWS)
        ids = await asyncio.gather(*(engine.start(id=f"e{n}") for n in range(6)))

        assert [await engine.until_ended(id) for id in ids] == [Status.FAILED] * 6
        assert await kept(engine) < MOST + 6 * 1500
        for id in ids:
            end = ending(await engine.events(id))
            assert isinstance(end, Failed)
            assert end.error.type == "limit.workspace_stored"
            assert end.error.node in ("a", "b", None)
            assert f"may store {MOST}" in end.error.message
    assert check_database(place) == []


async def test_the_step_whose_result_is_too_much_is_named_and_the_handlers_run(place: Place) -> None:
    async with machine(place, limits=WorkspaceLimits(stored=MOST)) as engine:
        engine.http.at("http://peer/", answer(body=json.dumps("x" * 300_000)))
        engine.http.at("http://peer/tell", answer())

        events = await engine.run(HANDLED)

        assert [event.node for event in of_type(NodeCompleted, events)] == ["a", "tell"]
        end = ending(events)
        assert isinstance(end, Failed)
        assert (end.error.type, end.error.node) == ("limit.workspace_stored", "b")
        assert engine.in_memory == 0
    assert check_database(place) == []


async def test_a_handler_that_records_too_much_is_cut_off_and_the_execution_ends(place: Place) -> None:
    async with machine(place, limits=WorkspaceLimits(stored=MOST)) as engine:
        engine.http.at("http://peer/", answer(body=json.dumps("x" * 300_000)))
        engine.http.at("http://peer/tell", answer(body=json.dumps("x" * 300_000)))

        events = await engine.run(HANDLED)

        assert [event.node for event in of_type(NodeCompleted, events)] == ["a"]
        end = ending(events)
        assert isinstance(end, Failed)
        assert (end.error.type, end.error.node) == ("limit.workspace_stored", "b")
        assert any("handlers of the end were cut off" in line.message for line in of_type(Logged, events))
        assert await kept(engine) < MOST
    assert check_database(place) == []


async def test_steps_whose_start_was_refused_are_cancelled_and_have_no_lines_in_the_log(place: Place) -> None:
    is_asked, is_begun, is_refused, has_spoken, is_cancelled = (asyncio.Event() for _ in range(5))

    class Telling:
        """A journal that lets a running step speak before it refuses an append."""

        def __init__(self, journal: Any) -> None:
            self._journal = journal

        async def append(self, append: Append) -> None:
            try:
                await self._journal.append(append)
            except LimitReached:
                is_refused.set()
                await has_spoken.wait()
                raise

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    async def first(value: Any, context: StepContext) -> None:
        await is_asked.wait()

    async def speaks(value: Any, context: StepContext) -> None:
        is_begun.set()
        await is_refused.wait()
        context.log("info", "here")
        has_spoken.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    async def large(request: Request) -> HttpAnswer:
        is_asked.set()
        await is_begun.wait()
        return answer(body=json.dumps("x" * 600_000))

    # A pure node without a script runs within the engine's own task.
    types = [Acting("first", first, pure=True), Acting("speaks", speaks, pure=True)]
    wrap: Any = lambda journal, _: Telling(journal)  # noqa: E731
    async with machine(place, types=types, wrap=wrap, limits=WorkspaceLimits(stored=MOST)) as engine:
        engine.http.at("http://peer/", large)
        events = await engine.run(
            """
            nodes:
              both:
                type: parallel
                branches:
                  left: {nodes: {ask: {type: http.request, params: {url: "http://peer/"}}}}
                  right:
                    nodes:
                      first: {type: first, params: {value: "${1 + 1}"}, next: speaks}
                      speaks: {type: speaks, params: {value: "${1 + 1}"}}
            """
        )

        assert isinstance(ending(events), Failed)
        assert is_cancelled.is_set()
        started = {(event.scope, event.node) for event in of_type(NodeStarted, events)}
        assert {(line.scope, line.node) for line in of_type(Logged, events) if line.node is not None} <= started
    assert check_database(place) == []


async def test_a_signal_that_cannot_be_stored_is_refused_and_a_cancellation_is_not(place: Place) -> None:
    async with machine(place) as engine:
        await engine.save(WAITS)
        for id in ("e1", "e2"):
            await engine.start(id=id)
            await engine.until_parked(id)
        most = await kept(engine)
    async with machine(place, limits=WorkspaceLimits(stored=most)) as engine:
        with pytest.raises(LimitReached):
            await engine.signals.send(caller_of(MARA_ACCOUNT), ExecutionId("e1"), "go", "x" * 5000)
        await engine.executions.cancel(caller_of(MARA_ACCOUNT), ExecutionId("e2"))

        assert await engine.until_ended("e1") == Status.FAILED
        assert await engine.until_ended("e2") == Status.CANCELLED
        assert "signal.received" not in [type for (type,) in rows_of(place, "SELECT type FROM events")]
    assert check_database(place) == []


async def test_a_sub_flow_that_cannot_be_stored_is_an_error_of_the_node_that_would_start_it(place: Place) -> None:
    async with machine(place, limits=WorkspaceLimits(stored=MOST)) as engine:
        await engine.save("nodes: {a: {type: return, params: {value: 1}}}", "child")

        events = await engine.run(
            """
            nodes:
              a: {type: flow, params: {flow: child, input: {x: "${flow.input.x}"}}, next: b}
              b: {type: flow, params: {flow: child, input: {x: "${flow.input.x}"}}, next: {error: c}}
              c: {type: return, params: {value: "${error.type}"}}
            """,
            {"x": "x" * 200_000},
        )

        assert ending(events) == Completed(result="limit.workspace_stored")
    assert check_database(place) == []
