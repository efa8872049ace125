"""Rules for the nodes that run when an approval begins to wait."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.document import Document
from flowrunner.language.raw_nodes import notified_of, params_of, spec_of, targets_of
from flowrunner.language.yaml_source import Keys

# The name that the expressions of these nodes may start from.
APPROVAL: Final = "approval"


def check_notified(
    document: Document, nodes: Mapping[str, JSON], nodes_at: Keys, *, node_types: Mapping[str, NodeTypeSpec]
) -> bool:
    """Check the parameters `notify`, `link` and `remind` of the nodes of a scope, and the nodes that they name.

    Returns: True if each `notify` names a node that may run then.
    """
    are_right = True
    targets = {target: name for name, node in nodes.items() for target in targets_of(node)}
    for name, node in nodes.items():
        spec, params = spec_of(node, node_types), params_of(node)
        if spec is None or not spec.notifies:
            continue
        at: Keys = (*nodes_at, name, "params")
        if params.get("link") not in (None, False):
            document.links.append(document.code_place((*at, "link")))
        if params.get("notify") is None:
            for key in ("link", "remind"):
                if params.get(key) not in (None, False):
                    hint = "name the node that sends it: notify: <node>"
                    document.fault((*at, key), "approval.notify", f"'{key}' needs 'notify'", hint, key=True)
            continue
        target = notified_of(node, node_types)
        fault = _fault_of(document, target, name, nodes=nodes, targets=targets, node_types=node_types)
        if fault is not None:
            document.fault((*at, "notify"), "approval.notify", *fault)
            are_right = False
    return are_right


def _fault_of(
    document: Document,
    target: JSON,
    name: str,
    *,
    nodes: Mapping[str, JSON],
    targets: Mapping[str, str],
    node_types: Mapping[str, NodeTypeSpec],
) -> tuple[str, str | None] | None:
    """Return what is wrong with the node that a node notifies, and a hint; None if nothing is."""
    if not isinstance(target, str) or target not in nodes or target == name:
        text = target[:60] if isinstance(target, str) else target
        if isinstance(target, str) and "${" in target:
            return "'notify' cannot be an expression", "write the name of a node of this scope"
        hint = document.suggestions.did_you_mean(str(target), [other for other in nodes if other != name])
        return f"'{text}' is not another node of this scope", hint
    node = nodes[target]
    spec = spec_of(node, node_types)
    if spec is not None and spec.notifies:
        return f"'{target}' waits for an answer itself: notify by a node that sends something", None
    if target in targets:
        hint = "leave that edge out, or use another node"
        return f"the edge of '{targets[target]}' leads to '{target}', which only runs when '{name}' waits", hint
    if targets_of(node):
        return f"'{target}' has edges, and nothing comes after it: it only runs when '{name}' waits", "leave 'next' out"
    return None
