"""How executions go: results, edges, errors, retries, waits, cancellation, logs, limits."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain import decide
from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.events import (
    Cancelled,
    Completed,
    Event,
    Failed,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    NodeWaiting,
    Started,
)
from flowrunner.domain.execution import Status
from flowrunner.engine import history, recorder, run
from flowrunner.plugin import HttpAnswer, NodeFailure, StepContext
from flowrunner.ports import DuplicateRequest
from flowrunner.storage.accounts import SqlAccounts
from support.databases import MARA, account, rows_of
from support.invariants import check_database
from support.world import Acting, FakeHttp, Machine, Request, SteppingClock, answer, detail_of, machine, never, secret


def of_type(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def path_of(events: list[Event]) -> list[str]:
    """The nodes in the order in which they started for the first time."""
    return [event.node for event in events if isinstance(event, NodeStarted) and event.attempt == 1]


def ending(events: list[Event]) -> Any:
    return events[-1]


# Success


async def test_a_flow_runs_to_its_end(engine: Machine) -> None:
    engine.http.at("http://peer/a", answer(body='{"x": 1}'))
    events = await engine.run(
        """
        nodes:
          fetch: {type: http.request, params: {url: "http://peer/a"}, output: "${result.body}", next: shape}
          shape: {type: transform, params: {value: {got: "${input.x}", from: "${flow.input.who}"}}, next: tell}
          tell: {type: webhook, params: {url: "http://peer/b"}, next: done}
          done: {type: return, params: {value: "${nodes.shape.result}"}}
        """,
        {"who": "me"},
    )

    assert [type(e) for e in events if not isinstance(e, Logged)] == [
        Started,
        *[NodeStarted, NodeCompleted] * 4,
        Completed,
    ]
    assert path_of(events) == ["fetch", "shape", "tell", "done"]
    assert ending(events) == Completed(result={"got": 1, "from": "me"})
    assert engine.http.requests[1].body == b'{"got":1,"from":"me"}'
    assert [r.key for r in engine.http.requests] == ["exec-1.fetch.1", "exec-1.tell.1"]
    detail = await detail_of(engine)
    assert (detail.status, detail.input, detail.result) == (
        Status.COMPLETED,
        b'{"who":"me"}',
        b'{"got":1,"from":"me"}',
    )


async def test_what_was_published_is_what_is_stored(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: webhook, params: {url: 'http://peer/'}}}")

    published = engine.broadcast.published["exec-1"]  # type: ignore[index]
    assert [r.event for r in published] == events
    assert [r.seq for r in published] == list(range(1, len(events) + 1))


async def test_nothing_is_published_before_it_is_durable(path: Path) -> None:
    async with machine(path) as engine:
        publish = engine.broadcast.publish
        missing: list[int] = []

        def check(execution_id: Any, records: Any) -> None:
            stored = rows_of(path, "SELECT max(seq) FROM events WHERE execution_id = ?", execution_id)[0][0] or 0
            missing.extend(r.seq for r in records if r.seq > stored)
            publish(execution_id, records)

        engine.broadcast.publish = check  # type: ignore[method-assign]
        await engine.run("nodes: {a: {type: webhook, params: {url: 'http://peer/'}, next: b}, b: {type: return}}")

    assert missing == []


async def test_a_loop_of_pure_nodes_ends_by_its_limit(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: transform, params: {value: 1}, next: a}}")

    assert isinstance(ending(events), Failed)
    assert ending(events).error.type == "limit.steps"


# Errors


async def test_an_error_without_an_edge_fails_the_execution(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(500))
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: b}, b: {type: return}}"
    )

    assert path_of(events) == ["a"]
    assert ending(events).error.type == "http.500"
    assert (await detail_of(engine)).error == "HTTP request failed with status 500"


@pytest.mark.parametrize(("status", "taken"), [(404, "exact"), (410, "class"), (503, "family")])
async def test_an_error_takes_the_longest_matching_edge(engine: Machine, status: int, taken: str) -> None:
    engine.http.at("http://peer/", answer(status, '{"why": "x"}'))
    events = await engine.run(
        """
        nodes:
          a:
            type: http.request
            params: {url: "http://peer/"}
            next: {error.http.404: exact, error.http.4xx: class, error.http: family, error: any, default: ok}
          exact: {type: return, params: {value: ["exact", "${error.type}", "${error.data.body.why}"]}}
          class: {type: return, params: {value: ["class", "${error.type}", "${error.data.body.why}"]}}
          family: {type: return, params: {value: ["family", "${error.type}", "${error.data.body.why}"]}}
          any: {type: return}
          ok: {type: return}
        """
    )

    assert ending(events) == Completed(result=[taken, f"http.{status}", "x"])


async def test_an_expression_without_a_value_is_an_error_of_its_node(engine: Machine) -> None:
    events = await engine.run(
        """
        nodes:
          a: {type: transform, params: {value: "x ${input.missing}"}, next: {error.expression: b}}
          b: {type: return, params: {value: "${error.message}"}}
        """,
        {},
    )

    assert "${input.missing}" in ending(events).result


async def test_parameters_that_turn_out_wrong_are_an_error_of_their_node(engine: Machine) -> None:
    events = await engine.run(
        """
        nodes:
          a: {type: http.request, params: {url: "${input}"}, next: {error.input.invalid: b}}
          b: {type: return, params: {value: "${error.message}"}}
        """,
        5,
    )

    assert "url" in ending(events).result
    assert engine.http.requests == []


async def test_a_node_fails_on_purpose_with_its_own_error(engine: Machine) -> None:
    events = await engine.run(
        """
        nodes:
          a: {type: fail, params: {error: orders.failed, message: "no ${input}", data: [1]}, next: {error.orders: b}}
          b: {type: return, params: {value: ["${error.message}", "${error.data}"]}}
        """,
        "way",
    )

    assert ending(events) == Completed(result=["no way", [1]])


# Node types that misbehave


async def run_acting(path: Path, act: Any, *, flow: str | None = None, pure: bool = False) -> list[Event]:
    async with machine(path, types=[Acting("act", act, pure=pure)]) as engine:
        events = await engine.run(
            flow
            or "nodes: {a: {type: act, next: {default: ok, error: bad}}, ok: {type: return},"
            " bad: {type: return, params: {value: '${error.type}'}}}"
        )
    assert check_database(path) == []
    return events


class Unfriendly(Exception):
    def __str__(self) -> str:
        return "secret detail"


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("x"), Unfriendly(), RecursionError(), TimeoutError(), asyncio.CancelledError(), MemoryError()]
)
async def test_whatever_a_node_type_raises_ends_its_node_alone(path: Path, error: BaseException, pure: bool) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        raise error

    events = await run_acting(path, act, pure=pure)

    assert ending(events) == Completed(result="node.crashed")
    assert "secret detail" not in str(events)


@pytest.mark.parametrize(
    "result", [object(), {"a": object()}, {1, "a", None}, b"\xff", "\ud800", 2**200, {(1, 2): 3}, Unfriendly()],
)  # fmt: skip
async def test_a_result_that_is_no_json_ends_its_node_alone_or_is_made_json(path: Path, result: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        return result

    events = await run_acting(path, act)

    assert isinstance(ending(events), Completed)


async def test_a_result_that_contains_itself_ends_its_node_alone(path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)

    async def act(value: Any, context: StepContext) -> Any:
        return loop

    assert isinstance(ending(await run_acting(path, act)), Completed)


@pytest.mark.parametrize("failure", [("x", 5), (7, "m"), ("x", ValueError("v"))])
async def test_an_error_of_odd_parts_is_still_an_error(path: Path, failure: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        raise NodeFailure(*failure, data={"when": object()})

    assert isinstance(ending(await run_acting(path, act)), Completed)


@pytest.mark.parametrize(
    "line", [("warning", "m", None), ("info", 5, None), ("info", "m", object()), ("info", "\ud800", None)]
)
async def test_an_odd_log_line_does_not_stop_the_execution_now_or_after_a_restart(path: Path, line: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        context.log(*line)

    events = await run_acting(path, act)

    assert isinstance(ending(events), Completed)


# Retries and time-outs


async def test_a_failed_step_is_tried_again_with_the_same_key(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(503), NodeFailure("connection.refused", "no"), answer(body='"ok"'))
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 3, delay: 5ms}}}"
    )

    assert [(e.attempt, e.interrupted) for e in of_type(NodeStarted, events)] == [(1, False), (2, False), (3, False)]
    failures = of_type(NodeFailed, events)
    assert [f.error.type for f in failures] == ["http.503", "connection.refused"]
    assert all(f.retry_at is not None for f in failures)
    assert {r.key for r in engine.http.requests} == {"exec-1.a.1"}
    assert ending(events).result["body"] == "ok"


async def test_retries_end_with_the_last_error(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(503))
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 2, delay: 1ms}}}"
    )

    assert len(engine.http.requests) == 3
    assert [f.retry_at is None for f in of_type(NodeFailed, events)] == [False, False, True]
    assert ending(events).error.type == "http.503"


async def test_an_error_that_is_not_covered_is_not_tried_again(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(404))
    await engine.run("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 5, delay: 1ms}}}")

    assert len(engine.http.requests) == 1


async def test_waits_between_tries_grow_and_are_kept(engine: Machine, path: Path) -> None:
    engine.http.at("http://peer/", answer(503), answer(503), answer(503), answer())
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 3, delay: 2ms, backoff: 3}}}"
    )

    rows = rows_of(path, "SELECT at, data FROM events WHERE type = 'node.failed' ORDER BY seq")
    assert len(rows) == 3
    waits = [f.retry_at for f in of_type(NodeFailed, events)]
    assert all(wait is not None for wait in waits)
    assert check_database(path) == []


async def test_the_other_side_s_wish_to_wait_is_respected(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(429, retry_after="7200"), answer())
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 3, delay: 1ms}}}")
    await engine.start()
    await engine.until_parked()

    engine.clock.advance(minutes=119)
    engine.look_at_timers()
    await asyncio.sleep(0.1)
    assert len(engine.http.requests) == 1
    engine.clock.advance(minutes=2)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED


async def test_a_node_that_takes_too_long_times_out(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, timeout: 50ms, next: {error.timeout: b}},"
        " b: {type: return, params: {value: '${error.message}'}}}"
    )

    assert ending(events) == Completed(result="The node did not end within 0.05 seconds")


# Waits


async def test_a_delay_leaves_memory_and_wakes_at_its_time(engine: Machine) -> None:
    await engine.save(
        "nodes: {a: {type: delay, params: {duration: 2h}, next: b}, b: {type: webhook, params: {url: 'http://peer/'}}}"
    )
    await engine.start(input={"n": 1})
    await engine.until_parked()
    assert engine.dispatcher.active == 0
    assert await engine.journal.next_wake() is not None

    engine.clock.advance(hours=1, minutes=59)
    engine.look_at_timers()
    await asyncio.sleep(0.1)
    assert await engine.status() is Status.WAITING
    engine.clock.advance(minutes=1)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED
    assert engine.http.requests[0].body == b'{"n":1}'


async def test_a_short_delay_stays_in_memory(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: delay, params: {duration: 20ms}}}")

    assert len(of_type(NodeWaiting, events)) == 1
    assert isinstance(ending(events), Completed)


async def test_a_delay_of_more_than_a_moment_wakes_by_itself(path: Path) -> None:
    class RunningClock(SteppingClock):
        """The machine's own time."""

        def now(self) -> Any:
            self._now = max(self._now, self._begun + timedelta(seconds=asyncio.get_running_loop().time()))
            return self._now.replace(microsecond=self._now.microsecond // 1000 * 1000)

        def __init__(self) -> None:
            super().__init__()
            self._begun = self._now

    async with machine(path, clock=RunningClock()) as engine:
        events = await engine.run("nodes: {a: {type: delay, params: {duration: 1200ms}}}")

    assert isinstance(ending(events), Completed)


async def test_a_delay_until_the_past_ends_at_once(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: delay, params: {until: '2001-01-01T00:00:00Z'}}}")

    assert isinstance(ending(events), Completed)


