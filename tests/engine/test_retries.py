"""When a step is tried again, and when it has taken too long."""

from flowrunner.domain.events import Completed, NodeFailed, NodeStarted
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from flowrunner.plugin import NodeFailure
from flowrunner.ports.journal import load_whole
from support.dependencies import Machine, answer, never

from .events import ending, of_type


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


async def test_waits_between_tries_grow_and_are_kept(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(503), answer(503), answer(503), answer())
    await engine.save(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 3, delay: 2s, backoff: 3}}}"
    )
    await engine.start()
    for attempts in (1, 2, 3):
        await engine.until_requested("http://peer/", attempts)
        await engine.until_parked()
        engine.clock.advance(seconds=20)
        engine.look_at_timers()
    await engine.until_ended()

    _, stored = await load_whole(engine.journal, ExecutionId("exec-1"))
    waits = [event.retry_at - at for event, at in stored if isinstance(event, NodeFailed) and event.retry_at]
    # The clock moves a little whenever it is looked at.
    assert [round(wait.total_seconds()) for wait in waits] == [2, 6, 18]


async def test_the_retry_after_header_of_a_server_is_respected(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(429, retry_after="7200"), answer())
    await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 3, delay: 1ms}}}")
    await engine.start()
    await engine.until_parked()

    engine.clock.advance(minutes=119)
    await engine.until_timers_have_looked()
    assert engine.in_memory == 0
    assert len(engine.http.requests) == 1
    engine.clock.advance(minutes=2)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED


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


async def test_a_node_that_takes_too_long_times_out(engine: Machine) -> None:
    engine.http.at("http://peer/", never)
    events = await engine.run(
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, timeout: 50ms, next: {error.timeout: b}},"
        " b: {type: return, params: {value: '${error.message}'}}}"
    )

    assert ending(events) == Completed(result="The node did not end within 0.05 seconds")


async def test_a_retried_attempt_lasts_since_its_own_start_and_a_failed_step_since_its_first(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(503))
    await engine.run("nodes: {a: {type: http.request, params: {url: 'http://peer/'}, retry: {max: 2, delay: 5ms}}}")

    records = engine.broadcast.published[ExecutionId("exec-1")]
    starts = [record.at for record in records if isinstance(record.event, NodeStarted)]
    since = [record.since for record in records if isinstance(record.event, NodeFailed)]

    assert since == [starts[0], starts[1], starts[0]]
    assert len(set(starts)) == 3
