"""Command `flowrunner test`, as a user sees it."""

import json
import signal
import socket
from pathlib import Path
from typing import Any, Final

import pytest
from lxml import etree

from cli.command import flowrunner, on_a_terminal, start_flowrunner

SCHEMA: Final = Path(__file__).parent / "junit.xsd"

ORDERS: Final = """\
metadata: {name: orders}
nodes:
  fetch:
    type: http.request
    params: {url: "https://api.example.com/orders"}
    retry: {max: 2, delay: 1h}
    next: {default: route, error.http.404: nothing}
  route:
    type: switch
    params: {cases: [{when: "input.body.length == 0", action: empty}]}
    next: {empty: nothing, default: push}
  push: {type: webhook, params: {url: "https://api.example.com/push"}}
  nothing: {type: return, params: {value: {pushed: 0}}}
tests:
"""


def report_of(text: str, at: Path, *options: str) -> dict[str, Any]:
    """Run the tests of a flow; return the JSON report, with the tests by name as well."""
    (at / "flow.yaml").write_text(text)
    done = flowrunner("test", "-o", "json", "flow.yaml", *options, at=at)
    report: dict[str, Any] = json.loads(done.stdout)
    report["exit"] = done.returncode
    report["by_name"] = {test["name"]: test for test in report["flows"][0]["tests"]}
    return report


def orders(tests: str, at: Path, *options: str) -> dict[str, Any]:
    return report_of(ORDERS + tests, at, *options)


# What runs, and on which clock


def test_the_graph_the_expressions_and_the_retries_are_real(tmp_path: Path) -> None:
    report = orders(
        """\
  none: {mocks: {fetch: {result: {body: []}}}, expect: {path: [fetch, route, nothing], result: {pushed: 0}}}
  some: {mocks: {fetch: {result: {body: [1]}}, push: {result: 1}}, expect: {path: [fetch, route, push], result: 1}}
  unknown: {mocks: {fetch: {error: http.404}}, expect: {path: [fetch, nothing]}}
  third_time:
    mocks: {fetch: [{error: http.503}, {error: timeout}, {result: {body: []}}]}
    expect: {path: [fetch, route, nothing], tries: {fetch: 3}}
  never: {mocks: {fetch: {error: http.503}}, expect: {error: {type: http.5xx, node: fetch}, tries: {fetch: 3}}}
""",
        tmp_path,
    )

    assert (report["exit"], report["ok"], report["passed"], report["failed"]) == (0, True, 5, 0)
    assert report["by_name"]["third_time"]["path"] == ["fetch", "route", "nothing"]
    assert report["by_name"]["third_time"]["virtual_seconds"] == 2 * 3600
    assert report["by_name"]["some"]["virtual_seconds"] == 0


def test_waits_are_skipped_and_answers_come_when_the_test_says(tmp_path: Path) -> None:
    report = report_of(
        """\
nodes:
  pause: {type: delay, params: {duration: 30d}, next: ask}
  ask: {type: approval, params: {prompt: Go on?}, timeout: 2d, next: {approved: paid, rejected: no, timeout: late}}
  paid: {type: wait, params: {key: paid}, next: {default: yes, timeout: late}}
  "yes": {type: return, params: {value: "${input}"}}
  "no": {type: return, params: {value: refused}}
  late: {type: return, params: {value: late}}
tests:
  approved: {approvals: {ask: {approved: true, after: 31d}}, signals: {paid: {payload: 20}}, expect: {result: 20}}
  rejected: {approvals: {ask: {approved: false}}, expect: {result: refused}}
  too_late: {approvals: {ask: {approved: true, after: 33d}}, expect: {result: late}}
  cancelled: {cancel_after: 1d, expect: {status: cancelled, path: [pause]}}
  unpaid: {approvals: {ask: {approved: true}}, expect: {status: waiting, path: [pause, ask, paid]}}
""",
        tmp_path,
    )

    assert (report["exit"], report["passed"]) == (0, 5)
    day = 86400
    assert report["by_name"]["too_late"]["virtual_seconds"] == 32 * day
    assert report["by_name"]["cancelled"]["virtual_seconds"] == day


