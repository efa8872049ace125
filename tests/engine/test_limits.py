"""What an execution may take: steps, and the sizes of what it keeps."""

import asyncio
import json
import tracemalloc
from pathlib import Path
from textwrap import dedent

import pytest

from flowrunner.domain import decide, step_state
from flowrunner.domain.events import Completed, Failed, Logged, NodeCompleted, NodeStarted
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.engine import event_log, held_memory, mailbox, recorder
from flowrunner.plugin import HttpAnswer
from flowrunner.ports.dispatch import Signal
from support.databases import rows_of
from support.dependencies import Machine, Request, SteppingClock, answer, machine
from support.invariants import check_database

from .events import ending, of_type, path_of

# Steps


async def test_a_loop_of_pure_nodes_ends_by_its_limit(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: transform, params: {value: 1}, next: a}}")

    assert isinstance(ending(events), Failed)
    assert ending(events).error.type == "limit.steps"


async def test_tries_count_towards_the_steps_of_an_execution(engine: Machine) -> None:
    events = await engine.run(
        "{limits: {max_steps: 50}, nodes: {a: {type: fail, retry: {max: 90, delay: 0s, errors: ['*']}}}}"
    )

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.steps"
    assert len(of_type(NodeStarted, events)) == 50


# Sizes


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
    (line,) = [line for line in of_type(Logged, events) if line.level == "error"]
    assert (line.node, line.message.partition(" 3000")[0]) == ("a", "The result has")


async def test_what_flows_into_many_branches_is_counted_before_it_is_written(engine: Machine) -> None:
    branches = ", ".join(f"b{number}: {{nodes: {{n: {{type: log, params: {{message: m}}}}}}}}" for number in range(300))
    flow = f"{{nodes: {{a: {{type: parallel, branches: {{{branches}}}}}}}}}"

    tracemalloc.start()
    try:
        events = await engine.run(flow, "x" * 1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "node.result_too_large"
    assert "What flows into 300 scopes" in end.error.message
    assert peak < 50_000_000


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


async def test_the_data_of_an_error_is_measured_as_it_is_in_memory(engine: Machine) -> None:
    engine.http.at("http://peer/", answer(500, json.dumps([[]] * 40_000), **{"content-type": "application/json"}))
    events = await engine.run("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}")

    assert "the data of this error takes in memory" in str(ending(events).error.data)


@pytest.mark.parametrize("type", ["transform", "fail"])
async def test_what_the_runs_of_a_loop_give_is_measured_as_it_is_in_memory(
    engine: Machine, monkeypatch: pytest.MonkeyPatch, type: str
) -> None:
    monkeypatch.setattr(step_state, "MAX_HELD_BYTES", 1_000_000)
    params = {"transform": "value: '${flow.input}'", "fail": "error: no, data: '${flow.input}'"}[type]
    events = await engine.run(
        f"""
        nodes:
          each:
            type: foreach
            params: {{items: {list(range(100))}, on_error: continue}}
            nodes: {{n: {{type: {type}, params: {{{params}}}}}}}
            next: {{error.limit.collect: lost}}
          lost: {{type: return, params: {{value: "${{error.message}}"}}}}
        """,
        [[]] * 3000,
    )

    assert "The results of 5 rounds or branches take more than" in str(ending(events).result)


async def test_what_many_runs_hold_at_the_same_time_is_bounded(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_memory, "MAX_EXECUTION_MEMORY", 5_000_000)
    events = await engine.run(
        f"""
        on_finish: tidy
        start: each
        nodes:
          each:
            type: foreach
            params: {{items: {list(range(100))}, concurrency: 100}}
            nodes:
              big: {{type: transform, params: {{script: "return flow.input"}}, next: hold}}
              hold: {{type: wait, params: {{key: never}}}}
          tidy: {{type: webhook, params: {{url: "http://peer/tidy"}}}}
        """,
        [[]] * 3000,
    )

    assert isinstance(end := ending(events), Failed)
    assert (end.error.type, end.error.node) == ("limit.memory", "big")
    # Each result takes 240 kB.
    assert len([event for event in of_type(NodeCompleted, events) if event.node == "big"]) <= 21
    assert [request.url for request in engine.http.requests] == ["http://peer/tidy"]


async def test_memory_that_loops_no_longer_hold_is_free_again(engine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_memory, "MAX_EXECUTION_MEMORY", 1_500_000)
    events = await engine.run(
        f"""
        nodes:
          each:
            type: foreach
            params: {{items: {list(range(20))}}}
            nodes:
              big: {{type: transform, params: {{value: "${{flow.input}}"}}, next: small}}
              small: {{type: transform, params: {{value: 1}}}}
            next: round
          round: {{type: transform, params: {{value: "${{flow.input}}"}}, next: count}}
          count: {{type: set, params: {{n: "${{(vars.n || 0) + 1}}", big: "${{flow.input}}"}}, next: more}}
          more:
            type: switch
            params: {{cases: [{{when: "vars.n < 20", action: again}}]}}
            next: {{again: round, default: end}}
          end: {{type: return, params: {{value: "${{vars.n}}"}}}}
        """,
        [[]] * 3000,
    )

    assert ending(events) == Completed(result=20)


async def test_the_memory_that_an_execution_holds_is_bounded_also_over_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_memory, "MAX_EXECUTION_MEMORY", 1_000_000)
    big = 'type: transform, params: {value: "${flow.input}"}'
    clock = SteppingClock()
    async with machine(path, clock=clock) as engine:
        await engine.save(
            f"nodes: {{a: {{{big}, next: b}}, b: {{{big}, next: c}}, c: {{type: wait, params: {{key: k}}, next: d}},"
            f" d: {{{big}, next: e}}, e: {{{big}}}}}"
        )
        await engine.start(input=[[]] * 3000)
        await engine.until_parked()
    async with machine(path, clock=clock) as engine:
        await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key="signal:k", payload=None))
        await engine.until_ended()
        events = await engine.events()

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.memory"