@pytest.mark.parametrize("advance", [{"hours": 3}, {"minutes": 1}])
async def test_a_delay_goes_on_after_a_restart_neither_shortened_nor_repeated(
    path: Path, advance: dict[str, float]
) -> None:
    clock = SteppingClock()
    async with machine(path, clock=clock) as first:
        await first.save("nodes: {a: {type: delay, params: {duration: 2h}}}")
        await first.start()
        await first.until_parked()
    clock.advance(**advance)
    async with machine(path, clock=clock) as second:
        if "minutes" in advance:
            await asyncio.sleep(0.1)
            assert await second.status() is Status.WAITING
            clock.advance(hours=2)
            second.look_at_timers()
        await second.until_ended()
        events = await second.events()

    assert len(of_type(NodeStarted, events)) == len(of_type(NodeWaiting, events)) == 1
    assert check_database(path) == []


async def test_many_parked_executions_wake_together(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: delay, params: {duration: 1h}}}")
    for n in range(250):
        await engine.start(id=f"e{n:03}")

    async def all_are_parked() -> bool:
        return engine.dispatcher.active == 0 and engine.dispatcher.queued == 0

    await engine.until(all_are_parked)
    engine.clock.advance(hours=2)
    engine.look_at_timers()

    async def all_have_ended() -> bool:
        return rows_of(engine.path, "SELECT count(*) FROM executions WHERE status = 'completed'") == [(250,)]

    await engine.until(all_have_ended)