def test_zero_and_empty_values_count_as_given(tmp_path: Path) -> None:
    text = """\
nodes:
  fetch: {type: http.request, params: {url: "https://a.example"}, next: paid}
  paid: {type: wait, params: {key: paid}, next: last}
  last: {type: return, params: {value: ["${nodes.fetch.result}", "${input}"]}}
tests:
"""
    for name, value in {"zero": "0", "no": "false", "empty": '""', "null": "null", "list": "[]", "map": "{}"}.items():
        given = f"mocks: {{fetch: {{result: {value}}}}}, signals: {{paid: {{payload: {value}}}}}"
        text += f"  {name}: {{{given}, expect: {{result: [{value}, {value}]}}}}\n"
        text += f"  not_{name}: {{{given}, expect: {{result: {value}}}}}\n"
        text += f"  holds_{name}: {{{given}, expect: {{result_contains: {value}}}}}\n"
    given = "mocks: {fetch: {result: 1}}, signals: {paid: {payload: 1}}"
    text += f"  nothing_ran: {{{given}, expect: {{path: []}}}}\n"
    text += f"  never_tried: {{{given}, expect: {{tries: {{fetch: 0}}}}}}\n"
    text += (
        "  not_zero_as_no: {mocks: {fetch: {result: 0}}, signals: {paid: {payload: 0}}, expect: {result: [false, 0]}}\n"
    )
    text += "  at_once: {mocks: {fetch: {result: 1}}, cancel_after: 0s, expect: {status: cancelled}}\n"

    by_name = report_of(text, tmp_path)["by_name"]

    failed = {name for name, test in by_name.items() if test["mismatches"]}
    wrong = {name for name in by_name if name.startswith(("not_", "holds_"))}
    assert failed == wrong | {"nothing_ran", "never_tried"}
    assert [found["what"] for found in by_name["never_tried"]["mismatches"]] == ["tries"]


def test_the_clock_shows_what_the_test_says(tmp_path: Path) -> None:
    text = """\
nodes:
  a: {type: delay, params: {until: "2030-01-01T00:00:00Z"}, next: b}
  b: {type: return, params: {value: "${execution.started_at}"}}
tests:
  said: {now: "2029-12-31T23:00:00+01:00", expect: {result: "2029-12-31T22:00:00.000Z"}}
  unsaid: {expect: {result: "2026-01-01T00:00:00.000Z"}}
"""
    report = report_of(text, tmp_path)

    assert report["exit"] == 0
    assert report["by_name"]["said"]["virtual_seconds"] == 2 * 3600


def test_scripts_see_the_clock_of_the_test(tmp_path: Path) -> None:
    text = """\
nodes:
  first:
    type: transform
    params:
      script: |
        const made = new Date()
        class Day extends Date {}
        return [Date.now(), made.toISOString(), made instanceof Date, new Date(0).getTime(), Date.UTC(2020, 1),
          Date.parse('2020-02-01T00:00:00Z'), new Day().getTime() - Date.now(), made.constructor === Date, Date.name,
          new Date(2020, 1, 2).toISOString(), Date().slice(0, 15)]
    next: later
  later: {type: delay, params: {duration: 36h}, next: last}
  last: {type: transform, params: {value: {first: "${input}", day: "${new Date().toISOString().slice(0, 10)}"}}}
tests:
  eve:
    now: "2029-12-31T23:30:00Z"
    expect:
      result:
        first: [1893454200000, "2029-12-31T23:30:00.000Z", true, 0, 1580515200000, 1580515200000, 0, true, Date,
          "2020-02-02T00:00:00.000Z", "Mon Dec 31 2029"]
        day: "2030-01-02"
"""
    report = report_of(text, tmp_path)

    assert report["by_name"]["eve"]["mismatches"] == []
    assert report["exit"] == 0


