"""Older forms of the language, which are read as today's."""

from dataclasses import replace

import pytest

from flowrunner.domain.expression import render
from flowrunner.domain.flow import Node
from flowrunner.language import study_flow
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
    reading = study_flow(f"nodes: {{a: {{type: return, retry: {{{older}, {newer}}}}}}}", specs())

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
    newer = node_of("{type: http.request, params: {url: 'http://x', follow_redirects: true}}")

    assert replace(older, params=newer.params) == newer


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

    assert (read.type, read.item, read.next, read.timeout_seconds) == ("foreach", "item", {"default": "x"}, None)
    assert render(read.params.template, {"input": [1, 2]}) == {"items": [1, 2], "concurrency": concurrency}
    inside = read.scope("0")
    assert (inside.start, list(inside.nodes)) == ("a", ["a"])
    # The condition is evaluated once for all elements, and the edges belong to the loop.
    assert read.condition is not None
    assert (inside.nodes["a"].condition, inside.nodes["a"].next) == (None, {})
    assert (
        inside.nodes["a"].params.template
        == node_of("{type: transform, params: {value: '${item}'}, batch: {}}").scope("0").nodes["a"].params.template
    )


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
