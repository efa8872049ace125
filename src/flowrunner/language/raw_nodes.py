"""Nodes as written in a document, before they are checked."""

from collections.abc import Collection, Iterator, Mapping, Set
from typing import Final

from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.agents import AGENT, agent_of
from flowrunner.language.yaml_source import Keys

# Keys under which nodes of other systems that set variables have them.
_WRAPPERS: Final = frozenset(("values", "vars", "variables"))


def is_node(value: JSON, node_types: Collection[str]) -> bool:
    """Return whether a value looks like a node."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    return value["type"] in node_types or not value.keys().isdisjoint(("params", "next", "nodes"))


def spec_of(node: JSON, node_types: Mapping[str, NodeTypeSpec]) -> NodeTypeSpec | None:
    """Return the specification of a node's type; None for an unknown type, and for what is no node."""
    return node_types.get(str(node.get("type"))) if isinstance(node, dict) else None


def params_of(node: JSON) -> Mapping[str, JSON]:
    """Return the parameters of a node, if they are a map; otherwise an empty one."""
    params = node.get("params") if isinstance(node, dict) else None
    return params if isinstance(params, dict) else {}


def known_results(nodes: Mapping[str, JSON], node_types: Mapping[str, NodeTypeSpec]) -> Mapping[str, Collection[str]]:
    """Return the keys of the results that other nodes read, by the name of the node, as far as they are known."""
    found = {}
    for name, node in nodes.items():
        spec = spec_of(node, node_types)
        # Scripts of the older form may give a node another result.
        is_changed = isinstance(node, dict) and ("output" in node or "hooks" in node)
        if spec is not None and not is_changed and (known := spec.result_keys_of(params_of(node))):
            found[name] = known
    return found


def inner_nodes(node: JSON) -> Iterator[tuple[tuple[str, ...], Mapping[str, JSON]]]:
    """Yield the nodes of each scope inside a node, with the key `()` for a loop and `(name,)` for a branch."""
    if not isinstance(node, dict):
        return
    if node.get("type") == AGENT:
        yield (), agent_of(node).nodes
    elif isinstance(inner := node.get("nodes"), dict):
        yield (), inner
    branches = node.get("branches")
    for name, branch in (branches if isinstance(branches, dict) else {}).items():
        if isinstance(branch, dict) and isinstance(inner := branch.get("nodes"), dict):
            yield (name,), inner


def place_of_inner(node_at: Keys, key: tuple[str, ...]) -> Keys:
    """Return the keys that lead to the nodes of a scope inside a node. Args: key: As from `inner_nodes`."""
    return (*node_at, "branches", *key, "nodes") if key else (*node_at, "nodes")


def nodes_by_scope(nodes: Mapping[str, JSON], around: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield every node with the dotted path of its scope; "" is the flow itself."""
    for name, node in nodes.items():
        yield name, ".".join(around)
        for key, inner in inner_nodes(node):
            yield from nodes_by_scope(inner, (*around, name, *key))


def set_by_nodes(nodes: Mapping[str, JSON]) -> Iterator[str]:
    """Yield the variables that `set` nodes assign."""
    for node in nodes.values():
        if isinstance(node, dict) and node.get("type") == "set":
            yield from params_of(node)
        for _, inner in inner_nodes(node):
            yield from set_by_nodes(inner)


def nested_variables(nodes: Mapping[str, JSON], declared: Set[str], at: Keys) -> Iterator[tuple[Keys, str]]:
    """Yield the places where `set` nodes set a map named `values` and the like, with the declared variable in it.

    Args:
        declared: The variables of the document. Those that only `set` nodes have do not count.
        at: Keys that lead to ``nodes``.
    """
    for name, node in nodes.items():
        if isinstance(node, dict) and node.get("type") == "set":
            params = params_of(node)
            for wrapper in sorted(_WRAPPERS - declared):
                inner_params = params.get(wrapper)
                if isinstance(inner_params, dict) and (meant := next((k for k in inner_params if k in declared), None)):
                    yield (*at, name, "params", wrapper), meant
        for key, inner in inner_nodes(node):
            yield from nested_variables(inner, declared, place_of_inner((*at, name), key))


def targets_of(node: JSON) -> set[str]:
    """Return the names that the edges of a node lead to."""
    written = node.get("next") if isinstance(node, dict) else None
    if isinstance(written, str):
        return {written}
    return {target for target in written.values() if isinstance(target, str)} if isinstance(written, dict) else set()


def notified_by(nodes: Mapping[str, JSON], node_types: Mapping[str, NodeTypeSpec]) -> dict[str, str]:
    """Return the nodes that run when another node begins to wait, each with the first such node."""
    found: dict[str, str] = {}
    for name, node in nodes.items():
        target = notified_of(node, node_types)
        if isinstance(target, str) and target in nodes and target != name:
            found.setdefault(target, name)
    return found


def notified_of(node: JSON, node_types: Mapping[str, NodeTypeSpec]) -> JSON:
    """Return the `notify` of a node as written; None if its type has none."""
    spec = spec_of(node, node_types)
    return params_of(node).get("notify") if spec is not None and spec.notifies else None


def repeated_nodes(nodes: Mapping[str, JSON]) -> set[str]:
    """Return the nodes that edges may lead back to: those on a loop, and some between loops."""
    leads = {name: targets_of(node) & nodes.keys() for name, node in nodes.items()}
    comes: dict[str, set[str]] = {name: set() for name in nodes}
    for name, targets in leads.items():
        for target in targets:
            comes[target].add(name)
    left = set(nodes)
    # A node without predecessors, or without successors, among the nodes left is on no loop.
    for ahead, behind in ((leads, comes), (comes, leads)):
        count = {name: len(behind[name] & left) for name in left}
        todo = [name for name in left if count[name] == 0]
        while todo:
            name = todo.pop()
            left.discard(name)
            for target in ahead[name] & left:
                count[target] -= 1
                if count[target] == 0:
                    todo.append(target)
    return left