def test_the_scripts_of_a_trigger_see_the_clock_of_the_test_too(tmp_path: Path) -> None:
    text = """\
triggers:
  daily: {type: schedule, cron: "0 6 * * *", input: {day: "${new Date().toISOString().slice(0, 10)}"}}
  push: {type: webhook, verify: none, when: "new Date().getUTCFullYear() === 2029", input: {day: "${trigger.at}"}}
nodes: {a: {type: return, params: {value: "${flow.input.day}"}}}
tests:
  schedule: {now: "2029-12-31T23:30:00Z", trigger: daily, expect: {result: "2029-12-31"}}
  webhook: {now: "2029-12-31T23:30:00Z", trigger: {name: push, body: {}}, expect: {result: "2029-12-31T23:30:00.000Z"}}
"""
    report = report_of(text, tmp_path)

    assert [test["explanation"] for test in report["by_name"].values()] == [[], []]


def test_flows_may_start_the_others_that_are_given(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text(
        """\
metadata: {name: parent}
nodes:
  call: {type: flow, params: {flow: child, input: {n: 2}}, retry: {max: 1}, next: done}
  done: {type: return, params: {value: "${input + 1}"}}
tests:
  whole: {flows: {child: {mocks: {ask: {result: {body: 20}}}}}, expect: {result: 21}}
  again: {flows: {child: {mocks: {ask: [{error: http.503}, {result: {body: 20}}]}}}, expect: {tries: {call: 2}}}
  mocked: {mocks: {call: {result: 5}}, expect: {result: 6}}
"""
    )
    (tmp_path / "child.yaml").write_text(
        """\
metadata: {name: child}
nodes:
  ask: {type: http.request, params: {url: "https://example.com/${flow.input.n}"}, next: give}
  give: {type: return, params: {value: "${input.body}"}}
tests:
  alone: {input: {n: 1}, mocks: {ask: {result: {body: 7}}}, expect: {result: 7}}
"""
    )

    together = flowrunner("test", "parent.yaml", "child.yaml", at=tmp_path)
    alone = flowrunner("test", "parent.yaml", at=tmp_path)

    assert (together.returncode, together.stderr) == (0, "4 passed, 0 failed\n")
    assert (alone.returncode, alone.stderr) == (1, "1 passed, 2 failed\n")
    assert "'flows' names the flow 'child', which is not among the given files" in alone.stdout


def test_the_answers_of_two_flows_are_counted_each_for_itself(tmp_path: Path) -> None:
    """Also of nodes that have the same name."""
    (tmp_path / "parent.yaml").write_text(
        """\
metadata: {name: parent}
nodes:
  ask: {type: webhook, params: {url: "https://example.com/"}, next: call}
  call: {type: flow, params: {flow: child, input: {}}, next: done}
  done: {type: return, params: {value: ["${nodes.ask.result}", "${input}"]}}
tests:
  both:
    mocks: {ask: [{result: 1}]}
    flows: {child: {mocks: {ask: [{result: 2}]}}}
    expect: {result: [1, 2]}
"""
    )
    (tmp_path / "child.yaml").write_text(
        """\
metadata: {name: child}
nodes:
  ask: {type: webhook, params: {url: "https://example.com/"}}
"""
    )

    done = flowrunner("test", "parent.yaml", "child.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (0, "1 passed, 0 failed\n"), done.stdout


# What a failure tells


def test_what_differs_is_shown_with_what_ran(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        ORDERS
        + """\
  result: {mocks: {fetch: {result: {body: []}}}, expect: {result: {pushed: 1}}}
  part: {mocks: {fetch: {result: {body: []}}}, expect: {result_contains: {sent: 1}}}
  path: {mocks: {fetch: {result: {body: [1]}}, push: {result: 1}}, expect: {path: [fetch, route, nothing]}}
  status: {mocks: {fetch: {error: {type: http.500, message: out of order}}}}
  error: {mocks: {fetch: {error: {type: http.401, message: go away}}}, expect: {error: {type: http.5xx, message: come}}}
  tries: {mocks: {fetch: {result: {body: []}}}, expect: {tries: {fetch: 2}}}
  logs: {mocks: {fetch: {result: {body: []}}}, expect: {logs: [{level: warn, message: careful}]}}
"""
    )

    done = flowrunner("test", "flow.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (1, "0 passed, 7 failed\n")
    blocks = failures(done.stdout)
    assert blocks["result"] == [
        "result:", "--- expected", "+++ actual", " {", '-  "pushed": 1', '+  "pushed": 0', " }",
        "it ran: fetch, route, nothing",
    ]  # fmt: skip
    assert blocks["part"][0] == "result_contains: result has no 'sent'; it has: pushed"
    assert blocks["path"] == [
        "path:", "--- expected", "+++ actual", " fetch", " route", "-nothing", "+push", "it ran: fetch, route, push",
    ]  # fmt: skip
    assert blocks["status"][:2] == [
        "status: expected completed, but it failed: http.500: out of order (at fetch)",
        "it ran: fetch",
    ]
    assert blocks["error"][:3] == [
        "error:",
        "expected the type http.5xx, but it is http.401: go away",
        "expected a message with 'come', but it is 'go away'",
    ]
    assert blocks["tries"][0] == "tries: expected 2 attempts of 'fetch', got 1"
    assert blocks["logs"][:2] == ["logs:", "no line of the level warn contains 'careful'; the lines are:"]


def failures(output: str) -> dict[str, list[str]]:
    """Return the lines below each failed test."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in output.splitlines():
        if line.startswith("  FAIL  "):
            name = line.split()[1]
            found[name] = []
        elif line.startswith(" " * 10):
            found[name].append(line[10:])
    return found


def test_one_that_waits_for_ever_says_for_what_and_how_to_give_it(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        """\
nodes:
  ask: {type: approval, params: {prompt: Go on?}, next: {approved: paid, rejected: paid}}
  paid: {type: wait, params: {key: "order-${flow.input.n}"}}
tests:
  unasked: {input: {n: 7}}
  unpaid: {input: {n: 7}, approvals: {ask: {approved: true}}}
"""
    )

    blocks = failures(flowrunner("test", "flow.yaml", at=tmp_path).stdout)

    assert blocks["unasked"][1:3] == [
        "expected completed, but it waits indefinitely",
        "  ask.1 waits for an approval. Answer: approvals: {ask: {approved: true}}",
    ]
    assert blocks["unpaid"][1:3] == [
        "expected completed, but it waits indefinitely",
        "  paid.1 waits for the signal 'order-7'. Give it: signals: {order-7: {payload: …}}",
    ]


def test_mocks_that_do_not_fit_fail_the_test_whatever_it_expects(tmp_path: Path) -> None:
    report = orders(
        """\
  too_few: {mocks: {fetch: [{error: timeout}]}, expect: {status: failed}}
  no_answer: {mocks: {fetch: {result: {body: [1]}}}, expect: {status: failed}}
""",
        tmp_path,
    )

    assert (report["exit"], report["failed"]) == (1, 2)
    assert report["by_name"]["too_few"]["problems"] == ["the mock of 'fetch' has 1 answer, but the node ran once more"]
    assert report["by_name"]["no_answer"]["problems"] == [
        "the node 'push' (webhook) would reach outside, and tests run offline. "
        "Give it a mock: mocks: {push: {result: …}}"
    ]


def test_an_answer_to_an_approval_is_checked_by_its_form_as_a_server_would(tmp_path: Path) -> None:
    report = report_of(
        """\
nodes:
  ask:
    type: approval
    params: {form: {type: object, required: [n], properties: {n: {type: integer}, note: {type: string, default: none}}}}
    next: {approved: end, rejected: end}
  end: {type: return, params: {value: "${input.data}"}}
tests:
  fits: {approvals: {ask: {approved: true, data: {n: 1}}}, expect: {result: {n: 1, note: none}}}
  does_not: {approvals: {ask: {approved: true, data: {n: one}}}, expect: {status: waiting}}
  no_data: {approvals: {ask: {approved: true}}, expect: {status: waiting}}
  a_rejection: {approvals: {ask: {approved: false}}, expect: {result: null}}
""",
        tmp_path,
    )

    assert {name: test["problems"] for name, test in report["by_name"].items()} == {
        "fits": [],
        "does_not": ["the answer to 'ask' does not fit its form: data.n: must be a whole number"],
        "no_data": ["the answer to 'ask' does not fit its form: data: is missing"],
        "a_rejection": [],
    }
    assert (report["passed"], report["failed"]) == (2, 2)


def test_input_that_the_flow_does_not_take_is_an_error_that_can_be_expected(tmp_path: Path) -> None:
    text = """\
inputs: {n: {type: integer}}
nodes: {a: {type: return, params: {value: "${flow.input.n}"}}}
tests:
  refused: {input: {n: many}, expect: {error: {type: input.invalid, message: whole number}}}
  missing: {expect: {result: 1}}
"""
    report = report_of(text, tmp_path)

    assert (report["exit"], report["passed"], report["failed"]) == (1, 1, 1)
    assert report["by_name"]["missing"]["mismatches"][0]["what"] == "status"


def test_a_test_gives_the_last_execution_of_a_schedule(tmp_path: Path) -> None:
    report = report_of(
        """\
triggers:
  t: {type: schedule, every: 1h, input: {from: "${trigger.last?.result.to ?? 0}", after: "${trigger.last?.id ?? null}"}}
nodes: {only: {type: return, params: {value: "${flow.input}"}}}
tests:
  first: {trigger: t, expect: {result: {from: 0, after: null}}}
  null_is_none: {trigger: {name: t, last: null}, expect: {result: {from: 0, after: null}}}
  later: {trigger: {name: t, last: {id: exec-1, result: {to: 5}}}, expect: {result: {from: 5, after: exec-1}}}
""",
        tmp_path,
    )

    assert {name: test["problems"] + test["mismatches"] for name, test in report["by_name"].items()} == {
        "first": [], "null_is_none": [], "later": [],
    }  # fmt: skip


def test_a_trigger_whose_expressions_fail_starts_nothing_as_on_a_server(tmp_path: Path) -> None:
    report = report_of(
        """\
triggers:
  when: {type: webhook, verify: none, when: "trigger.body.order.kind"}
  dedupe: {type: webhook, verify: none, dedupe: "${trigger.body.order.id}"}
  labels: {type: webhook, verify: none, labels: {kind: "${trigger.body.order.kind}"}}
nodes: {only: {type: return, params: {value: 1}}}
tests:
  when_fails: {trigger: {name: when, body: {}}}
  when_is_false: {trigger: {name: when, body: {order: {}}}}
  when_must_be_false: {trigger: {name: when, body: {order: {}}}, expect: {status: not_started}}
  when_is_true: {trigger: {name: when, body: {order: {kind: true}}}, expect: {status: not_started}}
  dedupe_fails: {trigger: {name: dedupe, body: {}}}
  labels_fail: {trigger: {name: labels, body: {}}, expect: {error: {type: input.invalid}}}
  all_have_values: {trigger: {name: labels, body: {order: {kind: new}}}, expect: {result: 1}}
""",
        tmp_path,
    )

    problems = {name: test["problems"] for name, test in report["by_name"].items()}
    rejects = "rejects the request: its '{0}' has no value: ${{trigger.body.order.{1}}}: cannot read '{1}' of null"
    assert problems == {
        "when_fails": [f"the trigger 'when' {rejects.format('when', 'kind')}"],
        "when_is_false": [
            "the trigger 'when' starts nothing: its 'when' is false. If it must be: expect: {status: not_started}"
        ],
        "when_must_be_false": [],
        "when_is_true": [],
        "dedupe_fails": [f"the trigger 'dedupe' {rejects.format('dedupe', 'id')}"],
        "labels_fail": [],
        "all_have_values": [],
    }
    assert report["by_name"]["labels_fail"]["ok"], report
    assert report["by_name"]["when_must_be_false"]["ok"], report
    assert report["by_name"]["when_must_be_false"]["status"] == "not_started"
    assert [one["what"] for one in report["by_name"]["when_is_true"]["mismatches"]] == ["status"]
    assert report["by_name"]["all_have_values"]["ok"], report


def test_a_secret_that_no_expression_needs_is_missing_unless_a_test_gives_it(tmp_path: Path) -> None:
    report = report_of(
        """\
nodes:
  a: {type: return, params: {value: ["${secrets.GONE ?? 'none'}", "${secrets.KEY}", "${secrets.KEY ?? 'none'}"]}}
tests:
  not_given: {expect: {result: [none, value of KEY, value of KEY]}}
  given: {secrets: {GONE: a}, expect: {result: [a, value of KEY, value of KEY]}}
""",
        tmp_path,
    )

    assert [test["mismatches"] for test in report["flows"][0]["tests"]] == [[], []]


def test_secrets_of_a_test_are_hidden_in_what_it_tells(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        """\
nodes: {a: {type: return, params: {value: "${secrets.KEY}"}}}
tests:
  given: {secrets: {KEY: do-not-show-this}, expect: {result: 1}}
  not_given: {expect: {result: "value of KEY"}}
"""
    )

    done = flowrunner("test", "flow.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (1, "1 passed, 1 failed\n")
    assert "do-not-show-this" not in done.stdout
    assert '+"***"' in done.stdout


# Edges


def test_edges_that_no_test_goes_along_are_told(tmp_path: Path) -> None:
    tests = "  none: {mocks: {fetch: {result: {body: []}}}}\n"
    never = [
        {"node": "fetch", "action": "error.http.404", "target": "nothing"},
        {"node": "route", "action": "default", "target": "push"},
    ]

    report = orders(tests, tmp_path, "--coverage")
    said = flowrunner("test", "--coverage", "flow.yaml", at=tmp_path).stdout

    assert report["flows"][0]["coverage"] == {"edges": 4, "taken": 2, "never": never}
    assert said.endswith(
        "flow.yaml: 2 of 4 edges taken\n"
        "    never: fetch --error.http.404--> nothing\n"
        "    never: route --default--> push\n"
    )


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ("{a: {type: return}}", "flow.yaml: no edges to take\n"),
        ("{a: {type: log, params: {message: x}, next: b}, b: {type: return}}", "flow.yaml: 1 of 1 edge taken\n"),
    ],
)
def test_few_edges_are_told_in_words(nodes: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(f"nodes: {nodes}\ntests: {{runs: {{}}}}\n")

    assert flowrunner("test", "--coverage", "flow.yaml", at=tmp_path).stdout.endswith(said)


def test_edges_inside_loops_and_branches_count(tmp_path: Path) -> None:
    text = """\
nodes:
  each:
    type: foreach
    params: {items: [1, 2]}
    nodes:
      look: {type: switch, params: {cases: [{when: "item > 1", action: big}]}, next: {big: end, default: end}}
      end: {type: return, params: {value: "${item}"}}
    next: both
  both:
    type: parallel
    branches:
      left:
        nodes:
          a: {type: log, params: {message: hi}, if: "false", next: {skipped: b, default: b}}
          b: {type: return}
tests:
  one: {}
"""
    coverage = report_of(text, tmp_path, "--coverage")["flows"][0]["coverage"]

    assert (coverage["edges"], coverage["taken"]) == (5, 4)
    assert coverage["never"] == [{"node": "both.left.a", "action": "default", "target": "b"}]


# For continuous integration


def test_the_results_are_junit_that_readers_accept(tmp_path: Path) -> None:
    (tmp_path / "orders.yaml").write_text(
        ORDERS
        + """\
  passes: {mocks: {fetch: {result: {body: []}}}}
  "fails <&> \\"so\\"": {mocks: {fetch: {result: {body: []}}}, expect: {result: "]]> \\u0007 & <b> \\U0001F600"}}
  problem: {mocks: {fetch: {result: {body: [1]}}}}
"""
    )
    (tmp_path / "invalid.yaml").write_text("nodes: {a: {type: retrun}}\n")
    (tmp_path / "untested.yaml").write_text("nodes: {a: {type: return}}\n")

    done = flowrunner("test", "--junit", "results.xml", ".", at=tmp_path)

    assert done.returncode == 6
    document = etree.parse(tmp_path / "results.xml")
    schema = etree.XMLSchema(etree.parse(SCHEMA))
    assert schema.validate(document), schema.error_log
    invalid, tested, untested = document.getroot()
    assert (invalid.get("name"), invalid.get("tests"), invalid.get("errors")) == ("invalid.yaml", "1", "1")
    assert "invalid.yaml:1:19: node.type: unknown node type 'retrun'" in invalid.findtext("testcase/error")
    assert (tested.get("tests"), tested.get("failures"), tested.get("errors")) == ("3", "2", "0")
    assert [case.get("name") for case in tested.findall("testcase")] == ["passes", 'fails <&> "so"', "problem"]
    assert [reason.get("type") for reason in tested.findall("testcase/failure")] == ["expectation", "problem"]
    assert (untested.get("tests"), untested.findall("testcase")) == ("0", [])


@pytest.mark.parametrize(
    ("tests", "options", "code", "said"),
    [
        ("tests: {a: {}}", (), 0, "1 passed, 0 failed"),
        ("tests: {a: {expect: {result: 2}}, b: {}}", (), 1, "1 passed, 1 failed"),
        ("tests: {a: {expect: {result: 2}}, b: {}}", ("-k", "b"), 0, "1 passed, 0 failed"),
        ("tests: {a: {}}", ("-k", "zzz"), 2, "no test name contains 'zzz'"),
        ("", (), 2, "no tests: write them under the key 'tests' of a flow"),
        ("tests: {a: {expct: 1}}", (), 6, "0 passed, 0 failed; 1 of 1 flow invalid"),
        ("tests: {a: {}}", ("--timeout", "soon"), 2, "Error: --timeout: 'soon' is not a duration"),
        ("tests: {a: {}}", ("--junit", "no/such/place.xml"), 2, "Error: --junit: no/such/place.xml cannot be written"),
    ],
    ids=[
        "all passed",
        "one failed",
        "chosen",
        "none of the name",
        "no tests",
        "invalid",
        "timeout",
        "nowhere to write",
    ],
)
def test_the_exit_code_tells_how_it_went(
    tests: str, options: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "flow.yaml").write_text(f"nodes: {{a: {{type: return, params: {{value: 1}}}}}}\n{tests}\n")

    done = flowrunner("test", *options, "flow.yaml", at=tmp_path)

    assert done.returncode == code
    assert said in done.stderr


def test_faults_are_told_where_a_program_reads_the_results_too(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text("nodes: {a: {type: retrun}}\n")

    done = flowrunner("test", "-o", "json", "flow.yaml", at=tmp_path)

    assert json.loads(done.stdout)["flows"][0]["faults"][0]["code"] == "node.type"
    assert done.stderr.startswith("flow.yaml:1:19: error node.type: nodes.a.type: unknown node type 'retrun'")


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        "nodes: {a: {type: return, params: {value: 1}}}\ntests: {a: {}, b: {expect: {result: 2}}}\n"
    )

    seen = on_a_terminal("test", "flow.yaml", at=tmp_path)

    assert "\x1b[32mok  \x1b[0m" in seen
    assert "\x1b[31mFAIL\x1b[0m" in seen
    assert "\x1b" not in on_a_terminal("test", "flow.yaml", at=tmp_path, environment={"NO_COLOR": "1"})


# Tests that go wrong


def test_a_circle_without_an_end_ends(tmp_path: Path) -> None:
    text = """\
limits: {max_steps: 1000000}
nodes:
  a: {type: log, params: {level: warn, message: round}, next: b}
  b: {type: delay, params: {duration: 1h}, next: a}
tests:
  circle: {expect: {status: failed}}
  another: {cancel_after: 90m, expect: {status: cancelled, path: [a, b, a, b]}}
"""
    report = report_of(text, tmp_path, "--timeout", "500ms")

    assert (report["exit"], report["passed"]) == (1, 1)
    assert report["by_name"]["circle"]["problems"] == [
        "the test did not end within 0.5 s: is there an endless loop in the flow?"
    ]
    assert report["by_name"]["circle"]["virtual_seconds"] > 3600


def test_a_script_without_an_end_fails_its_node(tmp_path: Path) -> None:
    text = """\
nodes: {a: {type: transform, params: {script: "while (true) {}"}, next: {error.script: b}}, b: {type: return}}
tests:
  hangs: {expect: {path: [a, b]}}
"""
    assert report_of(text, tmp_path)["exit"] == 0


def test_a_flood_is_cut_where_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        """\
nodes:
  a:
    type: transform
    params:
      script: |
        for (let i = 0; i < 500; i++) console.warn("x".repeat(900));
        return Array(9000).fill("y".repeat(90));
    next: b
  b: {type: return, params: {value: "${input}"}}
tests:
  flood: {expect: {result: [1]}}
  line: {expect: {result_contains: {a: 1}}}
"""
    )

    done = flowrunner("test", "flow.yaml", "--junit", "results.xml", at=tmp_path)

    assert done.returncode == 1
    assert "expected 3 lines, got 9002; the first difference is in line 2:" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 600
    assert len(done.stdout.splitlines()) < 60
    assert (tmp_path / "results.xml").stat().st_size < 50_000


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(
        """\
limits: {max_steps: 1000000}
nodes: {a: {type: log, params: {message: round}, next: b}, b: {type: delay, params: {duration: 1h}, next: a}}
tests: {quick: {cancel_after: 1m, expect: {status: cancelled}}, circle: {}}
"""
    )
    process = start_flowrunner("test", "flow.yaml", at=tmp_path, environment={"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    for line in process.stdout:
        if "quick" in line:
            break

    try:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

        assert (process.returncode, err) == (130, "flowrunner: interrupted\n")
    finally:
        process.kill()
        process.communicate()


def test_nothing_gets_out(tmp_path: Path) -> None:
    """A node type that claims to be pure has no network either."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        text = f"""\
nodes:
  a: {{type: http.request, params: {{url: "http://127.0.0.1:{port}/"}}, next: {{error: b}}}}
  b: {{type: return}}
tests:
  out: {{}}
"""
        (tmp_path / "flow.yaml").write_text(text)

        done = flowrunner("test", "flow.yaml", at=tmp_path, environment={"FLOWRUNNER_EGRESS_ALLOW": "127.0.0.0/8"})

        assert done.returncode == 1
        assert "the node 'a' (http.request) would reach outside, and tests run offline" in done.stdout
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_nothing_is_left_where_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text('nodes: {a: {type: return, params: {value: "${1 + 1}"}}}\ntests: {a: {}}\n')

    flowrunner("test", "flow.yaml", at=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["flow.yaml"]


FINE: Final = "nodes: {a: {type: return, params: {value: 1}}}\ntests: {one: {expect: {result: 1}}}\n"
SUITES: Final = {
    "fine": FINE,
    "failing": FINE.replace("{result: 1}", "{result: 2}"),
    "broken": "nodes: {a: {type: no_such_type}}\ntests: {one: {}}\n",
    "untested": "nodes: {a: {type: return}}\n",
}


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (["fine"], [], 0), (["fine", "untested"], [], 0), (["failing"], [], 1), (["fine", "failing"], [], 1),
        (["broken"], [], 6), (["fine", "broken"], [], 6), (["failing", "broken"], [], 6), (["untested"], [], 2),
        (["fine"], ["-k", "other"], 2), (["fine", "failing"], ["-k", "one"], 1),
    ],
)  # fmt: skip
def test_the_report_says_the_same_as_the_exit_code(
    names: list[str], options: list[str], code: int, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / f"{name}.yaml").write_text(SUITES[name])
    done = flowrunner(
        "test", "-o", "json", "--junit", "report.xml", *options, *(f"{name}.yaml" for name in names), at=tmp_path
    )

    report = json.loads(done.stdout)
    cases = etree.parse(tmp_path / "report.xml").getroot()
    assert (done.returncode, report["ok"]) == (code, code == 0)
    assert bool(cases.xpath("//failure | //error")) == (code in (1, 6))
    assert [flow["file"] for flow in report["flows"]] == [f"{name}.yaml" for name in names]
