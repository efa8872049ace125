"""Names of nodes in flow tests."""

from collections.abc import Iterator, Mapping, Sequence

from flowrunner.domain.values import JSON
from flowrunner.language.flow_tests.document import FlowTestDocument, short
from flowrunner.language.flow_tests.flow_test import NodePath, dotted_path
from flowrunner.language.legacy import runs_in_loop
from flowrunner.language.raw_nodes import inner_nodes
from flowrunner.language.yaml_source import Keys


class NodeNames:
    """Index of the nodes of a flow by path, and by name alone."""

    def __init__(self, nodes: Mapping[str, JSON], written: FlowTestDocument) -> None:
        self._nodes = nodes
        self._written = written
        self._by_path: dict[str, NodePath] = {}
        self._by_name: dict[str, list[NodePath]] = {}
        for path, runs_as in _paths(nodes, ()):
            self._by_path.setdefault(dotted_path(path), runs_as)
            self._by_name.setdefault(path[-1], []).append(runs_as)

    def called(self, name: str) -> Sequence[NodePath]:
        """Return the nodes of that name in all scopes."""
        return self._by_name.get(name, ())

    def at(self, path: NodePath) -> Mapping[str, JSON] | None:
        """Return the node at a path, as written, or None inside a node of an older form."""
        return _node_at(self._nodes, path)

    def node(self, name: str, at: Keys, *, type: str | None = None) -> NodePath | None:
        """Return the node with a path, or with a name that only one node has.

        Args:
            at: Place of the key that names the node.
            type: Required type of the node.
        """
        path = self._by_path.get(name)
        if path is None:
            named = self._by_name.get(name, [])
            if len(named) > 1:
                paths = ", ".join(dotted_path(p) for p in named[:10])
                self._written.fault(
                    at, "test.node", f"several nodes are called '{short(name)}'", f"name one: {paths}",
                    is_of_key=True,
                )  # fmt: skip
                return None
            path = named[0] if named else None
        if path is None:
            known = {*self._by_path, *self._by_name}
            hint = self._written.suggestions.did_you_mean(name, known)
            self._written.fault(at, "test.node", f"'{short(name)}' is not a node of this flow", hint, is_of_key=True)
        elif type is not None and (node := _node_at(self._nodes, path)) is not None and node.get("type") != type:
            self._written.fault(at, "test.node", f"'{short(name)}' is not a node of type {type}", is_of_key=True)
            return None
        return path


def _paths(nodes: Mapping[str, JSON], around: NodePath) -> Iterator[tuple[NodePath, NodePath]]:
    """Yield the path of every node, as written and as it runs."""
    for name, node in nodes.items():
        path = (*around, name)
        if not isinstance(node, dict):
            yield path, path
            continue
        yield path, (*path, name) if runs_in_loop(node) else path
        for key, inner in inner_nodes(node):
            yield from _paths(inner, (*path, *key))


def _node_at(nodes: Mapping[str, JSON], path: NodePath) -> Mapping[str, JSON] | None:
    """Return the node at a path as it runs, or None inside a node of an older form."""

    def look(inside: Mapping[str, JSON], left: NodePath) -> Mapping[str, JSON] | None:
        node = inside.get(left[0])
        if not isinstance(node, dict):
            return None
        if len(left) == 1 or runs_in_loop(node):
            return node
        for key, inner in inner_nodes(node):
            rest = left[1:]
            if rest[: len(key)] == key and len(rest) > len(key) and (found := look(inner, rest[len(key) :])):
                return found
        return None

    return look(nodes, path)
