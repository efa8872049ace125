"""The graph of a document as far as it can be read."""

from domain.test_fixes import MISTAKES
from domain.test_validation import study
from flowrunner.language.sketch import Sketch, sketch_of
from support.bad_documents import BAD, OF_WRONG_TYPES
from support.flows import specs

FLOW = """metadata: {name: x}
on_failure: oops
nodes:
  a: {type: log, params: {message: x}, next: {default: each, error: oops}}
  each:
    type: foreach
    params: {items: "${input.x}"}
    start: p
    nodes:
      p: {type: log, params: {message: x}, next: q}
      q: {type: log, params: {message: x}}
    next: both
  both:
    type: parallel
    branches:
      left: {nodes: {k: {type: log, params: {message: x}}}}
  oops: {type: log, params: {message: x}}
"""


def sketch(text: str) -> Sketch:
    return sketch_of(text, specs())


def ids(text: str) -> list[str]:
    return [node.id for node in sketch(text).nodes]


def test_nodes_have_the_ids_of_an_executions_graph_and_their_places() -> None:
    drawn = {node.id: node for node in sketch(FLOW).nodes}

    assert list(drawn) == ["a", "each", "each/p", "each/q", "both", "both[left]/k", "oops"]
    inner = drawn["both[left]/k"]
    assert (inner.name, inner.type, inner.parent, inner.branch) == ("k", "log", "both", "left")
    assert (inner.path, inner.place.line, inner.place.column) == ("nodes.both.branches.left.nodes.k", 16, 22)
    assert [id for id, node in drawn.items() if node.is_start] == ["a", "each/p", "both[left]/k"]
    assert {id: node.handles for id, node in drawn.items() if node.handles} == {"oops": "failure"}


def test_a_name_that_is_too_long_for_one_is_not_repeated_by_the_ids_inside() -> None:
    inside = "{" + ", ".join(f"n{n}: {{}}" for n in range(100)) + "}"

    drawn = sketch(f'nodes:\n  a: {{}}\n  ? "{"k" * 50_000}"\n  : {{type: foreach, nodes: {inside}}}\n')

    assert [node.id for node in drawn.nodes] == ["a"]


def test_edges_have_their_actions_and_stay_in_their_scope() -> None:
    edges = [(edge.source, edge.action, edge.target, edge.place.line) for edge in sketch(FLOW).edges]

    assert edges == [
        ("a", "default", "each", 4),
        ("a", "error", "oops", 4),
        ("each", "default", "both", 12),
        ("each/p", "default", "each/q", 10),
    ]


def test_what_stands_before_the_place_that_cannot_be_read_is_drawn() -> None:
    broken = FLOW.replace("params: {items:", "params: {items: [")

    assert ids(broken) == ["a", "each"]
    assert ids(FLOW[: FLOW.index("    next: both")]) == ["a", "each", "each/p", "each/q"]


def test_a_node_without_a_type_and_an_edge_to_nothing_are_what_is_typed_in_between() -> None:
    drawn = sketch("nodes:\n  a: {type: log, next: nowhere}\n  b:\n  c: 5\n")

    assert [(node.id, node.type) for node in drawn.nodes] == [("a", "log"), ("b", None)]
    assert drawn.edges == []


def test_the_flow_begins_at_no_node_that_runs_aside_and_one_node_may_handle_both_ends() -> None:
    drawn = sketch(
        "on_failure: end\non_finish: end\nnodes:\n  tell: {type: log}\n"
        "  ask: {type: approval, params: {prompt: x, notify: tell}}\n  end: {type: log}\n"
    )

    assert [(node.id, node.is_start, node.handles) for node in drawn.nodes] == [
        ("tell", False, None), ("ask", True, None), ("end", False, "both"),
    ]  # fmt: skip


def test_a_node_of_an_older_form_is_drawn_as_it_runs() -> None:
    drawn = {node.id: node for node in sketch("nodes:\n  w: {type: wait, params: {duration: 1s}}\n").nodes}

    assert drawn["w"].type == "delay"


def test_a_document_can_be_drawn_wherever_it_is_cut() -> None:
    for end in range(len(FLOW)):
        drawn = sketch(FLOW[:end])

        assert len(drawn.nodes) <= len(sketch(FLOW).nodes) + 1


def test_no_bad_document_is_too_bad_to_be_drawn() -> None:
    for text in [*MISTAKES, *(text for _, text, _ in BAD), *(text for _, text, _ in OF_WRONG_TYPES)]:
        drawn = sketch(text)

        known = {node.id for node in drawn.nodes}
        assert all({edge.source, edge.target} <= known for edge in drawn.edges)
        if (flow := study(text).flow) is not None:
            assert set(flow.nodes) == {node.id for node in drawn.nodes if node.parent is None}


def test_a_node_that_handles_an_end_begins_nothing() -> None:
    drawn = sketch("on_failure: f\non_finish: g\nnodes: {f: {type: log}, g: {type: log}, a: {type: log}}").nodes

    assert [(node.id, node.handles, node.is_start) for node in drawn] == [
        ("f", "failure", False), ("g", "finish", False), ("a", None, True),
    ]  # fmt: skip
