"""The tests section of a flow: its meaning, and its faults."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner.domain.events import Completed, ErrorValue, Event, Failed, Logged, NodeCompleted, NodeStarted
from flowrunner.flowtest.memory import GivenFlows
from flowrunner.flowtest.mismatches import mismatches, same
from flowrunner.flowtest.paths import trace
from flowrunner.language import study_flow
from flowrunner.language.flow_tests import Expectation, MockedAnswer, MockedError, read_tests
from flowrunner.language.reading import read_flow
from support.flows import flow_of, specs

NODES: Any = {
    "fetch": {"type": "http.request"},
    "each": {"type": "foreach", "nodes": {"push": {"type": "webhook"}, "save": {"type": "webhook"}}},
    "both": {
        "type": "parallel",
        "branches": {
            "left": {"nodes": {"save": {"type": "webhook"}}},
            "right": {"nodes": {"ask": {"type": "approval"}}},
        },
    },
    "old": {"type": "webhook", "batch": {"strategy": "serial"}},
}

DOCUMENT = """\
nodes:
  fetch: {type: http.request, params: {url: "https://example.com"}, next: each}
  each:
    type: foreach
    params: {items: "${input.body}"}
    nodes:
      push: {type: webhook, params: {url: "https://example.com"}, next: save}
      save: {type: webhook, params: {url: "https://example.com"}}
    next: both
  both:
    type: parallel
    branches:
      left: {nodes: {save: {type: webhook, params: {url: "https://example.com"}}}}
tests:
  t:
    TEST