# Cancellation


async def test_a_running_node_is_cancelled_at_once(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: b}, b: {type: return}}")
    id = await engine.start()
    await engine.until_requested("http://peer/")

    async with asyncio.timeout(1.0):
        await engine.dispatcher.cancel(id, reason="by hand")

    events = await engine.events()
    assert ending(events) == Cancelled(reason="by hand")
    assert path_of(events) == ["a"]


async def test_a_waiting_execution_is_cancelled(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: delay, params: {duration: 2h}}}")
    id = await engine.start()
    await engine.until_parked()

    await engine.dispatcher.cancel(id, reason="by hand")

    assert await engine.status() is Status.CANCELLED
    assert await engine.journal.next_wake() is None


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
    engine.http.at("http://peer/", answer(503))
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 9, delay: 900ms}}}")
    id = await engine.start()
    await engine.until_requested("http://peer/")

    async with asyncio.timeout(0.8):
        await engine.dispatcher.cancel(id, reason="by hand")

    assert await engine.status() is Status.CANCELLED


async def test_a_node_that_ignores_its_timeout_does_not_keep_its_execution(path: Path) -> None:
    released = asyncio.Event()
    tries: list[int] = []

    async def stubborn(value: Any, context: StepContext) -> Any:
        tries.append(context.attempt)
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    flow = "nodes: {a: {type: act, timeout: 50ms, retry: {max: 1, delay: 10ms}}}"
    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        events = await engine.run(flow)
        released.set()
        await asyncio.sleep(0)

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "timeout"
    assert tries == [1, 2]
    assert check_database(path) == []


