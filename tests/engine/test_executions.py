"""How executions go: results, edges, errors."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flowrunner.domain.events import Completed, Logged, NodeCompleted, NodeStarted, SignalReceived, Started
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId
from flowrunner.engine.event_log import MAX_UNRECORDED_BYTES, MAX_UNRECORDED_EVENTS, EventLog
from flowrunner.fair_slots import FairSlots
from flowrunner.nodes import http_request
from flowrunner.nodes.http_answers import read_body
from flowrunner.plugin import StepContext
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.journal import Append, Summary
from support.databases import MARA, change, rows_of
from support.dependencies import Acting, Machine, answer, detail_of, machine
from support.invariants import check_database

from .events import ending, path_of

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


async def test_an_element_that_an_earlier_version_let_be_called_config_is_read(engine: Machine, path: Path) -> None:
    inner = "nodes: {a: {type: transform, params: {value: ['${record.a}', '${record}', '${record.a + 1}']}}}"
    await engine.save(f"nodes: {{each: {{type: foreach, params: {{items: [{{a: 1}}], as: record}}, {inner}}}}}")
    change(path, "UPDATE revisions SET definition = replace(definition, 'record', 'config')")

    await engine.start()
    await engine.until_ended()

    assert (await detail_of(engine)).result == b'[[1,{"a":1},2]]'


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


@pytest.mark.parametrize("body", ["1" * 400, "-0.0", "1" * 30])
async def test_an_answer_of_odd_numbers_does_not_end_the_execution(engine: Machine, body: str) -> None:
    engine.http.at("http://peer/", answer(body=body))
    events = await engine.run(
        """
        nodes:
          a: {type: http.request, params: {url: 'http://peer/'}, next: b}
          b: {type: webhook, params: {url: 'http://peer/b'}}
        """
    )

    assert isinstance(ending(events), Completed)


@pytest.mark.parametrize("body", ["1e400", '"\\ud800"', '{"a": NaN}'])
async def test_an_answer_that_json_cannot_hold_is_an_error_of_its_node(engine: Machine, body: str) -> None:
    engine.http.at("http://peer/", answer(body=body))
    events = await engine.run(
        """
        nodes:
          a: {type: http.request, params: {url: 'http://peer/'}, next: {error.http.invalid_json: b}}
          b: {type: return}
        """
    )

    assert path_of(events) == ["a", "b"]
    assert isinstance(ending(events), Completed)


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


async def test_few_steps_at_a_time_hold_what_a_long_answer_became(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = engine.http.long_values = FairSlots(total=2, share=2, sure=2)
    engine.http.at("http://peer/", answer(body=f'"{"x" * 70_000}"'))
    unrecorded: list[int] = []
    read, recorded = 0, 0

    def watched_read(*given: Any, **more: Any) -> Any:
        nonlocal read
        read += 1
        unrecorded.append(read - recorded)
        return read_body(*given, **more)

    def watched_record(self: EventLog, event: Any, *more: Any) -> Any:
        nonlocal recorded
        stored = record(self, event, *more)
        recorded += isinstance(stored, NodeCompleted) and stored.node == "n"
        return stored

    record = EventLog.record
    monkeypatch.setattr(EventLog, "record", watched_record)
    monkeypatch.setattr(http_request, "read_body", watched_read)
    events = await engine.run(
        f"""
        nodes:
          each:
            type: foreach
            params: {{items: {list(range(20))}, concurrency: 20}}
            nodes: {{n: {{type: http.request, params: {{url: "http://peer/"}}}}}}
        """
    )

    assert isinstance(ending(events), Completed)
    assert len(unrecorded) == 20
    assert max(unrecorded) <= 2
    assert slots.held(MARA) == 0


async def test_an_execution_that_is_cancelled_holds_no_slot_for_long_values(path: Path) -> None:
    slots, decoded = FairSlots(total=3, share=3, sure=3), FairSlots(total=50, share=50, sure=20)

    async def linger(params: Any, context: StepContext) -> None:
        await context.hold_long_value()
        await context.hold_long_value(25)
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("linger", linger)]) as engine:
        engine.http.long_values, engine.http.decoded = slots, decoded
        loop = "type: foreach, params: {items: [1, 2, 3], concurrency: 3}"
        await engine.save(f"nodes: {{each: {{{loop}, nodes: {{n: {{type: linger}}}}}}}}")
        await engine.start()

        async def holds() -> bool:
            return (slots.held(MARA), decoded.held(MARA)) == (3, 50)

        await engine.until(holds)
        await engine.dispatcher.cancel(ExecutionId("exec-1"), reason="no")

        assert (slots.held(MARA), decoded.held(MARA)) == (0, 0)


async def test_a_step_takes_one_slot_however_many_long_values_it_reads_at_the_same_time(path: Path) -> None:
    slots, decoded = FairSlots(total=2, share=2, sure=2), FairSlots(total=50, share=50, sure=20)
    held: list[tuple[int, int]] = []

    async def read_two(params: Any, context: StepContext) -> None:
        async with slots.hold(MARA, 2):
            reads = [asyncio.create_task(context.hold_long_value(size)) for size in (20, 30)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*reads)
        held.append((slots.held(MARA), decoded.held(MARA)))

    async with machine(path, types=[Acting("read", read_two)]) as engine:
        engine.http.long_values, engine.http.decoded = slots, decoded
        await engine.run("nodes: {a: {type: read}}")

    assert held == [(1, 20)]
    assert (slots.held(MARA), decoded.held(MARA)) == (0, 0)


async def test_a_step_that_ended_before_it_got_a_slot_for_long_values_gives_it_back(path: Path) -> None:
    slots = FairSlots(total=2, share=2, sure=2)
    # A type may keep its context.
    left: list[tuple[asyncio.Task[None], StepContext]] = []

    async def leave_waiting(params: Any, context: StepContext) -> None:
        left.append((asyncio.create_task(context.hold_long_value()), context))
        await asyncio.sleep(0.01)

    async with machine(path, types=[Acting("leave", leave_waiting)]) as engine:
        engine.http.long_values = slots
        async with slots.hold(MARA, 2):
            events = await engine.run("nodes: {a: {type: leave}}")
            task = left[0][0]
            assert not task.done()
        await task

    assert isinstance(ending(events), Completed)
    assert slots.held(MARA) == 0


def keeping(appends: list[Append]) -> Any:
    """Return a wrapper of journals that adds their appends to a list."""

    class Keeping:
        def __init__(self, journal: Any) -> None:
            self._journal = journal

        async def append(self, append: Append) -> None:
            appends.append(append)
            await self._journal.append(append)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._journal, name)

    return lambda journal, _: Keeping(journal)


async def test_the_summary_is_written_where_it_changes(tmp_path: Path) -> None:
    appends: list[Append] = []
    path = tmp_path / "flowrunner.db"
    async with machine(path, wrap=keeping(appends)) as engine:
        engine.http.at("http://peer/", answer())
        events = await engine.run(
            """
            nodes:
              a: {type: http.request, params: {url: "http://peer/"}, next: b}
              b: {type: http.request, params: {url: "http://peer/"}, next: c}
              c: {type: http.request, params: {url: "http://peer/"}}
            """
        )

    assert isinstance(ending(events), Completed)
    assert [append.is_summary_unchanged for append in appends] == [False, True, True, False]
    assert appends[1].summary == appends[2].summary == Summary(status=Status.RUNNING)
    assert check_database(path) == []


@pytest.mark.parametrize(("characters", "steps"), [(1, 200), (700_000, 6)])
async def test_a_long_row_of_quick_nodes_is_stored_in_portions(tmp_path: Path, characters: int, steps: int) -> None:
    appends: list[Append] = []
    async with machine(tmp_path / "flowrunner.db", wrap=keeping(appends)) as engine:
        node = "{type: transform, params: {value: '${input}'}, next: a}"
        await engine.run(f"{{limits: {{max_steps: {steps}}}, nodes: {{a: {node}}}}}", "x" * characters)

    assert sum(len(append.records) for append in appends) > 2 * steps
    assert all(len(append.records) < 2 * MAX_UNRECORDED_EVENTS for append in appends)
    assert all(sum(len(r.data) for r in append.records) < 2 * MAX_UNRECORDED_BYTES for append in appends)


async def test_the_summary_of_a_wait_is_not_written_again_with_what_the_wait_is_not_for(tmp_path: Path) -> None:
    appends: list[Append] = []
    async with machine(tmp_path / "flowrunner.db", wrap=keeping(appends)) as engine:
        await engine.save("nodes: {a: {type: delay, params: {duration: 400ms}}}")
        await engine.start()
        await engine.until(engine.is_idle)
        await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key="signal:early", payload=1))
        engine.clock.advance(seconds=1)
        await engine.until_ended()

    early = [each for each in appends if any(isinstance(record.event, SignalReceived) for record in each.records)]
    assert [append.is_summary_unchanged for append in early] == [True]