"""


def read(test: Any) -> Any:
    tests, faults = read_tests({"t": test}, NODES)
    assert faults == ()
    return tests["t"]


def test_a_mock_names_a_node_by_its_name_or_by_its_path() -> None:
    test = read({"mocks": {"fetch": {"result": 1}, "push": {"result": 2}, "both.left.save": {"result": 3}}})

    assert set(test.mocks) == {("fetch",), ("each", "push"), ("both", "left", "save")}


def test_a_node_that_runs_for_each_element_in_the_older_form_is_the_one_inside() -> None:
    assert set(read({"mocks": {"old": {"result": 1}}}).mocks) == {("old", "old")}


def test_mocks_are_one_answer_for_all_runs_or_one_for_each_run() -> None:
    mocks = read(
        {"mocks": {"fetch": {"result": 1}, "push": [{"error": "http.503"}, {"result": 2, "action": "big"}]}}
    ).mocks

    assert mocks["fetch",].repeats
    assert not mocks["each", "push"].repeats
    assert mocks["each", "push"].answers == (
        MockedAnswer(error=MockedError("http.503", "mocked: http.503")), MockedAnswer(2, "big"),
    )  # fmt: skip


def test_a_test_expects_completion_unless_it_says_otherwise() -> None:
    assert read({}).expect == Expectation(status="completed")
    assert read({"expect": {"error": "timeout"}}).expect.status == "failed"


def test_a_result_of_null_is_not_the_same_as_none_expected() -> None:
    assert read({"expect": {"result": None}}).expect.result is None
    assert read({"expect": {}}).expect.result is not None


# The test, the path of its fault within the test, and the code; the line is that of the test.
FAULTS = """\
mocks: {fetsh: {result: 1}} | mocks.fetsh | test.node | did you mean 'fetch'?
mocks: {save: {result: 1}} | mocks.save | test.node | name one: each.save, both.left.save
mocks: {push: {result: 1}, each.push: {result: 1}} | mocks.each.push | mock.twice |
mocks: {fetch: {reslt: 1}} | mocks.fetch | required |
mocks: {fetch: {result: 1, error: timeout}} | mocks.fetch.result | mock.both |
mocks: {fetch: 5} | mocks.fetch | type | write {result: …}
mocks: {fetch: []} | mocks.fetch | range |
mocks: {fetch: {error: {message: no}}} | mocks.fetch.error | required | such as http.503 or timeout
mock: {fetch: {result: 1}} | mock | unknown_key | did you mean 'mocks'?
expect: {status: done} | expect.status | enum |
expect: {status: complete} | expect.status | enum | did you mean 'completed'?
expect: {status: done, error: timeout, result: 1} | expect.status | enum |
expect: {status: failed, result: 1} | expect.result | expect.both |
expect: {status: completed, error: timeout} | expect.error | expect.both |
expect: {path: [fetch, push]} | expect.path[1] | test.node | a path holds only top-level nodes
expect: {path: fetch} | expect.path | type |
expect: {tries: {fetch: many}} | expect.tries.fetch | type |
expect: {logs: [{level: loud, message: x}]} | expect.logs[0].level | enum |
expect: {logs: [{level: [info], message: x}]} | expect.logs[0].level | enum |
expect: {results: 1} | expect.results | unknown_key | did you mean 'result'?
approvals: {fetch: {approved: true}} | approvals.fetch | test.node |
signals: {paid: {payload: 1, after: soon}} | signals.paid.after | duration |
secrets: {KEY: 5} | secrets.KEY | type | quote it
config: {KEY: null} | config.KEY | type |
mocks: {fetch: {error: timeout, action: x}} | mocks.fetch.action | mock.both |
input: [1] | input | type |
now: today | now | moment | such as 2027-01-31T08:00:00Z
now: "2027-01-31T08:00:00" | now | moment | such as 2027-01-31T08:00:00Z
cancel_after: 5 | cancel_after | type |
flows: {other: {mock: {}}} | flows.other.mock | unknown_key | did you mean 'mocks'?
"""


@pytest.mark.parametrize("case", FAULTS.splitlines())
def test_a_fault_is_reported_with_its_line(case: str) -> None:
    written, path, code, hint = (part.strip() for part in case.split(" |"))

    reading = study_flow(DOCUMENT.replace("TEST", written), specs())

    assert reading.flow is None
    found = {fault.path: fault for fault in reading.faults if not fault.is_warning}
    fault = found[f"tests.t.{path}"]
    assert (fault.line, fault.code) == (16, code)
    assert fault.column is not None
    assert fault.column >= 5
    if hint:
        assert fault.hint == hint


@pytest.mark.parametrize("empty", [0, False, "", [], {}], ids=repr)
@pytest.mark.parametrize(
    ("key", "type"),
    [(key, dict) for key in ("input", "mocks", "secrets", "flows", "approvals", "signals", "expect")]
    # No empty text is a time.
    + [(key, None) for key in ("cancel_after", "now")],
)
def test_only_an_empty_value_of_the_right_type_is_taken(key: str, type: type[Any] | None, empty: Any) -> None:
    _, faults = read_tests({"t": {key: empty}}, NODES)
    _, faults_of_null = read_tests({"t": {key: None}}, NODES)

    assert bool(faults) is (type is None or not isinstance(empty, type))
    assert faults_of_null == ()


def test_a_flow_with_right_tests_is_taken_with_them() -> None:
    reading = study_flow(DOCUMENT.replace("TEST", "mocks: {fetch: {result: {body: []}}}"), specs())

    assert reading.flow is not None
    assert list(reading.flow.tests) == ["t"]


@given(st.text(max_size=5) | st.builds(lambda size, end: "a" * size + end, st.integers(198, 201), st.text(max_size=1)))
def test_a_name_of_a_test_has_up_to_200_characters_that_are_all_shown(name: str) -> None:
    _, faults = read_tests({name: {}}, NODES)

    is_name = name.isprintable() and 1 <= len(name) <= 200
    assert [fault.code for fault in faults] == ([] if is_name else ["test.name"])


def test_a_test_that_is_not_a_map_is_reported() -> None:
    _, faults = read_tests({"t": [1]}, NODES)

    assert [(fault.keys, fault.code) for fault in faults] == [(("t",), "type")]


TRIGGERED = """
inputs: {day: {type: string}}
nodes: {a: {type: return, params: {value: "${flow.input.day}"}}}
triggers:
  nightly: {type: schedule, cron: "0 2 * * *", input: {day: "${trigger.due_at}"}}
tests:
  t: TEST
"""


@pytest.mark.parametrize(
    ("test", "faults"),
    [
        ("{trigger: nightly}", []),
        ('{trigger: {name: nightly, due_at: "2027-01-31T02:00:00Z"}}', []),
        ("{trigger: nightl}", [("test.trigger", "tests.t.trigger", "did you mean 'nightly'?")]),
        ("{trigger: nightly, input: {day: x}}", [("test.both", "tests.t.trigger", None)]),
        ("{trigger: {name: nightly, due: x}}", [("unknown_key", "tests.t.trigger.due", "did you mean 'due_at'?")]),
        ("{trigger: [nightly]}", [("type", "tests.t.trigger", None)]),
    ],
)
def test_a_test_names_a_trigger_of_the_flow(test: str, faults: list[tuple[str, str, str | None]]) -> None:
    found = study_flow(TRIGGERED.replace("TEST", test), specs()).faults

    assert [(fault.code, fault.path, fault.hint) for fault in found] == faults


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -0.0, 1.0, 0.5, "", "1", "true"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def text_of(value: Any) -> str:
    """Return the same text for what is the same JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return int(value) if isinstance(value, float) and value.is_integer() else value

    return json.dumps(plain(value), sort_keys=True)