async def test_a_node_that_ignores_cancellation_does_not_keep_its_execution(path: Path) -> None:
    let_go = asyncio.Event()

    async def stubborn(value: Any, context: StepContext) -> Any:
        while not let_go.is_set():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                context.log("info", "no")
        return "late"

    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(2.0):
            await engine.dispatcher.cancel(id, reason="by hand")
        assert await engine.status() is Status.CANCELLED
        let_go.set()
        for task in asyncio.all_tasks():
            if task.get_name().startswith("step"):
                task.cancel()
        await asyncio.sleep(0.2)

    assert check_database(path) == []


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

    await engine.until(none_is_open, seconds=5)


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


async def test_a_flow_that_can_no_longer_be_read_fails_its_executions(path: Path) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("gone", act)]) as first:
        await first.save("nodes: {a: {type: gone}}")
        await first.start()
        await asyncio.sleep(0.05)
    async with machine(path) as second:
        assert await second.until_ended() is Status.FAILED
        assert ending(await second.events()).error.type == "flow.invalid"

    assert check_database(path) == []


# Room


async def test_executions_beyond_the_limit_wait_their_turn(path: Path) -> None:
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


async def test_a_repeated_request_makes_no_second_execution(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: return}}")
    await engine.start(id="e1", key="k")

    with pytest.raises(DuplicateRequest) as repeat:
        await engine.start(id="e2", key="k")

    assert repeat.value.execution_id == "e1"
    assert await engine.until_ended("e1") is Status.COMPLETED
    assert engine.dispatcher.active == 0


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
        draining = asyncio.ensure_future(first.dispatcher.drain(seconds=10))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await first.start(id="e2")
        assert not draining.done()
        let_go.set()
        await draining
        assert first.dispatcher.active == 0
    assert rows_of(path, "SELECT count(*) FROM events WHERE type = 'node.completed'") == [(1,)]
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
        async with asyncio.timeout(5):
            await first.dispatcher.drain(seconds=0.1)
    async with machine(path, http=http) as second:
        assert await second.until_ended() is Status.COMPLETED


