"""Paths of nodes, and the trace of nodes and edges of an execution."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from flowrunner.domain.events import HANDLERS, ROOT, Event, NodeCompleted, NodeFailed, NodeStarted
from flowrunner.domain.flow import DEFAULT_ACTION, SKIPPED_ACTION, Flow, Graph, Node
from flowrunner.domain.retry import error_patterns
from flowrunner.language.flow_tests import NodePath

# An edge: its source node, and the action or error that takes it.
Edge: TypeAlias = tuple[NodePath, str]


def inside(flow: Flow, scope: str) -> tuple[NodePath, Graph]:
    """Return the path of a scope such as `each.1[4]/both.1[left]`, and the nodes in it."""
    path: NodePath = ()
    graph: Graph = flow
    for part in scope.split("/") if scope else ():
        if part in HANDLERS:
            continue
        head, _, key = part.removesuffix("]").partition("[")
        name = head.rpartition(".")[0]
        node = graph.nodes[name]
        if not node.child_scopes:
            # A node that an approval notifies, which stands beside the approval.
            continue
        path = (*path, name) if "" in node.child_scopes else (*path, name, key)
        graph = node.scope(key)
    return path, graph


def path_of(flow: Flow, step: str) -> NodePath:
    """Return the path of the node of a step such as `each.1[4]/push.1`."""
    scope, _, name = step.rpartition("/")
    return (*inside(flow, scope)[0], name.rpartition(".")[0])


def edges_of(flow: Flow) -> Mapping[Edge, str]:
    """Return every edge of a flow, with its target node."""
    return {(path, action): target for path, node in _nodes(flow, ()) for action, target in sorted(node.next.items())}


def _nodes(graph: Graph, around: NodePath) -> Iterator[tuple[NodePath, Node]]:
    for name, node in graph.nodes.items():
        yield (*around, name), node
        for key, inner in node.child_scopes.items():
            yield from _nodes(inner, (*around, name, key) if key else (*around, name))


def taken(flow: Flow, events: Iterable[Event]) -> Iterator[Edge]:
    """Yield the edges that an execution has taken."""
    for event in events:
        match event:
            case NodeCompleted(is_last=False):
                path, node = _node(flow, event)
                action = event.action
                if event.skipped:
                    action = SKIPPED_ACTION if SKIPPED_ACTION in node.next else DEFAULT_ACTION
                if action in node.next:
                    yield path, action
            case NodeFailed(retry_at=None):
                path, node = _node(flow, event)
                patterns = [*(f"error.{pattern}" for pattern in error_patterns(event.error.type)), "error"]
                edge = next((pattern for pattern in patterns if pattern in node.next), None)
                if edge is not None:
                    yield path, edge
            case _:
                pass


def _node(flow: Flow, event: NodeCompleted | NodeFailed) -> tuple[NodePath, Node]:
    path, graph = inside(flow, event.scope)
    return (*path, event.node), graph.nodes[event.node]


@dataclass(frozen=True, slots=True)
class Trace:
    """Nodes that ran in an execution.

    Attributes:
        path: Names of the top-level nodes in order, without skipped ones.
        handlers: Names of the handler nodes in order.
        tries: Number of attempts by node.
    """

    path: tuple[str, ...]
    handlers: tuple[str, ...]
    tries: Mapping[NodePath, int]


def trace(flow: Flow, events: Sequence[Event]) -> Trace:
    skipped = {(e.scope, e.node, e.iteration) for e in events if isinstance(e, NodeCompleted) and e.skipped}
    started = [
        event
        for event in events
        if isinstance(event, NodeStarted) and (event.scope, event.node, event.iteration) not in skipped
    ]
    tries: dict[NodePath, int] = {}
    for event in started:
        path = (*inside(flow, event.scope)[0], event.node)
        tries[path] = tries.get(path, 0) + 1
    return Trace(
        tuple(event.node for event in started if event.scope == ROOT and event.attempt == 1),
        tuple(event.node for event in started if event.scope in HANDLERS and event.attempt == 1),
        tries,
    )
