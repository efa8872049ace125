"""Older forms of the language, which are read as today's."""

from collections.abc import Mapping, Sequence

import pytest

from flowrunner.domain.expression import render
from flowrunner.domain.flow import Node, NodeTypeSpec, ParamFault
from flowrunner.domain.values import JSON
from flowrunner.language import read_stored_flow, study_flow
from support.flows import flow_of, specs


def node_of(written: str) -> Node:
    return flow_of(f"nodes:\n  a: {written}\n  x: {{type: return}}\nstart: a\non_finish: x").nodes["a"]


def test_retry_has_older_names() -> None:
    older = node_of("{type: return, retry: {max_retries: 4, wait: 3s, errors: [timeout]}}")

    assert older == node_of("{type: return, retry: {max: 4, delay: 3s, errors: [timeout]}}")
    assert older.retry is not None
    assert (older.retry.max_retries, older.retry.first_delay) == (4, 3.0)


def test_the_older_names_of_retry_are_taken_among_the_defaults() -> None:
    flow = flow_of("defaults: {retry: {max_retries: 4, wait: 3s}}\nnodes: {a: {type: return}}")

    assert flow == flow_of("defaults: {retry: {max: 4, delay: 3s}}\nnodes: {a: {type: return}}")


@pytest.mark.parametrize(("older", "newer"), [("max_retries: 1", "max: 1"), ("wait: 1s", "delay: 1s")])
def test_a_setting_is_given_by_one_of_its_names(older: str, newer: str) -> None:
    reading = study_flow(f"nodes: {{a: {{type: return, retry: {{{older}, {newer}, errors: ['*']}}}}}}", specs())

    assert [(fault.code, fault.line, fault.column) for fault in reading.faults] == [("retry.twice", 1, 35)]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("defaults: {timeout: 3}", "defaults: {timeout: 3s}"),
        ("defaults: {timeout: 0.5}", "defaults: {timeout: 500ms}"),
        ("limits: {timeout: 90}", "limits: {timeout: 90s}"),
    ],
)
def test_a_timeout_in_seconds_is_taken_for_the_whole_flow(older: str, newer: str) -> None:
    nodes = "nodes: {a: {type: http.request, params: {url: 'http://x'}}}"

    assert flow_of(f"{older}\n{nodes}") == flow_of(f"{newer}\n{nodes}")


def test_a_node_type_of_others_has_no_older_forms() -> None:
    given: list[Mapping[str, JSON]] = []

    def check(params: Mapping[str, JSON]) -> Sequence[ParamFault]:
        given.append(params)
        return ()

    ftp = NodeTypeSpec(
        name="ftp", params=("timeout",), errors=("http",), actions_of=lambda params: frozenset({"success"}),
        check=check, repeatable=lambda params: False, timeout_of=lambda params: None,
    )  # fmt: skip
    flow = flow_of(
        "nodes: {a: {type: ftp, params: {timeout: 3}, next: {success: b}}, b: {type: return}}", {**specs(), "ftp": ftp}
    )

    assert given == [{"timeout": 3}]
    assert flow.nodes["a"].next == {"success": "b"}


def test_an_alias_is_rewritten_where_it_is_an_older_form_and_nowhere_else() -> None:
    flow = flow_of(
        "x-next: &next {success: z}\nstart: a\nnodes:\n"
        "  a: {type: http.request, params: {url: 'http://x'}, next: *next}\n"
        "  z: {type: return, params: {value: *next}}\n"
    )

    assert flow.nodes["a"].next == {"default": "z"}
    assert render(flow.nodes["z"].params.template, {}) == {"value": {"success": "z"}}


def test_condition_leads_where_switch_does() -> None:
    older = node_of(
        "{type: condition, params: {conditions: [{condition: 'input.n > 1', action: big}], default_action: small},"
        " next: {big: x, small: x}}"
    )
    newer = node_of(
        "{type: switch, params: {cases: [{when: 'input.n > 1', action: big}], default_action: small},"
        " next: {big: x, small: x}}"
    )

    assert older.next == newer.next == {"big": "x", "small": "x"}
    assert [code.script for code in older.params.codes] == [code.script for code in newer.params.codes]
    assert older.params.mentions == newer.params.mentions
    assert (older.pure, older.repeatable, older.timeout_seconds) == (
        newer.pure,
        newer.repeatable,
        newer.timeout_seconds,
    )


