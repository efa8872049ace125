"""Flow tests in this process: what they run, when their inputs come, and what they report."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from flowrunner.flowtest.memory import GivenFlow, GivenFlows
from flowrunner.flowtest.paths import edges_of
from flowrunner.flowtest.run_test import FlowTestResult, Runtime, run_flow_test
from flowrunner.language.flow_tests import read_tests
from flowrunner.language.yaml_source import read_yaml
from flowrunner.local.runtime import open_runtime
from support.flows import flow_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
ENDS: Final = "next: {approved: end, rejected: end}}\n  end: {type: return, params: {value: '${input}'}}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime() -> AsyncIterator[Runtime]:
    async with open_runtime() as (_, opened):
        yield opened


def added(flows: GivenFlows, text: str) -> GivenFlow:
    document: Any = read_yaml(text).value
    return flows.add(flow_of(text), document["nodes"])


async def result_of(runtime: Runtime, text: str, *others: str, **test: Any) -> FlowTestResult:
    flows = GivenFlows()
    given, *_ = [added(flows, each) for each in (text, *others)]
    tests, faults = read_tests({"t": test}, given.nodes)
    assert faults == ()
    return await run_flow_test(given, tests["t"], flows, runtime, most_seconds=30.0)


def what_differs(result: FlowTestResult) -> Mapping[str, Any]:
    return {one.what: one.lines for one in result.mismatches}


async def test_signals_of_one_key_come_in_order_and_at_their_times(runtime: Runtime) -> None:
    text = """\
nodes:
  one: {type: wait, params: {key: paid}, next: two}
  two: {type: wait, params: {key: paid}, next: end}
  end: {type: return, params: {value: ["${nodes.one.result}", "${input}"]}}
"""
    at_once = await result_of(runtime, text, signals={"paid": [{"payload": 1}, {"payload": 2}]})
    later = await result_of(
        runtime, text, signals={"paid": [{"payload": 1, "after": "2h"}, {"payload": 2, "after": "1h"}]}
    )

    assert what_differs(at_once) == what_differs(later) == {}
    assert (at_once.events[-1].result, at_once.virtual_seconds) == ([1, 2], 0)  # type: ignore[union-attr]
    # The one that comes first is taken first, whatever the order in which they are written.
    assert (later.events[-1].result, later.virtual_seconds) == ([2, 1], 7200)  # type: ignore[union-attr]


async def test_a_signal_with_a_time_is_kept_until_a_step_waits_for_it(runtime: Runtime) -> None:
    text = """\
nodes:
  nap: {type: delay, params: {duration: 2h}, next: wait}
  wait: {type: wait, params: {key: paid}}
"""
    result = await result_of(runtime, text, signals={"paid": {"payload": 7, "after": "1h"}}, expect={"result": 7})

    assert (what_differs(result), result.virtual_seconds) == ({}, 7200)


async def test_answers_without_a_name_are_those_of_different_accounts(runtime: Runtime) -> None:
    text = "nodes:\n  ask: {type: approval, params: {prompt: Go?, count: 2}, " + ENDS

    both = await result_of(runtime, text, approvals={"ask": [{"approved": True}, {"approved": True}]})
    named = await result_of(
        runtime, text, approvals={"ask": [{"approved": True, "by": "ann"}, {"approved": True, "by": "ann"}]},
        expect={"status": "waiting"},
    )  # fmt: skip

    assert (both.status, both.problems) == ("completed", [])
    assert named.problems == ["'ann' has answered 'ask' already: each account answers once"]


async def test_an_action_of_a_mock_is_one_of_its_node(runtime: Runtime) -> None:
    text = "nodes:\n  ask: {type: approval, params: {prompt: Go?}, " + ENDS

    without = await result_of(runtime, text, mocks={"ask": {"result": 1}})
    with_it = await result_of(runtime, text, mocks={"ask": {"result": 1, "action": "rejected"}}, expect={"result": 1})

    assert without.problems == ["the mock of 'ask' needs an 'action': approved, rejected, timeout"]
    # What a test expects is not compared where its mocks are wrong.
    assert (without.mismatches, without.has_passed) == ((), False)
    assert with_it.has_passed


async def test_a_problem_that_comes_again_is_told_once(runtime: Runtime) -> None:
    text = """\
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3]}
    nodes: {call: {type: webhook, params: {url: "https://example.com"}, next: {error: end}}, end: {type: return}}
