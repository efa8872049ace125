"""The graph of a flow with the states of one execution."""

from collections.abc import Sequence
from typing import Any

from flowrunner.domain.causes import Requested
from flowrunner.domain.events import (
    HANDLERS,
    ErrorValue,
    Event,
    NodeCompleted,
    NodeFailed,
    NodeStarted,
    ScopesOpened,
    Started,
)
from flowrunner.ports.event_codec import encode_event, stored_type
from flowrunner.ports.steps import StoredEvent
from flowrunner.services.run_graph import RunGraph, graph_of
from flowrunner.services.step_index import StepIndex
from support.databases import MARA_ACCOUNT, NOON
from support.flows import flow_of

FLOW = """\
nodes:
  get:
    type: http.request
    params: {url: "https://example.com"}
    next: {default: each, error.http.4xx: sorry, error: sorry}
  each:
    type: foreach
    params: {items: [1, 2]}
    nodes:
      look: {type: log, params: {message: x}, if: "item > 1", next: {skipped: end, default: end}}
      end: {type: return}
    next: both
  both:
    type: parallel
    branches: {left: {nodes: {a: {type: log, params: {message: x}, next: b}, b: {type: log, params: {message: x}}}}}
  sorry: {type: log, params: {message: sorry}}
  last: {type: log, params: {message: bye}}
on_failure: sorry
on_finish: last
"""


def graph(*events: Event) -> RunGraph:
    started = Started(node="get", node_type="http.request", input={}, cause=Requested(by=MARA_ACCOUNT))
    index = StepIndex()
    stored: Sequence[Event] = [started, *events]
    index.add([StoredEvent(n, NOON, stored_type(one), encode_event(one)) for n, one in enumerate(stored, start=1)])
    return graph_of(flow_of(FLOW), index)


def ran(node: str, scope: str = "", *, iteration: int = 1, **ended: Any) -> list[Event]:
    step: Any = {"node": node, "node_type": "log", "iteration": iteration, "attempt": 1, "scope": scope}
    if "error" in ended:
        return [NodeStarted(**step), NodeFailed(**step, error=ErrorValue(type=ended["error"], message=""))]
    return [NodeStarted(**step), NodeCompleted(**step, **{"action": "default", "result": None, **ended})]


def taken(found: RunGraph) -> dict[tuple[str, str], int]:
    return {(edge.source, edge.action): edge.taken for edge in found.edges if edge.taken}


def test_the_nodes_have_their_places() -> None:
    nodes = {node.id: node for node in graph().nodes}

    assert {id: (node.parent, node.branch) for id, node in nodes.items() if node.parent} == {
        "each/look": ("each", None), "each/end": ("each", None), "both[left]/a": ("both", "left"),
        "both[left]/b": ("both", "left"),
    }  # fmt: skip
    assert [id for id, node in nodes.items() if node.is_start] == ["get", "each/look", "both[left]/a"]
    assert {id: node.handles for id, node in nodes.items() if node.handles} == {"sorry": "failure", "last": "finish"}
    assert {node.status for node in nodes.values()} == {None}
    edges = {(edge.source, edge.action): edge.target for edge in graph().edges}
    assert edges["each/look", "skipped"] == "each/end"
    assert edges["both[left]/a", "default"] == "both[left]/b"


def test_runs_and_edges_are_counted_in_all_rounds() -> None:
    each: Any = {"node": "each", "node_type": "foreach", "iteration": 1, "attempt": 1}
    opened = ScopesOpened(**each, keys=["0", "1"], inputs=[1, 2], concurrency=1, needed=2)
    found = graph(
        *ran("get"), NodeStarted(**each), opened,
        *ran("look", "each.1[0]", skipped=True), *ran("end", "each.1[0]"),
        *ran("look", "each.1[1]"), *ran("end", "each.1[1]"),
    )  # fmt: skip

    nodes = {node.id: node for node in found.nodes}
    assert nodes["each/look"].runs == {"skipped": 1, "completed": 1}
    assert (nodes["each/look"].status, nodes["each/look"].latest) == ("completed", 10)
    assert nodes["each/end"].runs == {"completed": 2}
    assert taken(found) == {("get", "default"): 1, ("each/look", "skipped"): 1, ("each/look", "default"): 1}


def test_the_edge_of_an_error_is_the_closest_one() -> None:
    for error, action in (("http.404", "error.http.4xx"), ("http.503", "error"), ("timeout", "error")):
        found = graph(*ran("get", error=error), *ran("sorry"))

        assert taken(found) == {("get", action): 1}
        assert {node.id: node.status for node in found.nodes if node.status} == {"get": "failed", "sorry": "completed"}


def test_a_step_of_a_node_that_this_revision_no_longer_has_is_left_out() -> None:
    # A rerun keeps the steps of the execution before, which may have had another revision.
    found = graph(*ran("gone"), *ran("get"))

    assert {node.id for node in found.nodes if node.status} == {"get"}


def test_a_handler_follows_no_edge_of_the_flow() -> None:
    on_failure, on_finish = sorted(HANDLERS)

    found = graph(*ran("get"), *ran("sorry", on_failure), *ran("last", on_finish))

    assert taken(found) == {}
    assert {node.id for node in found.nodes if node.status == "completed"} == {"get", "sorry", "last"}
