"""Executions that are cancelled, whatever they are doing."""

import asyncio
import gc
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.events import Cancelled, Logged, NodeCompleted
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.status import Status
from flowrunner.plugin import HttpAnswer, StepContext
from flowrunner.storage.due_executions import SqlDueExecutions
from support.databases import NOON
from support.dependencies import PATIENCE_SECONDS, Acting, Machine, Request, answer, machine, never

from .events import ending, of_type, path_of


async def test_a_running_node_is_cancelled_at_once(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: b}, b: {type: return}}")
    id = await engine.start()
    await engine.until_requested("http://peer/")

    async with asyncio.timeout(PATIENCE_SECONDS):
        await engine.dispatcher.cancel(id, reason="by hand")

    events = await engine.events()
    assert ending(events) == Cancelled(reason="by hand")
    assert path_of(events) == ["a"]


async def test_a_cancelled_execution_is_freed_without_a_collection_of_garbage(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")
    id = await engine.start()
    await engine.until_requested("http://peer/")
    gc.collect()
    gc.disable()
    try:
        await engine.dispatcher.cancel(id, reason="by hand")
        await engine.until_ended()
        for _ in range(20):
            await asyncio.sleep(0)

        assert [found for found in gc.get_objects() if isinstance(found, ExecutionState)] == []
    finally:
        gc.enable()


async def test_a_branch_that_lost_is_cancelled_at_once_and_does_nothing_more(engine: Machine) -> None:
    is_asked, is_stopped = asyncio.Event(), asyncio.Event()

    async def until_cancelled(request: Request) -> HttpAnswer:
        is_asked.set()
        try:
            return await never(request)
        finally:
            is_stopped.set()

    async def once_the_other_is_asked(request: Request) -> HttpAnswer:
        await is_asked.wait()
        return answer()

    engine.http.at("http://far/", until_cancelled)
    engine.http.at("http://near/", once_the_other_is_asked)
    await engine.save("""
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              far: {nodes: {ask: {type: http.request, params: {url: 'http://far/'}}}}
              near: {nodes: {ask: {type: http.request, params: {url: 'http://near/'}}}}
            next: hold
          hold: {type: wait, params: {key: go}}
        """)
    await engine.start()

    async with asyncio.timeout(PATIENCE_SECONDS):
        await is_stopped.wait()

    await engine.until_parked()
    assert [event.scope for event in of_type(NodeCompleted, await engine.events())] == ["race.1[near]", ""]


async def test_a_waiting_execution_is_cancelled(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: delay, params: {duration: 2h}}}")
    id = await engine.start()
    await engine.until_parked()

    await engine.dispatcher.cancel(id, reason="by hand")

    assert await engine.status() is Status.CANCELLED
    assert await SqlDueExecutions(engine.database).next_wake(after=NOON) is None


async def test_a_queued_execution_is_cancelled_without_having_run(path: Path) -> None:
    async with machine(path, most_active=1) as engine:
        engine.http.at("http://peer/", never)
        await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")
        await engine.start(id="e1")
        queued = await engine.start(id="e2")
        await engine.until_requested("http://peer/")
        assert engine.dispatcher.queued == 1

        await engine.dispatcher.cancel(queued, reason="by hand")

        events = await engine.events("e2")
        assert ending(events) == Cancelled(reason="by hand")
        assert path_of(events) == []
        assert await engine.status("e1") is Status.RUNNING


async def test_a_step_between_two_tries_is_cancelled(engine: Machine) -> None:
    # It stays in memory until then.
    engine.deps.short_wait = 120
    engine.http.at("http://peer/", answer(503))
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 9, delay: 60s}}}")
    id = await engine.start()
    await engine.until_failed()

    async with asyncio.timeout(PATIENCE_SECONDS):
        await engine.dispatcher.cancel(id, reason="by hand")

    assert await engine.status() is Status.CANCELLED
    assert len(engine.http.requests) == 1


async def test_an_ended_execution_cannot_be_cancelled(engine: Machine) -> None:
    await engine.run("nodes: {a: {type: return}}")

    with pytest.raises(Conflict, match="already ended"):
        await engine.dispatcher.cancel("exec-1", reason="late")  # type: ignore[arg-type]


