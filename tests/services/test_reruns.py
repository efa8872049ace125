"""Reruns from any step, which end like the first execution."""

import threading
from typing import Any

import pytest

from flowrunner.bounded_json import decode_json
from flowrunner.domain.account import Caller
from flowrunner.domain.events import Completed, Ending, NodeStarted, Step
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.services import reruns
from flowrunner.services.reruns import RerunRequest
from flowrunner.threads import LONG_BYTES
from support.dependencies import Machine

TWICE = """vars: {n: 0}
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3]}
    nodes:
      a: {type: transform, params: {value: "${item + vars.n}"}, next: b}
      b: {type: transform, params: {value: "${input * 2}"}}
    next: count
  count: {type: set, params: {n: "${vars.n + 1}"}, next: more}
  more: {type: switch, params: {cases: [{when: "vars.n < 2", action: again}]}, next: {again: each, default: done}}
  done: {type: return, params: {value: ["${nodes.each.result}", "${vars.n}"]}}
"""
WHILE = """vars: {n: 0, seen: []}
nodes:
  loop:
    type: while
    params: {when: "vars.n < 3"}
    nodes:
      count: {type: set, params: {n: "${vars.n + 1}"}, next: keep}
      keep: {type: set, params: {seen: "${vars.seen.concat([vars.n])}"}, next: give}
      give: {type: transform, params: {value: "${vars.n * 10}"}}
    next: done
  done: {type: return, params: {value: ["${nodes.loop.result}", "${vars.seen}"]}}
"""
NESTED = """nodes:
  rows:
    type: foreach
    params: {items: [[1, 2], [3]], as: row, concurrency: 2}
    nodes:
      cells:
        type: foreach
        params: {items: "${row}", as: cell}
        nodes:
          x: {type: transform, params: {value: "${cell * 2}"}, next: y}
          y: {type: transform, params: {value: "${input + 1}"}}
        next: both
      both:
        type: parallel
        branches:
          left: {nodes: {l: {type: transform, params: {value: "${input.length}"}}}}
          right: {nodes: {r: {type: log, params: {message: hi}, next: s}, s: {type: return, params: {value: r}}}}
        next: row
      row: {type: return, params: {value: "${[nodes.cells.result, input]}"}}
"""
ERRORS = """nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3, 4], on_error: collect, concurrency: 3}
    nodes:
      parity: {type: switch, params: {cases: [{when: "item % 2 == 0", action: even}]}, next: {even: bad}}
      bad: {type: fail, params: {message: even}}
    output: "${result.length}"
    next: stop
  stop: {type: fail, params: {error: a.b, message: x}, next: {error: seen}}
  seen: {type: transform, params: {value: "${error.type}"}, next: first}
  first:
    type: parallel
    params: {join: any}
    branches:
      a: {nodes: {quick: {type: transform, params: {value: 1}}}}
      b: {nodes: {slow: {type: delay, params: {duration: 1h}}}}
    next: done
  done: {type: return, params: {value: "${[nodes.each.result, nodes.seen.result, input]}"}}
"""
OLDER = """nodes:
  list: {type: transform, params: {value: [1, 2, 3]}, next: double}
  double: {type: transform, params: {value: "${item * 2}"}, batch: {strategy: parallel}, next: skipped}
  skipped: {type: transform, if: "input.length > 5", params: {value: 2}, next: {skipped: give, default: never}}
  give: {type: transform, params: {value: "${input}"}, hooks: {post: "return result.length"}}
  never: {type: return}
"""


async def ending_of(engine: Machine, id: ExecutionId) -> Ending:
    await engine.until_ended(id)
    last = (await engine.events(id))[-1]
    assert isinstance(last, Ending)
    return last


@pytest.mark.parametrize(
    ("definition", "result"),
    [
        (TWICE, [[4, 6, 8], 2]),
        (WHILE, [30, [1, 2, 3]]),
        (NESTED, [[[3, 5], {"left": 2, "right": "r"}], [[7], {"left": 1, "right": "r"}]]),
        (ERRORS, [4, "a.b", {"a": 1}]),
        (OLDER, 3),
    ],
    ids=["a loop twice", "while", "nested", "errors", "older forms"],
)
async def test_a_rerun_from_any_step_ends_like_the_first_execution(
    engine: Machine, mara: Caller, definition: str, result: JSON
) -> None:
    flow_id = await engine.save(definition)
    first = await engine.start(flow_id, {})
    assert await ending_of(engine, first) == Completed(result=result)
    began = [event for event in await engine.events(first) if isinstance(event, NodeStarted) and event.attempt == 1]
    steps = [str(Step(event.node, event.iteration, event.scope)) for event in began]
    assert len(steps) >= 6

    for step in steps:
        again = await engine.reruns.rerun(mara, first, RerunRequest(from_step=step))
        assert await ending_of(engine, again.id) == Completed(result=result), step


async def test_a_long_input_is_read_beside_the_event_loop(
    engine: Machine, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = dict[bool, int]()

    def noting(data: bytes) -> Any:
        threads[len(data) > LONG_BYTES] = threading.get_ident()
        return decode_json(data)

    monkeypatch.setattr(reruns, "decode_json", noting)
    flow_id = await engine.save("nodes: {a: {type: return, params: {value: 1}}}")
    for number, length in enumerate((1, LONG_BYTES)):
        first = await engine.start(flow_id, {"text": "x" * length}, id=f"exec-{number}")
        await engine.until_ended(first)
        again = await engine.reruns.rerun(mara, first)
        assert await ending_of(engine, again.id) == Completed(result=1)

    assert (threads[False] == threading.get_ident(), threads[True] == threading.get_ident()) == (True, False)


async def test_a_rerun_tells_the_revision_that_it_runs(engine: Machine, mara: Caller) -> None:
    flow_id = await engine.save("nodes: {a: {type: return, params: {value: 1}}}")
    first = await engine.start(flow_id, {})
    await ending_of(engine, first)

    again = await engine.reruns.rerun(mara, first, RerunRequest())

    assert again.revision == (await engine.executions.get(mara, again.id)).revision == 1