def test_follow_redirect_is_taken_for_follow_redirects() -> None:
    older = node_of("{type: http.request, params: {url: 'http://x', follow_redirect: true}}")

    assert older == node_of("{type: http.request, params: {url: 'http://x', follow_redirects: true}}")


def test_hooks_read_and_change_parameters_by_their_older_names() -> None:
    hooks = node_of(
        "{type: http.request, params: {url: 'http://x'},"
        " hooks: {prep: 'context.follow_redirect = !context.follow_redirects; context.follow_redirect_2 = 1'}}"
    ).hooks

    assert hooks is not None
    assert hooks.prep is not None
    (code,) = hooks.prep.codes
    assert code.text == "context.follow_redirects = !context.follow_redirects; context.follow_redirect_2 = 1"


@pytest.mark.parametrize(
    ("batch", "concurrency"),
    [
        ("{strategy: serial}", 1),
        ("{strategy: serial, max_parallel: 5}", 1),
        ("{strategy: parallel, max_parallel: 5}", 5),
        ("{strategy: worker_pool, max_parallel: 7}", 7),
        ("{strategy: parallel}", 10),
        ("{}", 1),
    ],
)
def test_batch_is_a_loop_around_its_node(batch: str, concurrency: int) -> None:
    read = node_of(f"{{type: transform, params: {{value: '${{item}}'}}, if: input.length, batch: {batch}, next: x}}")

    # The condition is evaluated once for all elements, and the edges belong to the loop.
    assert read == node_of(
        f"{{type: foreach, params: {{items: '${{input}}', concurrency: {concurrency}}}, if: input.length, next: x,"
        " nodes: {a: {type: transform, params: {value: '${item}'}}}}"
    )


def faults_of(text: str) -> list[tuple[str, str, int | None, int | None]]:
    return [(fault.path, fault.code, fault.line, fault.column) for fault in study_flow(text, specs()).faults]


@pytest.mark.parametrize(
    ("lines", "path", "code", "line"),
    [
        (["type: webhok", "batch: {}"], "type", "node.type", 3),
        (["type: log", "batch: {}", "params: {mesage: x}"], "params.mesage", "unknown_key", 5),
        (["type: log", "batch: {}", "params:", "  message: ${itm}"], "params.message", "expression.unknown_name", 6),
        (["type: log", "batch: {}", "params: {message: x}", "tiemout: 5s"], "tiemout", "unknown_key", 6),
        (["type: log", "batch: {}", "params: {message: x}", "timeout: x"], "timeout", "duration", 6),
        (["type: log", "batch: {}", "params: {message: x}", "next: {default: b}"], "next.default", "edge.target", 6),
        (
            ["type: webhook", "params: {url: 'http://x'}", "retry: {max: 1,", "  max_retries: 1}", "batch: {}"],
            "retry.max_retries", "retry.twice", 6,
        ),
        (
            ["type: log", "params: {message: x}", "retry: {", "  max_retries: x}", "batch: {}"],
            "retry.max_retries", "type", 6,
        ),
        (
            ["type: webhook", "params: {url: 'http://x'}", "batch: {}", "next:", "  success: b"],
            "next.success", "edge.target", 7,
        ),
    ],
)  # fmt: skip
def test_a_fault_within_a_batch_has_the_keys_and_the_line_of_the_document(
    lines: list[str], path: str, code: str, line: int
) -> None:
    text = "nodes:\n  a:\n" + "".join(f"    {one}\n" for one in lines)

    assert [fault[:3] for fault in faults_of(text)] == [(f"nodes.a.{path}", code, line)]


def test_a_node_within_a_batch_that_has_its_name_keeps_its_own_line() -> None:
    text = (
        "nodes:\n  a:\n    type: foreach\n    params: {items: [1]}\n    batch: {}\n"
        "    nodes:\n      a: {type: log, params: {}}\n"
    )

    assert [fault[:3] for fault in faults_of(text)] == [("nodes.a.nodes.a.params.message", "required", 7)]