async def test_many_cancels_of_one_execution_end_it_once(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")
    id = await engine.start()
    await engine.until_requested("http://peer/")

    await asyncio.gather(*(engine.dispatcher.cancel(id, reason=str(n)) for n in range(5)), return_exceptions=True)

    assert len(of_type(Cancelled, await engine.events())) == 1


TIDY: Final = """
    on_finish: tidy
    nodes:
      work: {type: %s}
      tidy: {type: http.request, params: {url: "http://peer/tidy"}, next: after}
      after: {type: webhook, params: {url: "http://peer/after"}}
    """


class Gate:
    """A peer that answers once it is opened."""

    def __init__(self, engine: Machine, url: str) -> None:
        self._is_open = asyncio.Event()
        engine.http.at(url, self._answer)

    async def _answer(self, request: Any) -> Any:
        await self._is_open.wait()
        return answer()

    def open(self) -> None:
        self._is_open.set()


async def test_a_second_cancellation_leaves_on_finish_alone(engine: Machine) -> None:
    gate = Gate(engine, "http://peer/tidy")
    await engine.save(TIDY % "wait, params: {key: go}")
    id = await engine.start()
    await engine.until_parked()
    first = asyncio.create_task(engine.dispatcher.cancel(id, reason="first"))
    await engine.until_requested("http://peer/tidy")

    repeats = [asyncio.create_task(engine.dispatcher.cancel(id, reason="again")) for _ in range(3)]
    await asyncio.sleep(0.05)
    gate.open()
    await asyncio.gather(first, *repeats)

    events = await engine.events()
    assert ending(events) == Cancelled(reason="first")
    assert [request.url for request in engine.http.requests] == ["http://peer/tidy", "http://peer/after"]


async def test_handlers_of_a_flow_that_ended_by_itself_go_on_when_somebody_cancels(engine: Machine) -> None:
    gate = Gate(engine, "http://peer/tidy")
    await engine.save(TIDY % "return")
    id = await engine.start()
    await engine.until_requested("http://peer/tidy")

    with pytest.raises(Conflict, match="handlers of its end run"):
        await engine.dispatcher.cancel(id, reason="late")

    gate.open()
    assert await engine.until_ended() is Status.COMPLETED
    assert engine.http.requests[-1].url == "http://peer/after"


@pytest.mark.parametrize(
    ("work", "status"), [("return", Status.COMPLETED), ("wait, params: {key: go}", Status.CANCELLED)]
)
async def test_force_cuts_off_the_handlers_and_says_so(engine: Machine, work: str, status: Status) -> None:
    engine.http.at("http://peer/tidy", never)
    await engine.save(TIDY % work)
    id = await engine.start()
    if status is Status.CANCELLED:
        await engine.until_parked()
        cancelling = asyncio.create_task(engine.dispatcher.cancel(id, reason="first"))
    await engine.until_requested("http://peer/tidy")

    await engine.dispatcher.cancel(id, reason="at once", force=True)

    if status is Status.CANCELLED:
        await cancelling
    assert await engine.status() is status
    lines = [event.message for event in of_type(Logged, await engine.events())]
    assert "The handlers of the end were cut off: the execution was cancelled with force=true" in lines


async def test_force_ends_a_flow_without_its_handlers(engine: Machine) -> None:
    await engine.save(TIDY % "wait, params: {key: go}")
    id = await engine.start()
    await engine.until_parked()

    await engine.dispatcher.cancel(id, reason="at once", force=True)

    events = await engine.events()
    assert ending(events) == Cancelled(reason="at once")
    assert engine.http.requests == []
    assert any("were skipped" in line.message for line in of_type(Logged, events))


@pytest.mark.parametrize("forces", [(False, True), (True, False)])
async def test_of_cancellations_that_arrive_together_one_with_force_decides(
    engine: Machine, forces: tuple[bool, bool]
) -> None:
    await engine.save(TIDY % "wait, params: {key: go}")
    id = await engine.start()
    await engine.until_parked()

    await asyncio.gather(*(engine.dispatcher.cancel(id, reason=f"force={f}", force=f) for f in forces))

    assert ending(await engine.events()) == Cancelled(reason="force=True")
    assert engine.http.requests == []


async def test_a_cancellation_that_did_not_become_durable_is_not_reported_as_done(path: Path) -> None:
    class Refusing:
        """A journal that takes nothing more once it is told to."""

        def __init__(self, journal: Any) -> None:
            self.journal, self.refuses = journal, False
            self.has_refused = asyncio.Event()

        def append(self, append: Any) -> Any:
            async def refused() -> None:
                self.has_refused.set()
                raise Unavailable("full")

            return refused() if self.refuses else self.journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

    async def waits(value: Any, context: StepContext) -> Any:
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", waits)], wrap=lambda journal, _: Refusing(journal)) as engine:
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()
        engine.journal.refuses = True  # type: ignore[attr-defined]
        cancelling = asyncio.create_task(engine.dispatcher.cancel(id, reason="by hand"))
        await engine.journal.has_refused.wait()  # type: ignore[attr-defined]
        await engine.dispatcher.drain(seconds=10)
        with pytest.raises(Unavailable):
            await cancelling
        assert await engine.status() is Status.RUNNING


async def test_a_cancellation_whose_outcome_is_unknown_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        """A journal whose appends take for ever once it is told to."""

        def __init__(self, journal: Any) -> None:
            self.journal, self.is_stuck = journal, False

        async def append(self, append: Any) -> None:
            if self.is_stuck:
                await asyncio.Event().wait()
            await self.journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

    monkeypatch.setattr(local, "_ANSWER_SECONDS", 0.05)
    async with machine(path, wrap=lambda journal, _: Stuck(journal)) as engine:
        await engine.save("nodes: {a: {type: wait, params: {key: go}}}")
        id = await engine.start()
        await engine.until_parked()
        engine.journal.is_stuck = True  # type: ignore[attr-defined]

        with pytest.raises(Unavailable, match="may have been cancelled"):
            await engine.dispatcher.cancel(id, reason="by hand")