@given(_VALUES, _VALUES)
@example([1], [True])
@example([[0]], [[False]])
@example([1], [1, 1])
@example([[1.0]], [[1]])
@example({"a": [1]}, {"a": [True]})
@example({"a": 1}, {"a": 1, "b": 1})
def test_values_are_the_same_if_they_are_the_same_json(one: Any, other: Any) -> None:
    assert same(one, other) is (text_of(one) == text_of(other))


FLOW_NODES: Any = {"a": {"type": "return"}, "b": {"type": "log"}}
FLOW = read_flow("nodes: {a: {type: return}, b: {type: log, params: {message: x}}}\non_finish: b\n", specs())
LINE = Logged(level="info", message="All is well")
OTHER_LINE = Logged(level="error", message="Nothing else")
HANDLED = NodeStarted(node="b", node_type="log", iteration=1, attempt=1, scope="on_finish")
FAILED = Failed(error=ErrorValue(type="http.503", message="Busy, come again", node="a"))


@pytest.mark.parametrize(
    ("expect", "what"),
    [
        ({"logs": ["is well"]}, []),
        ({"logs": [{"level": "info", "message": "well"}]}, []),
        ({"logs": [{"level": "error", "message": "well"}]}, ["logs"]),
        ({"handlers": ["b"]}, []),
        ({"handlers": []}, ["handlers"]),
        ({"error": "http.5xx"}, []),
        ({"error": {"node": "a", "message": "come"}}, []),
        ({"error": {"node": "b"}}, ["error"]),
        ({"error": {"message": "go"}}, ["error"]),
        ({"error": "timeout"}, ["error"]),
    ],
)
def test_each_part_of_an_expectation_is_compared(expect: dict[str, Any], what: list[str]) -> None:
    tests, faults = read_tests({"t": {"expect": {"status": "failed", **expect}}}, FLOW_NODES)

    found = mismatches(FLOW, [LINE, OTHER_LINE, HANDLED, FAILED], tests["t"].expect)

    assert (faults, [one.what for one in found]) == ((), what)


def test_the_version_of_a_flow_that_a_step_starts_is_a_text_or_a_number() -> None:
    flows = GivenFlows()
    given = [
        flows.add(flow_of(f"metadata: {{name: child, version: '{version}'}}\nnodes: {{a: {{type: return}}}}\n"), {})
        for version in (1, 2)
    ]

    assert [flows.find("child", version) for version in (None, 1, "2", 2)] == [given[n] for n in (0, 0, 1, 1)]
    assert flows.find("child", 3) is None


def test_a_node_that_was_skipped_once_is_in_the_path_when_it_runs() -> None:
    def run(node: str, iteration: int, *, skipped: bool = False) -> list[Event]:
        step: Any = {"node": node, "node_type": "log", "iteration": iteration, "attempt": 1}
        return [NodeStarted(**step), NodeCompleted(**step, action="default", result=None, skipped=skipped)]

    events = [*run("a", 1, skipped=True), *run("b", 1), *run("a", 2), *run("b", 2, skipped=True)]
    log = "{type: log, params: {message: x}, next: "
    flow = flow_of(f"nodes:\n  a: {log}b}}\n  b: {log}a}}\n")

    found = trace(flow, events)

    assert (found.path, found.tries) == (("b", "a"), {("b",): 1, ("a",): 1})


def test_the_difference_of_two_results_is_shown_by_its_lines_alone() -> None:
    wanted: Any = {"a": 1, "b": 2}
    tests, _ = read_tests({"t": {"expect": {"result": wanted}}}, FLOW_NODES)

    (found,) = mismatches(FLOW, [Completed(result={"a": 1, "b": 3})], tests["t"].expect)

    assert (found.what, found.expected, found.actual) == ("result", wanted, {"a": 1, "b": 3})
    assert {'-  "b": 2', '+  "b": 3', '   "a": 1,'} <= set(found.lines)
    assert not any(line.startswith("@@") for line in found.lines)


def test_flows_of_files_are_found_by_their_names_and_labels() -> None:
    flows = GivenFlows()
    texts = ("{name: A, version: '1'}", "{name: B, version: '1'}", "{name: A, version: '2'}")
    given = [flows.add(flow_of(f"metadata: {text}\nnodes: {{a: {{type: return}}}}"), {}) for text in texts]

    assert len({one.id for one in given}) == len({one.revision_id for one in given}) == 3
    assert [flows.find("A"), flows.find("B"), flows.find("A", 2), flows.find("A", "3"), flows.find("C")] == [
        given[0], given[1], given[2], None, None]  # fmt: skip
    assert flows.of_revision(given[1].revision_id) is given[1]
