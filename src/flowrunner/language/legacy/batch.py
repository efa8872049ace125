"""Nodes that run once for each element of their input, by their key `batch`."""

from collections.abc import Callable, Mapping
from typing import Final

from flowrunner.domain.flow import DEFAULT_ACTION, SKIPPED_ACTION, NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.document import Document
from flowrunner.language.edges import can_fire, is_of_error, never_fires
from flowrunner.language.yaml_source import Keys

LOOP: Final = "foreach"
DEFAULT_CONCURRENCY: Final = 10
_KEYS: Final = ("strategy", "max_parallel")
_STRATEGIES: Final = ("serial", "parallel", "worker_pool")
# Keys of the node that apply to the whole.
KEYS_OF_LOOP: Final = ("description", "if", "next")
# Error that no node has.
_NO_ERROR: Final = "error.batch_action"


def runs_in_loop(node: Mapping[str, JSON]) -> bool:
    """Return whether a node as written runs within a loop of the same name."""
    return node.get("batch") is not None


def loop_around(document: Document, node: Mapping[str, JSON], at: Keys) -> dict[str, JSON]:
    """Return the loop around a node, without nodes inside."""
    written, at_batch = document.map_at(node, at, "batch"), (*at, "batch")
    document.known_keys(written, at_batch, _KEYS)
    strategy = written.get("strategy", "serial")
    if strategy not in _STRATEGIES:
        document.fault((*at_batch, "strategy"), "enum", f"must be one of: {', '.join(_STRATEGIES)}")
    most = document.whole_number_at(written, at_batch, "max_parallel", 1, 1000)
    concurrency = 1 if strategy == "serial" else most or DEFAULT_CONCURRENCY
    return {
        **{key: node[key] for key in KEYS_OF_LOOP if key in node},
        "type": LOOP,
        "params": {"items": "${input}", "concurrency": concurrency},
    }


def edges_of_loop(
    document: Document,
    node: Mapping[str, JSON],
    at: Keys,
    *,
    siblings: Mapping[str, JSON],
    spec: NodeTypeSpec | None,
    on_moved: Callable[[Keys, Keys], None],
) -> JSON:
    """Return the edges of the loop around a node.

    The loop succeeds with `default`, and never with another action of the node. Earlier versions have accepted an edge
    for such an action: its target stays reachable, for an error that never occurs.

    Args:
        spec: Specification of the type of the node inside; None for an unknown type.
        on_moved: Called with the old and the new keys of an edge.
    """
    written, params = node.get("next"), node.get("params")
    if not isinstance(written, dict):
        return written
    # A stored document was checked when it was saved.
    actions = (
        None if document.is_stored or spec is None else spec.actions_of(params if isinstance(params, dict) else {})
    )
    edges = {}
    for action, target in written.items():
        if action in (DEFAULT_ACTION, SKIPPED_ACTION):
            edges[action] = target
            continue
        is_node = isinstance(target, str) and target in siblings
        if is_node and spec is not None and actions is not None and not can_fire(action, actions, spec):
            document.fault((*at, action), "edge.action", *never_fires(document, action, actions, spec), key=True)
        name = action if is_of_error(action) else f"{_NO_ERROR}.{action}"
        edges[name] = target
        if name != action:
            on_moved((*at, action), (*at, name))
    return edges
