"""What becomes of executions when their process has died or stops, and another begins."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.events import Cancelled, Completed, Logged, NodeStarted
from flowrunner.domain.status import Status
from flowrunner.plugin import HttpAnswer, NodeType, Params, RunScopes, StepContext
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.workspaces import SqlWorkspaces
from support.databases import MARA_ACCOUNT, account, rows_of
from support.dependencies import PATIENCE_SECONDS, Acting, FakeHttp, Request, answer, machine, never
from support.invariants import check_database

from .events import ending, of_type


class NoParams(Params):
    pass


class Each(NodeType[NoParams]):
    """Runs its nodes once."""

    type = "each"
    Params = NoParams
    child_scopes = "nodes"

    async def run(self, params: NoParams, context: StepContext) -> RunScopes:
        return RunScopes(keys=["0"], inputs=[None])


async def is_never_run(value: Any, context: StepContext) -> Any:
    raise AssertionError("it ran")


# After a crash


async def test_a_node_that_must_not_run_twice_is_interrupted(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", never)
    async with machine(path, http=http) as first:
        await first.save(
            "nodes: {a: {type: webhook, idempotent: false, params: {url: 'http://peer/'},"
            " next: {error.interrupted: b}}, b: {type: return, params: {value: '${error.type}'}}}"
        )
        await first.start()
        await first.until_requested("http://peer/")
    async with machine(path, http=http) as second:
        await second.until_ended()
        events = await second.events()

    assert len(http.requests) == 1
    assert ending(events) == Completed(result="interrupted")


async def test_an_interrupted_node_runs_again_with_the_same_key(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", never, answer())
    async with machine(path, http=http) as first:
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        await first.start()
        await first.until_requested("http://peer/")
    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED
        events = await second.events()

    assert [r.key for r in http.requests] == ["exec-1.a.1"] * 2
    assert [(e.attempt, e.interrupted) for e in of_type(NodeStarted, events)] == [(1, False), (2, True)]
    said = [(line.level, line.node, line.attempt) for line in of_type(Logged, events) if "interrupted" in line.message]
    assert said == [("warn", "a", 1)], "the log says once why there are two attempts"


async def test_what_was_recorded_before_a_restart_is_not_done_again(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/b", never, answer())
    async with machine(path, http=http) as first:
        await first.save(
            "nodes: {a: {type: webhook, params: {url: 'http://peer/a'}, next: b},"
            " b: {type: webhook, params: {url: 'http://peer/b', body: '${nodes.a.result.status_code}'}}}"
        )
        await first.start()
        await first.until_requested("http://peer/b")
    async with machine(path, http=http) as second:
        await second.until_ended()

    assert [r.url for r in http.requests] == ["http://peer/a", "http://peer/b", "http://peer/b"]
    assert http.requests[1].body == http.requests[2].body == b"200"


async def test_every_execution_goes_on_after_a_restart_however_many_there_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_PAGE", 2)
    http, ids = FakeHttp(), [f"exec-{number}" for number in range(5)]
    http.at("http://peer/", *[never] * len(ids), answer())
    async with machine(path, http=http) as first:
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        for id in ids:
            await first.start(id=id)

        async def have_asked() -> bool:
            return len(http.requests) == len(ids)

        await first.until(have_asked)
    async with machine(path, http=http) as second:
        assert [await second.until_ended(id) for id in ids] == [Status.COMPLETED] * len(ids)


async def test_a_flow_that_can_no_longer_be_read_fails_its_executions(path: Path) -> None:
    begun = asyncio.Event()

    async def act(value: Any, context: StepContext) -> Any:
        begun.set()
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("gone", act)]) as first:
        await first.save("nodes: {a: {type: gone}}")
        await first.start()
        await begun.wait()
    async with machine(path) as second:
        assert await second.until_ended() is Status.FAILED
        assert ending(await second.events()).error.type == "flow.invalid"

    assert check_database(path) == []


@pytest.mark.parametrize("after", [[], [Acting("each", is_never_run)]], ids=["gone", "no loop any more"])
async def test_a_loop_whose_type_has_gone_fails_when_its_nodes_have_ended(path: Path, after: list[Acting]) -> None:
    http = FakeHttp()
    http.at("http://peer/", never, answer())
    async with machine(path, types=[Each()], http=http) as first:
        await first.save(
            "nodes: {a: {type: each, nodes: {b: {type: webhook, params: {url: 'http://peer/'}}}, next: {error: c}},"
            " c: {type: return, params: {value: '${error.type}'}}}"
        )
        await first.start()
        await first.until_requested("http://peer/")
    async with machine(path, types=after, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED
        assert ending(await second.events()) == Completed(result="flow.invalid")

    assert len(http.requests) == 2
    assert check_database(path) == []


async def test_after_a_kill_nothing_of_a_deleted_account_goes_on(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", never)
    async with machine(path, http=http, most_active=2) as engine:
        await engine.save("nodes: {a: {type: delay, params: {duration: 9d}, next: b}, b: {type: return}}", "waits")
        await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}", "runs")
        await engine.start("waits", id="waiting")
        await engine.until_parked("waiting")
        for id in ("running-1", "running-2", "queued"):
            await engine.start("runs", id=id)
        await engine.until_requested("http://peer/", 2)
        accounts = SqlAccounts(engine.database)
        await accounts.create(account("another", role="admin"), password_hash="x")
        await accounts.delete(MARA_ACCOUNT, at=engine.clock.now())

    async with machine(path, http=http, clock=engine.clock) as engine:
        # As the background job does when a server starts.
        assert not await SqlWorkspaces(engine.database).empty_deleted(now=engine.clock.now(), limit=9)
        for id in ("waiting", "running-1", "running-2", "queued"):
            assert await engine.until_ended(id) is Status.CANCELLED
            assert (await engine.events(id))[-1] == Cancelled(reason="the workspace was deleted")
    assert len(http.requests) == 2
    assert check_database(path) == []


# The end of the server


async def test_a_stop_lets_steps_end_and_begins_no_other(path: Path) -> None:
    let_go = asyncio.Event()

    async def slow(request: Request) -> HttpAnswer:
        await let_go.wait()
        return answer()

    http = FakeHttp()
    http.at("http://peer/a", slow)
    async with machine(path, http=http) as first:
        await first.save(
            "nodes: {a: {type: webhook, params: {url: 'http://peer/a'}, next: b}, b: {type: webhook, params: {url: 'http://peer/b'}}}"
        )
        await first.start()
        await first.until_requested("http://peer/a")
        draining = asyncio.ensure_future(first.dispatcher.drain(seconds=PATIENCE_SECONDS))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await first.start(id="e2")
        assert not draining.done()
        let_go.set()
        await draining
        assert first.dispatcher.active == 0
    assert rows_of(path, "SELECT count(*) FROM readable_events WHERE type = 'node.completed'") == [(1,)]
    assert len(http.requests) == 1

    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED
    assert [r.url for r in http.requests] == ["http://peer/a", "http://peer/b"]
    assert check_database(path) == []


async def test_a_stop_does_not_wait_for_ever(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/", never, answer())
    async with machine(path, http=http) as first:
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")
        await first.start()
        await first.until_requested("http://peer/")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await first.dispatcher.drain(seconds=0.1)
    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED


async def test_a_stop_during_a_short_wait_does_not_hang(path: Path) -> None:
    async with machine(path) as first:
        # It stays in memory until then.
        first.deps.short_wait = 120
        first.http.at("http://peer/", answer(503))
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}, retry: {max: 9, delay: 60s}}}")
        await first.start()
        await first.until_failed()
        assert first.in_memory == 1
        await first.dispatcher.drain(seconds=PATIENCE_SECONDS)
        assert first.in_memory == 0
