"""Where the nodes of a scope lead, and which comes first."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import COMMON_ERRORS, DEFAULT_ACTION, SKIPPED_ACTION, NodeTypeSpec
from flowrunner.domain.flow_document.document import Document
from flowrunner.domain.values import JSON
from flowrunner.domain.written_nodes import targets_of
from flowrunner.domain.yaml_source import Keys

_MOST_LISTED: Final = 20


def read_edges(
    document: Document,
    node: Mapping[str, JSON],
    at: Keys,
    siblings: Mapping[str, JSON],
    *,
    spec: NodeTypeSpec | None,
    params: Mapping[str, JSON],
) -> dict[str, str]:
    """Where each action and error of a node leads; ``spec`` is None of an unknown type."""
    written = node.get("next")
    at = (*at, "next")
    if written is None:
        return {}
    if isinstance(written, str):
        written, places = {DEFAULT_ACTION: written}, {DEFAULT_ACTION: at}
    elif isinstance(written, dict):
        places = {action: (*at, action) for action in written}
    else:
        document.fault(at, "type", "must be a node's name, or a map from actions to names")
        return {}
    actions = spec.actions_of(params) if spec is not None else frozenset[str]()
    if "if" in node:
        actions |= {SKIPPED_ACTION, DEFAULT_ACTION}
    edges = {}
    for action, target in written.items():
        if not isinstance(target, str) or target not in siblings:
            document.fault(places[action], "edge.target", *_no_target(document, target, siblings))
        elif spec is not None and not _can_fire(action, actions, spec):
            some = ", ".join(sorted(actions)[:_MOST_LISTED]) or "none"
            document.fault(
                places[action],
                "edge.action",
                f"'{action}' can never fire: a node of type {spec.name} does not end so",
                document.suggestions.did_you_mean(action, [*actions, "error"])
                or f"its actions: {some}; its errors: error, error.<type>",
                key=len(places[action]) > len(at),
            )
        else:
            edges[action] = target
    for action in sorted(actions - written.keys() - {SKIPPED_ACTION, DEFAULT_ACTION}):
        document.warn(
            at,
            "edge.missing",
            f"the action '{action}' leads nowhere: its scope ends with it",
            f"add '{action}: <node>' if more is to follow",
            key=True,
        )
    return edges


def read_start(
    document: Document,
    holder: Mapping[str, JSON],
    at: Keys,
    nodes: Mapping[str, JSON],
    nodes_at: Keys,
    *,
    handlers: frozenset[str] = frozenset(),
) -> str:
    targets = {name: targets_of(node) & nodes.keys() for name, node in nodes.items()}
    start = holder.get("start")
    if start is not None:
        if not isinstance(start, str) or start not in nodes:
            document.fault((*at, "start"), "edge.target", *_no_target(document, start, nodes))
            return ""
    else:
        led_to = {target for name in targets for target in targets[name] if target != name}
        first = [name for name in nodes if name not in led_to and name not in handlers]
        if len(first) > 1:
            names = ", ".join(f"'{name}'" for name in first[:10])
            document.fault(
                (*nodes_at, first[1]),
                "start.ambiguous",
                f"nothing leads to {names}: it is not clear where to start",
                "join them by edges, or name the first with 'start'",
                key=True,
            )
            return first[0]
        start = first[0] if first else next((name for name in nodes if name not in handlers), "")
    reached: set[str] = set()
    todo = [start, *handlers]
    while todo:
        name = todo.pop()
        if name in targets and name not in reached:
            reached.add(name)
            todo.extend(targets[name])
    for name in nodes:
        if name not in reached:
            message = f"no edge leads to '{name}' from the start, '{start}'"
            document.fault((*nodes_at, name), "node.unreachable", message, key=True)
    return start


def _no_target(document: Document, target: JSON, siblings: Mapping[str, JSON]) -> tuple[str, str | None]:
    return f"'{str(target)[:60]}' is not a node of this scope", document.suggestions.did_you_mean(str(target), siblings)


def _can_fire(action: str, actions: frozenset[str], spec: NodeTypeSpec) -> bool:
    if action == "error":
        return True
    if not action.startswith("error."):
        return action in actions
    wanted = action.removeprefix("error.")
    families = (*spec.errors, *COMMON_ERRORS)
    if wanted[-3:] in ("1xx", "2xx", "3xx", "4xx", "5xx"):
        wanted = wanted[:-4]
    return any(
        family in ("*", wanted) or wanted.startswith(f"{family}.") or family.startswith(f"{wanted}.")
        for family in families
    )