def test_a_script_within_a_batch_is_told_of_by_the_keys_of_the_document() -> None:
    reading = study_flow(
        "nodes:\n  a:\n    type: transform\n    batch: {}\n    params:\n      script: return 1\n", specs()
    )

    assert [(code.place.path, code.place.line) for code in reading.codes] == [("nodes.a.params.script", 6)]


def test_an_edge_for_an_action_of_the_node_is_accepted_though_a_batch_never_takes_it() -> None:
    flow = flow_of(
        "nodes:\n  a: {type: approval, params: {prompt: x}, batch: {}, next: {approved: b, rejected: c, default: d}}\n"
        "  b: {type: return}\n  c: {type: return}\n  d: {type: return}\n"
    )

    assert flow.nodes["a"].target("default") == "d"
    assert flow.nodes["a"].target("approved") is None


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ("sucess", "'sucess' can never fire: a node of type log has no such action"),
        ("error.http", "'error.http' can never fire: a node of type log has no such action"),
    ],
)
def test_an_edge_that_the_node_of_a_batch_does_not_have_is_a_fault(edge: str, message: str) -> None:
    node = f"{{type: log, params: {{message: x}}, batch: {{}},\n    next: {{{edge}: b}}}}"
    (fault,) = study_flow(f"nodes:\n  a: {node}\n  b: {{type: return}}\n", specs()).faults

    assert (fault.path, fault.line, fault.message) == (f"nodes.a.next.{edge}", 3, message)


def test_a_stored_batch_is_read_within_as_many_scopes_as_earlier_versions_accepted() -> None:
    text = "{type: log, params: {message: '${item}'}, batch: {}}"
    for _ in range(8):
        text = f"{{type: foreach, params: {{items: [1]}}, nodes: {{a: {text}}}}}"
    node = read_stored_flow(f"nodes: {{a: {text}}}", specs()).nodes["a"]

    for _ in range(8):
        node = node.scope("0").nodes["a"]
    assert (node.type, node.scope("0").nodes["a"].type, node.unreadable) == ("foreach", "log", None)


def test_a_batch_is_inside_the_scope_in_which_it_is_written() -> None:
    reading = study_flow(
        "nodes:\n  l: {type: foreach, params: {items: [1]}, nodes: {b: {type: log, params: {message: x}, batch: {}}},"
        " next: r}\n  r: {type: return, params: {value: '${nodes.b.result}'}}\n",
        specs(),
    )

    assert [fault.message for fault in reading.faults] == [
        "'${nodes.b.result}': 'b' is inside 'l' and visible only there"
    ]


def test_a_mock_of_an_older_wait_is_compared_with_the_actions_of_delay() -> None:
    text = "nodes: {a: {type: wait, params: {duration: 1s}}}\ntests: {t: {mocks: {a: {action: timeout}}}}"

    assert [fault[:2] for fault in faults_of(text)] == [("tests.t.mocks.a.action", "mock.action")]


def test_hooks_are_scripts_around_the_node() -> None:
    hooks = node_of(
        "{type: transform, params: {value: 1}, hooks: {prep: 'context.value = 2', exec: 'return context.value',"
        " post: 'return result + 1'}}"
    ).hooks

    assert hooks is not None
    sources = []
    for hook in (hooks.prep, hooks.exec, hooks.post):
        assert hook is not None
        (code,) = hook.codes
        assert code.script.is_body
        sources.append(code.script.source)
    # A script without a return value returns its changed input.
    assert "context.value = 2" in sources[0]
    assert "$given === undefined ? context" in sources[0]
    assert sources[1] == "return context.value"
    assert "$given === undefined ? result" in sources[2]


def test_a_fault_of_a_node_and_of_the_loop_around_it_is_told_once() -> None:
    found = faults_of('nodes: {"a\\tb": {type: log, params: {message: x}, batch: {}}}')

    assert [fault[:2] for fault in found] == [("nodes.a\tb", "node.name")]
