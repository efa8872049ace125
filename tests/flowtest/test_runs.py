"""Flow tests in this process: what they run, when their inputs come, and what they report."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import pytest
import pytest_asyncio

from flowrunner.flowtest.memory import NOBODY, GivenFlow, GivenFlows
from flowrunner.flowtest.offline import NoHttp, NoImap, NoMail, NoSql
from flowrunner.flowtest.paths import edges_of
from flowrunner.flowtest.run_test import FlowTestResult, Runtime, run_flow_test
from flowrunner.language.flow_tests import read_tests
from flowrunner.language.yaml_source import read_yaml
from flowrunner.local.runtime import open_runtime
from flowrunner.plugin import NodeFailure
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


async def test_an_answer_is_for_the_node_that_it_names(runtime: Runtime) -> None:
    text = """\
nodes:
  both:
    type: parallel
    branches:
      left: {nodes: {ask: {type: approval, params: {prompt: L?}}}}
      right: {nodes: {ask: {type: approval, params: {prompt: R?}, next: {approved: tell}}, tell: {type: return}}}
    next: last
  last: {type: approval, params: {prompt: Last?}}
"""
    answers: dict[str, Any] = {"last": {"approved": True}, "both.right.ask": {"approved": True}}

    right = await result_of(runtime, text, approvals=answers, expect={"status": "waiting"})
    all_of_them = await result_of(runtime, text, approvals={**answers, "both.left.ask": {"approved": False}})

    asks = [("both", "left", "ask"), ("both", "right", "ask")]
    assert right.trace.tries == dict.fromkeys([("both",), *asks, ("both", "right", "tell")], 1)
    assert (right.problems, all_of_them.problems) == ([], [])
    assert all_of_them.trace.path == ("both", "last")


async def test_a_trigger_gives_the_time_of_the_test_and_must_be_one_of_the_flow(runtime: Runtime) -> None:
    text = """\
triggers: {hook: {type: webhook, verify: none, input: {at: "${trigger.at}", n: "${trigger.body.n}"}}}
nodes: {a: {type: return, params: {value: "${flow.input}"}}}
"""
    found = await result_of(
        runtime, text, trigger={"name": "hook", "body": {"n": 5}}, now="2029-12-31T23:00:00Z",
        expect={"result": {"at": "2029-12-31T23:00:00.000Z", "n": 5}},
    )  # fmt: skip
    missing = await result_of(runtime, text, trigger={"name": "other", "body": {}})

    assert (what_differs(found), found.problems) == ({}, [])
    assert missing.problems == ["the flow has no trigger 'other'"]


async def test_input_that_is_refused_is_the_error_of_the_execution(runtime: Runtime) -> None:
    text = "inputs: {n: {type: integer}}\nnodes: {a: {type: return}}\n"

    result = await result_of(runtime, text, input={"n": "x"}, expect={"error": {"type": "input.invalid"}})

    assert (what_differs(result), result.status) == ({}, "failed")
    assert result.trace.path == ()


async def test_a_flow_that_is_started_twice_with_one_key_runs_once(runtime: Runtime) -> None:
    text = """\
metadata: {name: parent}
nodes:
  one: {type: flow, params: {flow: child, input: {n: 2}, dedupe: k, wait: false}, next: two}
  two: {type: flow, params: {flow: child, input: {n: 2}, dedupe: k, wait: false}, next: three}
  three: {type: flow, params: {flow: child, input: {n: 2}, dedupe: l, wait: false}, next: end}
  end: {type: return, params: {value: ["${nodes.one.result}", "${nodes.two.result}", "${nodes.three.result}"]}}
"""
    result = await result_of(runtime, text, CHILD)

    started: Any = result.events[-1].result  # type: ignore[union-attr]
    assert [one["execution_id"] for one in started] == ["exec_2", "exec_2", "exec_4"]


async def test_clients_of_flow_tests_reach_nothing() -> None:
    clients: list[Any] = [NoMail().of(NOBODY), NoImap().of(NOBODY), NoSql().of(NOBODY)]
    asked = [NoHttp().of(NOBODY).request("GET", "https://example.com", headers={})]
    asked += [clients[0].send(None, sender="a", recipients=[], write=lambda: None)]
    asked += [client.run(None, lambda session: 1, seconds=1.0) for client in clients[1:]]
    async with NoHttp().hold() as held:
        asked.append(held.request("GET", "https://example.com", headers={}))

    for request in asked:
        with pytest.raises(NodeFailure, match="offline"):
            await request
