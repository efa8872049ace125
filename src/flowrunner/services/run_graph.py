"""The graph of a flow's revision with the states of one execution, for a picture."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flowrunner.domain.events import HANDLERS, ROOT
from flowrunner.domain.flow import (
    DEFAULT_ACTION,
    SKIPPED_ACTION,
    Flow,
    Graph,
    HandledEnd,
    Node,
    graph_at,
    handled_end,
)
from flowrunner.domain.retry import error_patterns
from flowrunner.services.step_entries import StepEntry
from flowrunner.services.step_index import StepIndex


@dataclass(slots=True)
class GraphNode:
    """A node with its runs.

    Attributes:
        id: Its path: `push`, `each/push` in a loop, `both[left]/push` in a branch.
        parent: The id of the node that holds it.
        branch: The branch of that node that it belongs to.
        is_start: The flow or the scope begins here.
        handles: The end of the flow that it handles.
        latest: Its latest run.
        runs: The number of its runs, by status.
    """

    id: str
    node: str
    node_type: str
    parent: str | None
    branch: str | None
    is_start: bool
    handles: HandledEnd | None = None
    latest: int | None = None
    status: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    runs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """An edge between two nodes of one scope. Args: taken: How often the execution has followed it."""

    source: str
    target: str
    action: str
    taken: int


@dataclass(frozen=True, slots=True)
class RunGraph:
    nodes: Sequence[GraphNode]
    edges: Sequence[GraphEdge]


def graph_of(flow: Flow, index: StepIndex) -> RunGraph:
    """Return the graph of a flow with the states of the steps of one execution."""
    nodes: dict[str, GraphNode] = {}
    by_graph: dict[int, str] = {}
    found = list(_nodes(flow, "", None, None))
    for graph, prefix, parent, branch, node in found:
        by_graph[id(graph)] = prefix
        path = f"{prefix}{node.name}"
        nodes[path] = GraphNode(path, node.name, node.type, parent, branch, is_start=graph.start == node.name)
    for name in (flow.on_failure, flow.on_finish):
        if name is not None:
            nodes[name].handles = handled_end(name, on_failure=flow.on_failure, on_finish=flow.on_finish)
    graphs: dict[str, Graph | None] = {ROOT: flow, **dict.fromkeys(HANDLERS, flow)}
    before: dict[str, StepEntry] = {}
    taken: Counter[tuple[str, str]] = Counter()
    for entry in index.entries():
        scope = entry.step.scope
        at = graph_at(graphs, scope)
        if at is None or entry.step.node not in at.nodes:
            continue
        prefix = by_graph[id(at)]
        _count(nodes[f"{prefix}{entry.step.node}"], entry)
        previous = before.get(scope)
        if previous is not None:
            key = _edge_taken(at.nodes[previous.step.node], previous)
            taken[f"{prefix}{previous.step.node}", key] += 1
        before[scope] = entry
    edges = [
        GraphEdge(f"{prefix}{node.name}", f"{prefix}{target}", action, taken[f"{prefix}{node.name}", action])
        for _, prefix, _, _, node in found
        for action, target in node.next.items()
    ]
    return RunGraph(list(nodes.values()), edges)


def _nodes(
    graph: Graph, prefix: str, parent: str | None, branch: str | None
) -> Iterator[tuple[Graph, str, str | None, str | None, Node]]:
    """Yield all nodes with their graph, the prefix of their paths, and what holds them."""
    for node in graph.nodes.values():
        yield graph, prefix, parent, branch, node
        path = f"{prefix}{node.name}"
        for key, inner in node.child_scopes.items():
            yield from _nodes(inner, f"{path}[{key}]/" if key else f"{path}/", path, key or None)


def _count(node: GraphNode, entry: StepEntry) -> None:
    node.latest, node.status = entry.id, entry.status
    node.started_at, node.ended_at = entry.started_at, entry.ended_at
    node.runs[entry.status] += 1


def _edge_taken(node: Node, entry: StepEntry) -> str:
    """Return the action or the pattern of the edge that a step's end has followed."""
    if entry.status == "failed":
        patterns = (f"error.{pattern}" for pattern in error_patterns(entry.error_type or ""))
        return next((pattern for pattern in patterns if pattern in node.next), "error")
    if entry.status == "skipped":
        return SKIPPED_ACTION if SKIPPED_ACTION in node.next else DEFAULT_ACTION
    return entry.action or DEFAULT_ACTION
