"""The acceptance of executions: once for each request, and queued beyond the limit."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import TooManyRequests, Unavailable
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.plugin import HttpAnswer, StepContext
from flowrunner.ports.journal import Append, DuplicateRequest
from flowrunner.storage import appends
from flowrunner.storage.active_slots import assign_active_slots
from services.callers import caller_of
from support.databases import MARA_ACCOUNT, change, rows_of
from support.dependencies import Acting, FakeHttp, Machine, Request, answer, machine, never
from support.invariants import check_database


async def test_a_repeated_request_makes_no_second_execution(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: return}}")
    await engine.start(id="e1", key="k")

    with pytest.raises(DuplicateRequest) as repeat:
        await engine.start(id="e2", key="k")

    assert repeat.value.execution_id == "e1"
    assert await engine.until_ended("e1") is Status.COMPLETED
    assert engine.dispatcher.active == 0


async def test_a_start_after_another_server_has_taken_over_is_unavailable(path: Path) -> None:
    async with machine(path) as engine:
        await engine.save("nodes: {a: {type: return}}")
        change(path, "UPDATE engine SET epoch = epoch + 1000000000000")

        with pytest.raises(Unavailable, match="Another server is active"):
            await engine.start(id="e1")

    assert rows_of(path, "SELECT id FROM executions") == []


@pytest.mark.parametrize("most_active", [100, 1])
async def test_a_caller_who_goes_away_while_an_execution_is_accepted_leaves_none_that_stands_still(
    path: Path, most_active: int
) -> None:
    async with machine(path, most_active=most_active) as engine:
        await start_and_go_away(engine)


async def start_and_go_away(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
    for n in range(20):
        starting = asyncio.ensure_future(engine.start(id=f"e{n}"))
        for _ in range(n % 5):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    async def none_is_open() -> bool:
        return rows_of(engine.path, "SELECT count(*) FROM executions WHERE completed_at IS NULL") == [(0,)]

    await engine.until(none_is_open)


async def test_a_start_that_is_cut_off_while_it_is_being_written_goes_on_once_it_is_durable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reached, is_released = threading.Event(), threading.Event()

    async def assign_late(tx: Any, created: Any) -> None:
        if any(new.id == "late" for new, _ in created):
            # On the thread that writes.
            is_reached.set()
            is_released.wait(20)
        await assign_active_slots(tx, created)

    monkeypatch.setattr(appends, "assign_active_slots", assign_late)
    monkeypatch.setattr(local, "seconds_after", lambda attempts: 0.0)
    async with machine(path) as engine:
        await engine.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        starting = asyncio.ensure_future(engine.start(id="late"))
        try:
            await asyncio.to_thread(is_reached.wait, 20)
            starting.cancel()
            # Time in which an execution that is not durable yet could be looked for.
            await asyncio.sleep(0.3)
        finally:
            is_released.set()
        await asyncio.gather(starting, return_exceptions=True)

        async def has_ended() -> bool:
            return rows_of(engine.path, "SELECT status FROM executions WHERE id = 'late'") == [("completed",)]

        await engine.until(has_ended, seconds=5)
    assert check_database(path) == []


async def test_executions_beyond_the_limit_are_queued(path: Path) -> None:
    running = 0
    most = 0

    async def count(value: Any, context: StepContext) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.002)
        running -= 1

    async with machine(path, types=[Acting("act", count)], most_active=3) as engine:
        await engine.save("nodes: {a: {type: act, next: b}, b: {type: act}}")
        await asyncio.gather(*(engine.start(id=f"e{n}") for n in range(40)))

        async def all_have_ended() -> bool:
            return engine.dispatcher.active == engine.dispatcher.queued == 0

        await engine.until(all_have_ended)

    assert most == 3
    assert rows_of(path, "SELECT count(*) FROM executions WHERE status = 'completed'") == [(40,)]
    assert check_database(path) == []


async def test_a_message_to_a_queued_execution_does_not_change_its_place(path: Path) -> None:
    is_let_go = asyncio.Event()

    async def slow(request: Request) -> HttpAnswer:
        await is_let_go.wait()
        return answer()

    async with machine(path, limits=WorkspaceLimits(active=1, queued=9)) as engine:
        engine.http.at("http://peer/", slow, answer())
        await engine.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        ids = [await engine.start(id=f"e{n}") for n in range(5)]
        await engine.until_requested("http://peer/")
        for id in (ids[2], ids[1]):
            await engine.signals.send(caller_of(MARA_ACCOUNT), id, "go", 1)
        is_let_go.set()

        for id in ids:
            assert await engine.until_ended(id) is Status.COMPLETED

    assert [request.key for request in engine.http.requests] == [f"{id}.a.1" for id in ids]


@pytest.mark.parametrize("active", [1, 2])
async def test_starts_that_could_not_be_stored_take_no_place(path: Path, active: int) -> None:
    """Neither one of those that advance, nor one in the queue behind them."""
    is_away = False

    class Away:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        async def append(self, append: Append) -> None:
            if is_away and append.create is not None:
                raise Unavailable("the database is away")
            await self._journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    limits = WorkspaceLimits(active=active, queued=2)
    async with machine(path, wrap=lambda journal, _: Away(journal), limits=limits) as engine:
        engine.http.at("http://peer/", never)
        await engine.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        await engine.start(id="first")
        is_away = True
        for n in range(5):
            with pytest.raises(Unavailable):
                await engine.start(id=f"failed{n}")
        is_away = False

        async def are_forgotten() -> bool:
            return engine.dispatcher.active == 1 and not engine.dispatcher.queued

        await engine.until(are_forgotten)
        for n in range(active + 1):
            await engine.start(id=f"e{n}")
        with pytest.raises(TooManyRequests):
            await engine.start(id="one too many")


async def test_queued_executions_survive_a_restart(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", never, answer())
    async with machine(path, http=http, most_active=1) as first:
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        for n in range(5):
            await first.start(id=f"e{n}")
        await first.until_requested("http://peer/")
    async with machine(path, http=http, most_active=1) as second:
        for n in range(5):
            assert await second.until_ended(f"e{n}") is Status.COMPLETED

    assert check_database(path) == []