async def test_signals_that_no_step_waits_for_are_measured_by_their_size_in_memory(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "MAX_EARLY_BYTES", 500_000)
    await engine.save("nodes: {a: {type: wait, params: {key: k2}, next: b}, b: {type: wait, params: {key: last}}}")
    await engine.start()
    await engine.until_parked()

    async def tell(key: str) -> bool:
        return await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key=f"signal:{key}", payload=[[]] * 3000))

    assert [await tell(f"k{number}") for number in (1, 3, 4, 5)] == [True, True, True, False]
    # The one that it waits for is taken.
    assert await tell("k2")


@pytest.mark.parametrize("depth", [100, 499, 500, 501, 900, 3000, 20_000])
async def test_an_answer_nested_as_deep_as_may_be_can_be_kept_and_a_deeper_one_is_an_error(
    engine: Machine, depth: int
) -> None:
    engine.http.at("http://peer/", answer(body="[" * depth + "]" * depth))
    flow = (
        "nodes: {a: {type: http.request, params: {url: 'http://peer/'}, next: {default: b, error: c}},"
        " b: {type: transform, params: {value: {deeper: ['${input.body}']}}, next: {error: c}},"
        " c: {type: return, params: {value: '${error.type}'}}}"
    )

    events = await engine.run(flow)

    assert isinstance(end := ending(events), Completed)
    if depth <= 500:
        assert path_of(events) == ["a", "b"]
    else:
        assert path_of(events) == ["a", "c"]
        assert end.result == "http.invalid_json"


