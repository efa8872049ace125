"""Flows accepted by an earlier version, which this version reads up to single nodes."""

from dataclasses import replace
from typing import Final

import pytest

from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.flow import Flow, Node
from flowrunner.language import document, read_flow, read_stored_flow, reading, study_flow
from support.flows import specs

RICH: Final = """
metadata: {name: Rich, tags: [a, b]}
inputs: {n: {type: integer}}
vars: {greeting: hello}
defaults: {timeout: 10s}
limits: {max_steps: 500, timeout: 1h, concurrency: {max: 5}}
on_failure: sorry
nodes:
  first: {type: log, params: {message: "${vars.greeting} ${flow.input.n}"}, next: {default: each, error: sorry}}
  each:
    type: foreach
    params: {items: "${[1, 2]}"}
    nodes:
      show: {type: transform, params: {value: "${item}"}, next: rest}
      rest: {type: delay, params: {duration: 1s}}
    next: ask
  ask: {type: approval, params: {prompt: Well?}, next: {approved: last, rejected: sorry}}
  last: {type: return, params: {value: "${nodes.each.result}"}, timeout: 5s}
  sorry: {type: log, params: {message: sorry}}
"""


def node(flow: Flow, *names: str) -> Node:
    graph, *_ = [flow]
    for name in names[:-1]:
        graph = graph.nodes[name].child_scopes[""]  # type: ignore[assignment]
    return graph.nodes[names[-1]]


def test_a_flow_that_this_version_accepts_is_read_unchanged() -> None:
    assert read_stored_flow(RICH, specs()) == read_flow(RICH, specs())


@pytest.mark.parametrize(
    ("limit", "module", "most"),
    [
        ("MAX_NAME_CHARACTERS", document, 3),
        ("MAX_TAGS", reading, 1),
        ("MOST_STEPS", reading, 10),
        ("MAX_CONCURRENCY", reading, 2),
        ("MAX_EXPRESSIONS", reading, 1),
    ],
)
def test_a_bound_that_became_lower_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, limit: str, module: object, most: int
) -> None:
    before = read_flow(RICH, specs())
    monkeypatch.setattr(module, limit, most)

    with pytest.raises(InvalidFlow):
        read_flow(RICH, specs())
    assert read_stored_flow(RICH, specs()) == before


def test_a_rule_on_parameters_is_left_to_the_run() -> None:
    strict = specs()
    spec = strict["approval"]
    forbidding = spec.check({"prompt": 1, "nonsense": 2})
    assert forbidding
    strict = {**strict, "approval": replace(spec, check=lambda params: forbidding)}

    with pytest.raises(InvalidFlow):
        read_flow(RICH, strict)
    assert read_stored_flow(RICH, strict) == read_flow(RICH, specs())


@pytest.mark.parametrize("names", [("first",), ("ask",), ("last",), ("each", "rest")])
def test_a_node_of_a_type_that_is_gone_is_the_only_one_that_fails(names: tuple[str, ...]) -> None:
    before = read_flow(RICH, specs())
    gone = node(before, *names).type
    left = {name: spec for name, spec in specs().items() if name != gone}

    flow = read_stored_flow(RICH, left)

    unreadable = node(flow, *names)
    assert unreadable.unreadable == f"unknown node type '{gone}'"
    assert unreadable.next == node(before, *names).next
    others = [name for name in before.nodes if before.nodes[name].type != gone and name != names[0]]
    assert [flow.nodes[name] for name in others] == [before.nodes[name] for name in others]


@pytest.mark.parametrize(
    "written",
    [
        "{type: log, params: {message: x}, unless: '${true}'}",
        "{type: log, params: {message: '${this is no expression'}}",
        "{type: log, params: {message: '${nowhere}'}}",
        "{type: log, params: {message: x}, timeout: soon}",
        "{type: log, params: {message: x}, next: [a, list]}",
    ],
)
def test_a_node_of_which_something_is_lost_fails_rather_than_doing_something_else(written: str) -> None:
    text = f"nodes: {{a: {{type: log, params: {{message: x}}, next: b}}, b: {written}}}"

    flow = read_stored_flow(text, specs())

    assert flow.nodes["a"].unreadable is None
    assert flow.nodes["b"].unreadable


def test_an_unknown_name_in_an_expression_fails_only_when_it_runs() -> None:
    text = "nodes: {a: {type: log, params: {message: '${nodes.gone.result}'}}}"

    assert read_stored_flow(text, specs()).nodes["a"].unreadable is None


@pytest.mark.parametrize(
    "key",
    [
        "start: gone", "vars: 7", "defaults: {timeout: soon}", "limits: {timeout: soon}", "outputs: '${nowhere}'",
        "on_failure: gone", "on_finish: {type: log}",
    ],
)  # fmt: skip
def test_a_flow_of_which_something_else_is_lost_is_not_read(key: str) -> None:
    with pytest.raises(InvalidFlow, match=f"^{key.partition(':')[0]}"):
        read_stored_flow(f"{key}\nnodes: {{a: {{type: log, params: {{message: x}}}}}}", specs())


@pytest.mark.parametrize("text", ["nodes: 7", "nodes: [", "[]"])
def test_a_flow_without_nodes_that_can_be_read_is_not_read(text: str) -> None:
    with pytest.raises(InvalidFlow):
        read_stored_flow(text, specs())


@pytest.mark.parametrize(
    "key", ["metadata: {colour: red}", "tests: 7", "inputs: {n: {type: colour}}", "decoration: 1", "metadata: 7"]
)
def test_keys_that_a_running_execution_does_not_need_may_be_lost(key: str) -> None:
    nodes = "nodes: {a: {type: log, params: {message: x}}}"

    assert read_stored_flow(f"{key}\n{nodes}", specs()).nodes == read_flow(nodes, specs()).nodes


def test_an_element_of_a_stored_flow_keeps_the_name_of_the_configuration_values() -> None:
    inner = "nodes: {a: {type: transform, params: {value: ['${config}', '${config.a}', '${config[0] + 1}']}}}"
    written = f"nodes: {{each: {{type: foreach, params: {{items: [1], as: NAME}}, {inner}}}}}"
    with pytest.raises(InvalidFlow):
        read_flow(written.replace("NAME", "config"), specs())

    stored = read_stored_flow(written.replace("NAME", "config"), specs())

    each = node(stored, "each")
    assert (each.item, each.unreadable, node(stored, "each", "a").unreadable) == ("config", None, None)
    assert stored.config == ()
    assert node(stored, "each", "a").params.mentions.roots == {"config"}
    assert not study_flow(written.replace("NAME", "config"), specs()).config