async def test_a_stop_during_a_short_wait_does_not_hang(path: Path) -> None:
    async with machine(path) as first:
        first.http.at("http://peer/", answer(503))
        await first.save("nodes: {a: {type: webhook, params: {url: 'http://peer/'}, retry: {max: 9, delay: 900ms}}}")
        await first.start()
        await first.until_requested("http://peer/")
        async with asyncio.timeout(0.7):
            await first.dispatcher.drain(seconds=10)
        assert first.dispatcher.active == 0


# Logs and limits


async def test_log_lines_are_kept_up_to_a_limit_and_then_a_mark(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_LOG_LINES", 20)
    events = await engine.run("nodes: {a: {type: log, params: {message: hello}, next: a}}")

    messages = [line.message for line in of_type(Logged, events)]
    assert messages[:20] == ["Execution started", *["hello"] * 19]
    assert messages[20] == "Log truncated: 20 lines are kept of an execution"
    assert len([m for m in messages if m.startswith("Log truncated")]) == 1
    assert messages[-1].startswith("Execution failed")
    assert len(messages) == 22


async def test_a_truncated_log_stays_truncated_after_a_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_LOG_LINES", 10)

    async def chatty(value: Any, context: StepContext) -> Any:
        for n in range(100):
            context.log("info", str(n))
        if context.attempt == 1:
            await asyncio.Event().wait()

    types = [Acting("act", chatty)]
    async with machine(path, types=types) as first:
        await first.save("nodes: {a: {type: act}}")
        await first.start()

        async def has_mark() -> bool:
            return "Log truncated" in str(await first.events())

        await first.until(has_mark)
    async with machine(path, types=types) as second:
        await second.until_ended()
        lines = of_type(Logged, await second.events())

    assert len([line for line in lines if line.message.startswith("Log truncated")]) == 1
    assert len(lines) <= 13


async def test_the_lines_of_a_running_node_appear_before_it_ends(path: Path) -> None:
    async def slow(value: Any, context: StepContext) -> Any:
        context.log("info", "half way", {"n": 1})
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", slow)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()

        async def has_line() -> bool:
            return any(line.message == "half way" for line in of_type(Logged, await engine.events()))

        await engine.until(has_line)
        await engine.dispatcher.cancel(id, reason="enough")


async def test_a_line_of_too_much_data_says_so(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: log, params: {message: m, data: '${input}'}}}", "x" * 200_000)

    (line,) = [line for line in of_type(Logged, events) if line.message == "m"]
    assert "65536 are kept at most" in str(line.data)


async def test_a_result_that_is_too_large_is_an_error_of_its_node(engine: Machine) -> None:
    events = await engine.run(
        """
        nodes:
          a:
            type: transform
            params: {value: ["${input}", "${input}", "${input}"]}
            next: {error.node.result_too_large: b}
          b: {type: return, params: {value: "${error.type}"}}
        """,
        "x" * 1_000_000,
    )

    assert ending(events) == Completed(result="node.result_too_large")


async def test_a_wait_cannot_carry_more_than_a_result_may(engine: Machine) -> None:
    events = await engine.run(
        """
        nodes:
          a:
            type: delay
            params: {duration: 1ms}
            output: ["${input}", "${input}", "${input}"]
            next: {error.node.result_too_large: b}
          b: {type: return, params: {value: "${error.type}"}}
        """,
        "x" * 1_000_000,
    )

    assert ending(events) == Completed(result="node.result_too_large")


async def test_an_error_of_too_much_data_is_cut_and_says_so(engine: Machine) -> None:
    body = json.dumps("x" * 900_000)
    engine.http.at("http://peer/", answer(500, body))
    events = await engine.run("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")

    assert "are kept at most" in str(ending(events).error.data)
    assert all(row[0] < recorder.MAX_ERROR_BYTES for row in rows_of(engine.path, "SELECT length(data) FROM events"))