@pytest.mark.parametrize("value", ["['${vars.v}']", "{a: '${vars.v}'}", "'${[vars.v]}'"])
async def test_values_that_a_flow_nests_are_an_error_before_nothing_could_read_them(
    engine: Machine, value: str
) -> None:
    flow = (
        "vars: {v: null}\n"
        "nodes: {begin: {type: set, params: {v: '${flow.input}'}, next: deepen},"
        " deepen: {type: while, params: {when: 'index < 20'}, nodes: {s: {type: set, params: {v: VALUE}}},"
        " next: {default: a, error: c}}, a: {type: return}, c: {type: return, params: {value: '${error}'}}}"
    )
    nearly_too_deep: JSON = None
    for _ in range(490):
        nearly_too_deep = [nearly_too_deep]

    events = await engine.run(flow.replace("VALUE", value), nearly_too_deep)

    assert isinstance(end := ending(events), Completed)
    assert isinstance(end.result, dict)
    assert end.result["type"] == "expression"
    assert "has lists and objects of more than 500 levels" in str(end.result["message"])


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


async def run_over_restarts(path: Path, flow: str, *, seconds: int, most: int) -> SteppingClock:
    """Run an execution that waits again and again, and start the machine again after each wait; return its clock."""
    clock = SteppingClock()
    async with machine(path, clock=clock) as engine:
        await engine.save(flow)
        await engine.start(input="x" * 100_000)
        await engine.until_parked()
    for _ in range(most):
        clock.advance(seconds=seconds)
        async with machine(path, clock=clock) as engine:
            await engine.until_timers_have_looked()
            ended = asyncio.create_task(engine.until_ended())
            parked = asyncio.create_task(engine.until_parked())
            await asyncio.wait((ended, parked), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            parked.cancel()
            if (await engine.status()).is_final:
                break
    return clock


async def test_what_an_execution_records_is_bounded_also_over_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_EXECUTION_BYTES", 1_000_000)
    flow = """
    start: a
    nodes:
      a: {type: transform, params: {value: "${flow.input}"}, next: b}
      b: {type: delay, params: {duration: 10s}, next: a}
    """
    clock = await run_over_restarts(path, flow, seconds=11, most=10)

    async with machine(path, clock=clock) as engine:
        assert isinstance(end := ending(await engine.events()), Failed)
        assert end.error.type == "limit.size"
    assert check_database(path) == []


HANDLED = """
on_finish: tidy
start: a
nodes:
  a: {type: transform, params: {value: "${flow.input}"}, next: a}
  tidy: {type: %s, params: {%s}, next: told}
  told: {type: webhook, params: {url: "http://peer/told"}}
"""


async def test_on_finish_runs_when_an_execution_has_recorded_too_much(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_EXECUTION_BYTES", 1_000_000)

    events = await engine.run(HANDLED % ("transform", 'value: "${execution.status}"'), "x" * 100_000)

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.size"
    assert [request.url for request in engine.http.requests] == ["http://peer/told"]


async def test_results_that_arrive_together_are_not_recorded_beyond_the_bound(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_EXECUTION_BYTES", 300_000)
    arrived = asyncio.Event()

    async def answers_with_the_others(request: Request) -> HttpAnswer:
        if len(engine.http.requests) == 20:
            arrived.set()
        await arrived.wait()
        return answer(body='"%s"' % ("x" * 50_000))

    engine.http.at("http://peer/", answers_with_the_others)

    events = await engine.run(
        """
        nodes:
          a:
            type: foreach
            params: {items: "${flow.input}", concurrency: 20}
            nodes: {b: {type: http.request, params: {url: "http://peer/"}}}
        """,
        list(range(20)),
    )

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.size"
    # The last of them exceeds it.
    assert len(of_type(NodeCompleted, events)) == 6


async def test_handlers_that_record_too_much_themselves_are_cut_off(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "MAX_EXECUTION_BYTES", 1_000_000)
    monkeypatch.setattr(event_log, "_BYTES_OF_HANDLERS", 50_000)

    events = await engine.run(HANDLED % ("transform", 'value: "${flow.input}"'), "x" * 100_000)

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "limit.size"
    assert engine.http.requests == []
    assert any("handlers of the end were cut off" in e.message for e in events if isinstance(e, Logged))


# What loops collect

GATHER = """
nodes:
  pages:
    type: {type}
    params: {{{params}, collect: "{collect}"}}
    nodes: {{page: {{type: transform, params: {{value: 1}}}}}}
    next: {{error.limit.collect: lost, default: count}}
  lost: {{type: return, params: {{value: "${{error.message}}"}}}}
  count: {{type: transform, params: {{value: ["${{nodes.pages.result.length}}", "${{nodes.pages.result[7].length}}"]}}}}
"""


@pytest.mark.parametrize(
    ("type", "params"), [("while", 'when: "index < 40"'), ("foreach", f"items: {list(range(40))}, concurrency: 5")]
)
async def test_each_part_that_a_loop_collects_is_stored_once(engine: Machine, type: str, params: str) -> None:
    events = await engine.run(GATHER.format(type=type, params=params, collect="${flow.input}"), "x" * 900_000)

    assert ending(events) == Completed(result=[40, 900_000])
    ((size,),) = rows_of(engine.path, "SELECT sum(length(data)) FROM events")
    assert 41 * 900_000 < size < 43 * 900_000


@pytest.mark.parametrize("on_error", ["fail", "continue", "collect"])
async def test_parts_that_are_too_large_together_are_an_error_of_the_loop(
    engine: Machine, monkeypatch: pytest.MonkeyPatch, on_error: str
) -> None:
    monkeypatch.setattr(decide, "MAX_COLLECTED_BYTES", 3_000_000)
    params = f"items: {list(range(9))}, concurrency: 3, on_error: {on_error}"

    events = await engine.run(GATHER.format(type="foreach", params=params, collect="${flow.input}"), "x" * 900_000)

    assert isinstance(end := ending(events), Completed)
    assert "'collect' has more than 3000000 bytes for 4 rounds together" in str(end.result)
    assert check_database(engine.path) == []


async def test_parts_count_together_over_a_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "MAX_COLLECTED_BYTES", 500_000)
    flow = GATHER.format(type="while", params='when: "true", delay: 1h', collect="${flow.input}")
    clock = await run_over_restarts(path, flow, seconds=3600, most=20)

    async with machine(path, clock=clock) as engine:
        assert "for 5 rounds together" in str(ending(await engine.events()).result)


@pytest.mark.parametrize(("more", "is_kept"), [(0, True), (200_000, False)])
async def test_a_part_has_a_size_of_its_own(engine: Machine, more: int, is_kept: bool) -> None:
    flow = GATHER.format(type="while", params='when: "index < 8"', collect="${[flow.input][0]}")
    if not is_kept:
        flow = GATHER.format(type="while", params='when: "index < 8"', collect="${flow.input}${flow.input}")

    events = await engine.run(flow, "x" * (500_000 + more))

    assert isinstance(end := ending(events), Completed)
    assert end.result == [8, 500_000] if is_kept else "the limit is 1048576" in str(end.result)


async def test_many_small_values_in_a_part_count_for_what_they_take_in_memory(engine: Machine) -> None:
    flow = GATHER.format(type="while", params='when: "index < 8"', collect="${flow.input}")

    events = await engine.run(flow, [[]] * 70_000)

    assert f"has {16 * 70_001} bytes" in str(ending(events).result)


async def test_an_execution_cannot_give_all_that_a_loop_may_collect(engine: Machine) -> None:
    flow = """
    nodes:
      pages:
        type: while
        params: {when: "index < 4", collect: "${flow.input}"}
        nodes: {page: {type: transform, params: {value: 1}}}
    """
    events = await engine.run(flow, "x" * 900_000)
    part = await engine.run(
        f"outputs: {{one: '${{nodes.pages.result[3].length}}'}}\n{dedent(flow)}", "x" * 900_000, id="exec-2"
    )

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "node.result_too_large"
    assert "Select the part to return in 'outputs'" in end.error.message
    assert ending(part) == Completed(result={"one": 900_000})
    assert all(row[0] < recorder.MAX_EVENT_BYTES for row in rows_of(engine.path, "SELECT length(data) FROM events"))