"""
    result = await result_of(runtime, text)

    assert result.problems == [
        "the node 'each.call' (webhook) would reach outside, and tests run offline. "
        "Give it a mock: mocks: {each.call: {result: …}}"
    ]
    assert result.trace.tries == {("each",): 1, ("each", "call"): 3, ("each", "end"): 3}


CHILD: Final = """\
metadata: {name: child, version: "2"}
inputs: {n: {type: integer}}
nodes: {end: {type: return, params: {value: "${flow.input.n * 10}"}}}
"""


def calling(params: str, *, more: str = "") -> str:
    return f"""\
metadata: {{name: parent}}
nodes:
  call: {{type: flow, params: {{{params}}}, next: {{default: end, error: sorry}}}}
  end: {{type: return, params: {{value: "${{input}}"}}}}
  sorry: {{type: return, params: {{value: "${{nodes.call.error.type}}: ${{nodes.call.error.message}}"}}}}
{more}"""


@pytest.mark.parametrize(
    ("params", "result"),
    [
        ("flow: child, input: {n: 2}", 20),
        ('flow: child, version: "2", input: {n: 2}', 20),
        ('flow: child, version: "1", input: {n: 2}', "flow.not_found: There is no flow 'child' among the given files"),
        ("flow: other, input: {n: 2}", "flow.not_found: There is no flow 'other' among the given files"),
        (
            "flow: child, input: {n: two}",
            "input.invalid: The input of the flow 'child' is invalid: input.n: must be a whole number",
        ),
    ],
)
async def test_a_flow_of_the_given_files_runs_with_its_input(params: str, result: Any, runtime: Runtime) -> None:
    found = await result_of(runtime, calling(params), CHILD)

    assert found.events[-1].result == result  # type: ignore[union-attr]
    assert bool(found.problems) is ("not_found" in str(result))


async def test_a_flow_that_waits_for_ever_is_named_by_the_step_that_waits_for_it(runtime: Runtime) -> None:
    child = "metadata: {name: child}\nnodes: {wait: {type: wait, params: {key: paid}}}\n"

    result = await result_of(runtime, calling("flow: child, input: {}"), child)

    assert what_differs(result)["status"] == (
        "expected completed, but it waits indefinitely",
        "  call.1 waits for the flow that it has started, which waits indefinitely",
    )


async def test_a_cancellation_ends_the_flows_that_were_started_too(runtime: Runtime) -> None:
    child = "metadata: {name: child}\nnodes: {nap: {type: delay, params: {duration: 5h}}}\n"

    result = await result_of(
        runtime, calling("flow: child, input: {}"), child, cancel_after="1h", expect={"status": "cancelled"}
    )

    assert (what_differs(result), result.virtual_seconds) == ({}, 3600)


async def test_a_test_expects_handlers_attempts_and_edges_as_they_were(runtime: Runtime) -> None:
    text = """\
nodes:
  a: {type: webhook, params: {url: "https://example.com"}, retry: {max: 1, delay: 1m}, next: {error.http.5xx: b}}
  b: {type: log, params: {message: hi}, if: "false", next: c}
  c: {type: webhook, params: {url: "https://example.com"}, next: {error.timeout: d, error: d}}
  d: {type: fail, params: {error: gone, message: It is gone}}
  tell: {type: log, params: {message: oh}}
on_failure: tell
"""
    result = await result_of(
        runtime, text, mocks={"a": {"error": "http.503"}, "c": {"error": "egress.forbidden"}},
        expect={
            "error": {"type": "gone", "node": "d"}, "path": ["a", "c", "d"], "handlers": ["tell"], "tries": {"a": 2},
        },
    )  # fmt: skip

    assert (what_differs(result), result.problems) == ({}, [])
    never = set(edges_of(flow_of(text))) - result.edges
    assert never == {(("c",), "error.timeout")}


async def test_a_test_may_wait_for_the_latest_of_several_moments(runtime: Runtime) -> None:
    text = """\
nodes:
  both:
    type: parallel
    branches:
      left: {nodes: {nap: {type: delay, params: {duration: 3h}, next: l}, l: {type: return, params: {value: left}}}}
      right: {nodes: {nap: {type: delay, params: {duration: 1h}, next: r}, r: {type: return, params: {value: right}}}}
"""
    result = await result_of(runtime, text, expect={"result": {"left": "left", "right": "right"}})

    assert (what_differs(result), result.virtual_seconds) == ({}, 3 * 3600)
    assert result.status == "completed"