async def test_an_answer_nested_as_deep_as_can_be_read_can_be_kept(engine: Machine) -> None:
    for n, depth in enumerate((100, 500, 900, 985, 990, 995, 1000, 3000)):
        engine.http.at("http://peer/", answer(body="[" * depth + "]" * depth))
        flow = (
            "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: {default: b, error: c}},"
            " b: {type: transform, params: {value: {deeper: ['${input.body}']}}, next: {error: c}},"
            " c: {type: return, params: {value: '${error.type}'}}}"
        )
        events = await engine.run(flow, id=f"e{n}")
        assert isinstance(ending(events), Completed), f"depth {depth}: {ending(events)}"


@pytest.mark.parametrize("body", ["1" * 400, "1e400", '"\\ud800"', '{"a": NaN}', "-0.0", "1" * 30])
async def test_an_answer_of_odd_json_does_not_end_the_execution(engine: Machine, body: str) -> None:
    engine.http.at("http://peer/", answer(body=body))
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: b}, b: {type: webhook, params: {url: 'http://peer/b'}}}"
    )

    assert isinstance(ending(events), Completed)


# Secrets


async def test_secrets_are_hidden_in_every_event(engine: Machine, path: Path) -> None:
    value = 'geheim-"Wort"-\\1'
    await secret(engine, "KEY", value)

    async def leak(request: Request) -> HttpAnswer:
        assert request.headers["Authorization"] == f"Bearer {value}"
        return answer(403, json.dumps({"echo": [value, {value: 1}], "text": f"you sent {value}!"}), x_echo="geheim")

    engine.http.at("http://peer/", leak)
    await engine.run(
        """
        nodes:
          a:
            type: http.request
            params: {url: "http://peer/", headers: {Authorization: "Bearer ${secrets.KEY}"}}
            next: {error: b}
          b: {type: log, params: {message: "m ${secrets.KEY}", data: ["${secrets.KEY}"]}, next: c}
          c: {type: transform, params: {value: {"k": "${secrets.KEY}", "e": "${error.data}"}}, next: d}
          d: {type: fail, params: {message: "failed with ${secrets.KEY}", data: "${secrets.KEY}"}}
        """,
        {"given": value},
    )
    await engine.database.close()

    stored = await asyncio.to_thread(path.read_bytes)
    for form in (value, json.dumps(value)[1:-1], json.dumps(json.dumps(value)[1:-1])[1:-1]):
        assert form.encode() not in stored
        for published in engine.broadcast.published.values():
            assert all(form.encode() not in r.data and form not in str(r.event) for r in published)
    assert "***" in str(rows_of(path, "SELECT error FROM executions"))


async def test_an_unknown_secret_is_an_error_that_names_it(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: transform, params: {value: '${secrets.MISSING}'}}}")

    assert "MISSING" in ending(events).error.message
    assert ending(events).error.type == "expression"


async def test_a_secret_that_was_replaced_is_still_hidden(engine: Machine, path: Path) -> None:
    await secret(engine, "KEY", "the-first-value")
    await secret(engine, "KEY", "the-second-value")

    events = await engine.run(
        "nodes: {a: {type: return, params: {value: '${input}'}}}", "the-first-value the-second-value"
    )

    assert ending(events) == Completed(result="*** ***")


