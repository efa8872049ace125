"""Edges of the nodes of a scope, and its first node."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flowrunner.domain.flow import DEFAULT_ACTION, SKIPPED_ACTION, NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.document import Document
from flowrunner.language.error_types import is_misspelt_error, may_fail_with, nearest_error
from flowrunner.language.raw_nodes import params_of, spec_of, targets_of
from flowrunner.language.yaml_source import Keys

_MOST_LISTED: Final = 20
_TIMEOUT: Final = "timeout"
# Targets that other systems use for the end of a flow.
_ENDS: Final = frozenset({"end", "stop", "exit", "finish", "done", "none", "null", "return", "__end__"})


def read_edges(
    document: Document,
    node: Mapping[str, JSON],
    at: Keys,
    siblings: Mapping[str, JSON],
    *,
    spec: NodeTypeSpec | None,
    params: Mapping[str, JSON],
    elsewhere: Mapping[str, str],
) -> dict[str, str]:
    """Return the target of each action and error of a node.

    Args:
        spec: Specification of the node's type; None for an unknown type.
        elsewhere: Path of the scope of each node in the document.
    """
    written = node.get("next")
    at = (*at, "next")
    if written is None:
        return {}
    if isinstance(written, str):
        written, places = {DEFAULT_ACTION: written}, {DEFAULT_ACTION: at}
    elif isinstance(written, dict):
        places = {action: (*at, action) for action in written}
    else:
        hint = "for several at once write a node of type parallel" if isinstance(written, list) else None
        document.fault(at, "type", "must be a node's name, or a map from actions to names", hint)
        document.dangling_edges += 1
        return {}
    actions = spec.actions_of(params) if spec is not None else frozenset[str]()
    if actions is None:
        # The actions are not known yet, so every edge may fire.
        actions = frozenset(action for action in written if not is_of_error(action))
    if "if" in node:
        actions |= {SKIPPED_ACTION, DEFAULT_ACTION}
    edges, has_misnamed = {}, False
    for action, target in written.items():
        if not isinstance(target, str) or target not in siblings:
            document.fault(places[action], "edge.target", *_no_target(document, action, target, siblings, elsewhere))
            document.dangling_edges += 1
        elif spec is not None and not can_fire(action, actions, spec):
            has_misnamed = True
            message, hint = never_fires(document, action, actions, spec)
            document.fault(places[action], "edge.action", message, hint, key=len(places[action]) > len(at))
        else:
            edges[action] = target
            _warn_of_misspelt_error(document, action, places[action], spec)
    waits_indefinitely = _TIMEOUT in actions and _TIMEOUT not in node and _TIMEOUT not in params
    if waits_indefinitely and _TIMEOUT in edges:
        message = f"'{_TIMEOUT}' never fires: the node waits indefinitely"
        document.warn(places[_TIMEOUT], "edge.timeout", message, "say how long it waits: timeout: 1d", key=True)
    # An action with a wrong name has a fault already.
    left = set[str]() if has_misnamed else set(actions - written.keys() - {SKIPPED_ACTION, DEFAULT_ACTION})
    for action in sorted(left - ({_TIMEOUT} if waits_indefinitely else set())):
        message = f"the action '{action}' has no edge: its scope ends with it"
        document.warn(at, "edge.missing", message, f"add '{action}: <node>' if the flow continues", key=True)
    return edges


def _warn_of_misspelt_error(document: Document, action: str, at: Keys, spec: NodeTypeSpec | None) -> None:
    error = action.removeprefix("error.")
    if error != action and is_misspelt_error(error, spec):
        near = nearest_error(error)
        hint = None if near is None else f"did you mean 'error.{near}'?"
        document.warn(at, "edge.error", f"there is no error '{error}': this edge never fires", hint, key=True)


def first_nodes(holder: Mapping[str, JSON], nodes: Mapping[str, JSON], handlers: frozenset[str]) -> list[str]:
    """Return the possible first nodes of a scope: one if it is clear, none if there is no node.

    Args:
        holder: Map that may name the first node in its `start`.
    """
    start = holder.get("start")
    if start is not None:
        return [start] if isinstance(start, str) and start in nodes else []
    led_to = {target for name, node in nodes.items() for target in targets_of(node) if target != name}
    first = [name for name in nodes if name not in led_to and name not in handlers]
    return first or [name for name in nodes if name not in handlers][:1]


def check_start(document: Document, holder: Mapping[str, JSON], at: Keys, nodes: Mapping[str, JSON]) -> bool:
    """Check the key `start`, and return whether it is right or absent."""
    start = holder.get("start")
    if start is None or (isinstance(start, str) and start in nodes):
        return True
    document.fault((*at, "start"), "edge.target", *_no_target(document, "", start, nodes, {}))
    return False


def check_reach(
    document: Document,
    nodes: Mapping[str, JSON],
    nodes_at: Keys,
    *,
    first: Sequence[str],
    handlers: frozenset[str],
    node_types: Mapping[str, NodeTypeSpec],
) -> None:
    """Check that a scope has one first node, from which every node can be reached, and an end."""
    if not first:
        if nodes:
            document.fault(
                nodes_at,
                "start.missing",
                "no node is left to start with: each of them runs only at the end, or when an approval waits",
                "add a node that 'on_failure', 'on_finish' and 'notify' do not name, or name the first with 'start'",
                key=True,
            )
        return
    if len(first) > 1:
        names = ", ".join(f"'{name}'" for name in first[:10])
        document.fault(
            (*nodes_at, first[1]),
            "start.ambiguous",
            f"nothing leads to {names}: it is not clear where to start",
            "join them by edges, or name the first with 'start'",
            key=True,
        )
        return
    reached = _reached(nodes, first)
    if not any(_may_end(nodes[name], node_types) for name in reached):
        document.warn(
            (*nodes_at, first[0]),
            "edge.endless",
            "no path ends from here: only an error or limits.max_steps ends it",
            "leave an action without an edge, or let it lead to a node of type return",
            key=True,
        )
    reached |= _reached(nodes, handlers)
    for name in nodes:
        if name not in reached:
            message = f"no edge leads to '{name}' from the start, '{first[0]}'"
            document.fault((*nodes_at, name), "node.unreachable", message, key=True)


def only_after_errors(nodes: Mapping[str, JSON], node_types: Mapping[str, NodeTypeSpec]) -> set[str]:
    """Return the nodes of a scope that only error edges lead to."""
    after: dict[bool, set[str]] = {True: set(), False: set()}
    for node in nodes.values():
        spec = spec_of(node, node_types)
        if not isinstance(node, dict) or spec is None or not isinstance(edges := node.get("next"), dict):
            after[False] |= targets_of(node)
            continue
        # A type may have an action called `error`.
        actions = spec.actions_of(params_of(node))
        for action, target in edges.items():
            is_action = action == "error" and (actions is None or action in actions)
            after[is_of_error(action) and not is_action].add(str(target))
    return after[True] - after[False]


def _reached(nodes: Mapping[str, JSON], first: Iterable[str]) -> set[str]:
    reached: set[str] = set()
    todo = [*first]
    while todo:
        name = todo.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            todo.extend(targets_of(nodes[name]))
    return reached


def _may_end(node: JSON, node_types: Mapping[str, NodeTypeSpec]) -> bool:
    """Return whether a scope may end with this node, because one of its actions has no edge."""
    spec = spec_of(node, node_types)
    if spec is None or not isinstance(node, dict):
        return True
    actions, written = spec.actions_of(params_of(node)), node.get("next")
    with_edges = {DEFAULT_ACTION} if isinstance(written, str) else set(written) if isinstance(written, dict) else set()
    may_be_skipped_to_nowhere = "if" in node and not with_edges & {DEFAULT_ACTION, SKIPPED_ACTION}
    return not actions or not actions <= with_edges or may_be_skipped_to_nowhere


def _no_target(
    document: Document, action: str, target: JSON, siblings: Mapping[str, JSON], elsewhere: Mapping[str, str]
) -> tuple[str, str | None]:
    match target:
        case str() if "${" in target:
            return "an edge cannot be an expression", "for a choice write a node of type switch"
        case str() if target in elsewhere:
            scope = elsewhere[target]
            where = f"inside '{scope}'" if scope else "outside this scope"
            hint = None if scope else "leave it out here, and let the enclosing node lead there"
            return f"'{target[:60]}' is {where}: edges stay in their own scope", hint
        case str():
            hint = document.suggestions.did_you_mean(target, siblings)
            if hint is None and target.lower() in _ENDS:
                hint = "leave it out: the flow ends after a node without an edge"
            return f"'{target[:60]}' is not a node of this scope", hint
        case dict() if action == "error" and target:
            kind = next(iter(target))
            return "must be the name of a node", f"write error.{kind}: <node>"
        case None:
            return "must be the name of a node", "leave it out: the flow ends after a node without an edge"
        case _:
            return "must be the name of a node", None


def never_fires(document: Document, action: str, actions: frozenset[str], spec: NodeTypeSpec) -> tuple[str, str]:
    if not actions and not is_of_error(action):
        message = f"a node of type {spec.name} ends its scope: nothing comes after it"
        return message, "leave 'next' out; to continue with a value, use a node of type transform"
    message = f"'{action}' can never fire: a node of type {spec.name} has no such action"
    return message, _hint_of_action(document, action, actions, spec)


def _hint_of_action(document: Document, action: str, actions: frozenset[str], spec: NodeTypeSpec) -> str:
    if action.startswith("error."):
        near = nearest_error(action.removeprefix("error."))
        if near is not None and can_fire(f"error.{near}", actions, spec):
            return f"did you mean 'error.{near}'?"
    some = ", ".join(sorted(actions)[:_MOST_LISTED]) or "none"
    return (
        document.suggestions.did_you_mean(action, [*actions, "error"])
        or f"its actions: {some}; its errors: error, error.<type>"
    )


def is_of_error(action: str) -> bool:
    return action == "error" or action.startswith("error.")


def can_fire(action: str, actions: frozenset[str], spec: NodeTypeSpec) -> bool:
    if action == "error":
        return True
    if not is_of_error(action):
        return action in actions
    return may_fail_with(action.removeprefix("error."), spec)
