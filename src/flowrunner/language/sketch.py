"""Graph of a document as far as it can be read, for a picture beside an editor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flowrunner.domain.flow import DEFAULT_ACTION, HandledEnd, NodeTypeSpec, handled_end
from flowrunner.domain.values import JSON
from flowrunner.language.agents import AGENT, agent_of
from flowrunner.language.document import MAX_NAME_CHARACTERS, Document
from flowrunner.language.edges import first_nodes
from flowrunner.language.legacy import modernize
from flowrunner.language.raw_nodes import notified_by
from flowrunner.language.yaml_source import Keys, Position, dotted, read_leniently


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchedNode:
    """A node as written.

    Attributes:
        id: Its path: `push`, `each/push` in a loop, `both[left]/push` in a branch.
        type: None if it has none, or none that is text.
        parent: The id of the node that holds it.
        branch: The branch of that node that it belongs to.
        is_start: The flow or the scope begins here.
        handles: The end of the flow that it handles.
        path: Its place in the document, as the paths of faults.
        place: The place of its name.
    """

    id: str
    name: str
    type: str | None
    parent: str | None
    branch: str | None
    is_start: bool
    handles: HandledEnd | None
    path: str
    place: Position


@dataclass(frozen=True, slots=True)
class SketchedEdge:
    """An edge between two nodes of one scope, with the place of its target's name."""

    source: str
    target: str
    action: str
    place: Position


@dataclass(frozen=True, slots=True)
class Sketch:
    nodes: Sequence[SketchedNode]
    edges: Sequence[SketchedEdge]


def sketch_of(text: str, node_types: Mapping[str, NodeTypeSpec]) -> Sketch:
    """Return the nodes of a document, and the edges that lead to one of them; faults are ignored."""
    source, _ = read_leniently(text)
    document = Document(source, lambda schema: ())
    modernize(document, node_types)
    drawer = _Drawer(document, node_types, [], [])
    if isinstance(flow := document.source.value, dict):
        drawer.scope(flow, (), "", None, None)
    return Sketch(drawer.nodes, drawer.edges)


@dataclass(slots=True)
class _Drawer:
    document: Document
    node_types: Mapping[str, NodeTypeSpec]
    nodes: list[SketchedNode]
    edges: list[SketchedEdge]

    def scope(self, holder: Mapping[str, JSON], at: Keys, prefix: str, parent: str | None, branch: str | None) -> None:
        """Draw the nodes of one scope.

        Args:
            holder: The flow, the loop or the branch, which is at ``at``.
            prefix: The beginning of the ids.
        """
        if not isinstance(written := holder.get("nodes"), dict):
            return
        # A text or a list is no node, but a key whose indentation is not right yet.
        # Longer names are no names, and the ids of all nodes inside one repeat it.
        nodes = {
            name: node
            for name, node in written.items()
            if isinstance(node, dict | None) and len(name) <= MAX_NAME_CHARACTERS
        }
        on_failure, on_finish = (holder.get(key) if parent is None else None for key in ("on_failure", "on_finish"))
        ends = {name: handled_end(name, on_failure=on_failure, on_finish=on_finish) for name in nodes}
        aside = {name for name, end in ends.items() if end is not None} | notified_by(nodes, self.node_types).keys()
        first = first_nodes(holder, nodes, frozenset(aside))
        for name, node in nodes.items():
            id, keys = f"{prefix}{name}", (*at, "nodes", name)
            type = node.get("type") if node is not None else None
            self.nodes.append(
                SketchedNode(
                    id=id,
                    name=name,
                    type=type if isinstance(type, str) else None,
                    parent=parent,
                    branch=branch,
                    is_start=first[:1] == [name],
                    handles=ends[name],
                    path=dotted(self.document.source.written(keys)),
                    place=self.document.source.place(keys, key=True),
                )
            )
            self.edges += [
                SketchedEdge(id, f"{prefix}{target}", action, self.document.source.place(place))
                for action, target, place in _edges(node or {}, keys)
                if target in nodes
            ]
            owner = node or {}
            if type == AGENT:
                agent = agent_of(owner)
                self.document.place_parts(keys, agent.places)
                owner = {"nodes": agent.nodes}
            self.scope(owner, keys, f"{id}/", id, None)
            branches = owner.get("branches")
            for key, inner in (branches if isinstance(branches, dict) else {}).items():
                if isinstance(inner, dict) and len(key) <= MAX_NAME_CHARACTERS:
                    self.scope(inner, (*keys, "branches", key), f"{id}[{key}]/", id, key)


def _edges(node: Mapping[str, JSON], at: Keys) -> Iterator[tuple[str, str, Keys]]:
    """Yield action, target and place of each edge."""
    written, at = node.get("next"), (*at, "next")
    if isinstance(written, str):
        yield DEFAULT_ACTION, written, at
    elif isinstance(written, dict):
        for action, target in written.items():
            if isinstance(target, str):
                yield action, target, (*at, action)
