"""Which nodes a document writes, before anybody knows whether they are right."""

from collections.abc import Collection, Iterator, Mapping

from flowrunner.domain.values import JSON


def is_node(value: JSON, node_types: Collection[str]) -> bool:
    """Whether it looks like a node, wherever it stands."""
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    return value["type"] in node_types or not value.keys().isdisjoint(("params", "next", "nodes"))


def inner_nodes(node: JSON) -> Iterator[tuple[tuple[str, ...], Mapping[str, JSON]]]:
    """The nodes of each scope written inside a node: after `()` those of a loop, after `(name,)` those of a branch."""
    if not isinstance(node, dict):
        return
    if isinstance(child_scopes := node.get("nodes"), dict):
        yield (), child_scopes
    branches = node.get("branches")
    for name, branch in (branches if isinstance(branches, dict) else {}).items():
        if isinstance(branch, dict) and isinstance(child_scopes := branch.get("nodes"), dict):
            yield (name,), child_scopes


def nodes_by_scope(nodes: Mapping[str, JSON], around: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every node with the dotted path of the scope it is in; "" is the flow itself."""
    for name, node in nodes.items():
        yield name, ".".join(around)
        for key, child_scopes in inner_nodes(node):
            yield from nodes_by_scope(child_scopes, (*around, name, *key))


def set_by_nodes(nodes: Mapping[str, JSON]) -> Iterator[str]:
    """Variables that `set` nodes give a value."""
    for node in nodes.values():
        if isinstance(node, dict) and node.get("type") == "set" and isinstance(node.get("params"), dict):
            yield from node["params"]
        for _, child_scopes in inner_nodes(node):
            yield from set_by_nodes(child_scopes)


def targets_of(node: JSON) -> set[str]:
    """What a node's edges name."""
    written = node.get("next") if isinstance(node, dict) else None
    if isinstance(written, str):
        return {written}
    return {target for target in written.values() if isinstance(target, str)} if isinstance(written, dict) else set()


def repeated_nodes(nodes: Mapping[str, JSON]) -> set[str]:
    """Return the nodes that edges may lead back to: those on a loop, and some between loops."""
    leads = {name: targets_of(node) & nodes.keys() for name, node in nodes.items()}
    comes: dict[str, set[str]] = {name: set() for name in nodes}
    for name, targets in leads.items():
        for target in targets:
            comes[target].add(name)
    left = set(nodes)
    # What nothing left leads to, or what leads to nothing left, is on no loop.
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