async def test_a_pure_node_that_keeps_ending_the_process_is_given_up(path: Path) -> None:
    starts = 0
    begun = asyncio.Event()

    async def deadly(value: Any, context: StepContext) -> Any:
        nonlocal starts
        starts += 1
        begun.set()
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        await engine.start()
        await begun.wait()
    for _ in range(decide.MAX_INTERRUPTIONS + 3):
        begun.clear()
        async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
            ended = asyncio.create_task(engine.until_ended())
            await asyncio.wait((ended, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                break
            ended.cancel()

    async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
        events = await engine.events()
    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "worker_crashed"
    assert starts <= decide.MAX_INTERRUPTIONS + 2
    assert check_database(path) == []


async def test_one_long_value_named_many_times_is_an_error_and_not_a_flood(engine: Machine) -> None:
    many = ", ".join(['"${input.x}"'] * 3000)
    texts = "${input.x}" * 3000

    listed = await engine.run(f"nodes: {{a: {{type: transform, params: {{value: [{many}]}}}}}}", {"x": "y" * 600_000})
    joined = await engine.run(
        f'nodes: {{a: {{type: transform, params: {{value: "{texts}"}}}}}}', {"x": "y" * 600_000}, id="exec-2"
    )

    for events in (listed, joined):
        assert isinstance(end := ending(events), Failed)
        assert end.error.type == "expression"
        assert "together" in end.error.message


async def test_tries_count_towards_the_steps_of_an_execution(engine: Machine) -> None:
    events = await engine.run(
        "{limits: {max_steps: 50}, nodes: {a: {type: fail, retry: {max: 90, delay: 0s, errors: ['*']}}}}"
    )

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.steps"
    assert len(of_type(NodeStarted, events)) == 50


async def test_lines_about_failed_tries_are_capped_like_others(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_LOG_LINES", 10)

    events = await engine.run("nodes: {a: {type: fail, retry: {max: 40, delay: 0s, errors: ['*']}}}")

    lines = [line.message for line in of_type(Logged, events)]
    assert len(lines) == 10 + 1 + 1
    assert lines[-2].startswith("Log truncated")
    assert lines[-1].startswith("Execution failed")


async def test_an_error_that_a_retry_overcame_is_none_for_later_nodes(engine: Machine) -> None:
    engine.http.at("http://peer/a", answer(503), answer(200))

    events = await engine.run(
        """
        nodes:
          a: {type: http.request, params: {url: "http://peer/a"}, retry: {max: 1, delay: 1ms}, next: b}
          b: {type: return, params: {value: ["${error}", "${nodes.a.error}", "${nodes.a.attempts}"]}}
        """
    )

    assert ending(events) == Completed(result=[None, None, 2])


async def test_a_cancellation_that_did_not_become_durable_is_not_reported_as_done(path: Path) -> None:
    class Refusing:
        """A journal that takes nothing more once it is told to."""

        def __init__(self, journal: Any) -> None:
            self.journal, self.refuses = journal, False

        def append(self, append: Any) -> Any:
            async def refused() -> None:
                raise Unavailable("full")

            return refused() if self.refuses else self.journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

    async def waits(value: Any, context: StepContext) -> Any:
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", waits)], wrap=lambda journal, _: Refusing(journal)) as engine:  # type: ignore[arg-type,return-value]
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()
        engine.journal.refuses = True  # type: ignore[attr-defined]
        cancelling = asyncio.create_task(engine.dispatcher.cancel(id, reason="by hand"))
        await asyncio.sleep(0.05)
        await engine.dispatcher.drain(seconds=10)
        with pytest.raises(Unavailable):
            await cancelling
        assert await engine.status() is Status.RUNNING


# Accounts that are gone


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
        await accounts.delete(MARA, at=engine.clock.now())

    async with machine(path, http=http, clock=engine.clock) as engine:
        for id in ("waiting", "running-1", "running-2", "queued"):
            assert await engine.until_ended(id) is Status.CANCELLED
            assert (await engine.events(id))[-1] == Cancelled(reason="the account was deleted")
    assert len(http.requests) == 2
    assert check_database(path) == []


async def test_what_an_execution_records_is_bounded_also_over_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "MAX_EXECUTION_BYTES", 1_000_000)
    flow = """
    start: a
    nodes:
      a: {type: transform, params: {value: "${flow.input}"}, next: b}
      b: {type: delay, params: {duration: 10s}, next: a}
    """
    clock = SteppingClock()
    async with machine(path, clock=clock) as engine:
        await engine.save(flow)
        await engine.start(input="x" * 100_000)
        await engine.until_parked()
    for _ in range(10):
        clock.advance(seconds=11)
        async with machine(path, clock=clock) as engine:
            ended = asyncio.create_task(engine.until_ended())
            parked = asyncio.create_task(engine.until_parked())
            await asyncio.wait((ended, parked), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            parked.cancel()
            if (await engine.status()).is_final:
                break

    async with machine(path, clock=clock) as engine:
        assert isinstance(end := ending(await engine.events()), Failed)
        assert end.error.type == "limit.size"
    assert check_database(path) == []
