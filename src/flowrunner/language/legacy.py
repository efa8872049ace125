"""Rewriting of older document forms to the current form.

The readers know only the current form. A renamed key keeps its place, so that faults name the line and the key of the
document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from flowrunner.domain.flow import DEFAULT_ACTION, NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import Keys, Position, Source

# Current names of keys, by their older names.
_RETRY: Final = {"max_retries": "max", "wait": "delay"}
_HTTP_ACTIONS: Final = {"success": DEFAULT_ACTION, "client_error": "error.http.4xx", "server_error": "error.http.5xx"}
_TWICE: Final = {"retry": "retry.twice", "next": "edge.twice"}
# Earlier versions had the type `wait` for what is `delay` now.
WAIT: Final = "wait"
DELAY: Final = "delay"
# A multiple of this number probably means milliseconds, not seconds.
_PERHAPS_MILLISECONDS: Final = 1000


class Remark(NamedTuple):
    """Fault or warning about an older form, at ``keys``."""

    keys: Keys
    code: str
    message: str
    hint: str
    is_warning: bool


def modernized(source: Source, node_types: Mapping[str, NodeTypeSpec]) -> tuple[Source, list[Remark]]:
    """Return the document in the current form, with faults and warnings about its older forms."""
    if not isinstance(source.value, dict):
        return source, []
    rewriter = _Rewriter(node_types, dict(source.places), dict(source.key_places))
    value = rewriter.flow(source.value)
    return (
        replace(
            source, value=value, places=rewriter.places, key_places=rewriter.key_places, older_keys=rewriter.older_keys
        ),
        rewriter.remarks,
    )


@dataclass(slots=True)
class _Rewriter:
    """Rewriter of one document. It copies, because an alias can put the same map in several places."""

    node_types: Mapping[str, NodeTypeSpec]
    places: dict[Keys, Position]
    key_places: dict[Keys, Position]
    older_keys: dict[Keys, Keys] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def flow(self, flow: Mapping[str, JSON]) -> Mapping[str, JSON]:
        changed = dict(flow)
        for key in ("defaults", "limits"):
            if isinstance(part := flow.get(key), dict):
                part = self.seconds(part, (key,))
                changed[key] = self.retry(part, (key,)) if key == "defaults" else part
        return self.nodes(changed, ())

    def nodes(self, holder: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        """Rewrite the nodes of a flow, a loop or a branch."""
        nodes = holder.get("nodes")
        if not isinstance(nodes, dict):
            return holder
        at = (*at, "nodes")
        return {**holder, "nodes": {name: self.node(node, (*at, name)) for name, node in nodes.items()}}

    def node(self, node: JSON, at: Keys) -> JSON:
        if not isinstance(node, dict):
            return node
        node = self.retry(self.seconds(node, at), at)
        params = node.get("params")
        if node.get("type") == WAIT and isinstance(params, dict) and "duration" in params and "key" not in params:
            node = {**node, "type": DELAY}
        spec = self.node_types.get(str(node.get("type")))
        if spec is not None and isinstance(params, dict) and "timeout" in spec.params:
            node = {**node, "params": self.seconds(params, (*at, "params"))}
        if spec is not None and "http" in spec.errors:
            node = self.renamed(node, at, "next", _HTTP_ACTIONS)
        branches = node.get("branches")
        if isinstance(branches, dict):
            at_branches = (*at, "branches")
            node = {
                **node,
                "branches": {
                    name: self.nodes(branch, (*at_branches, name)) if isinstance(branch, dict) else branch
                    for name, branch in branches.items()
                },
            }
        return self.nodes(node, at)

    def retry(self, parent: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        return self.renamed(parent, at, "retry", _RETRY)

    def seconds(self, parent: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        """Rewrite a timeout that is a number to a duration in seconds."""
        number = parent.get("timeout")
        if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            return parent
        if number >= _PERHAPS_MILLISECONDS and number % _PERHAPS_MILLISECONDS == 0:
            message = f"a timeout of {number} is {number} seconds"
            hint = f"write its unit: {number}s, or {number}ms if milliseconds are meant"
            self.remarks.append(Remark((*at, "timeout"), "timeout.seconds", message, hint, is_warning=True))
        return {**parent, "timeout": f"{number}s" if isinstance(number, int) else f"{round(number * 1000)}ms"}

    def renamed(self, parent: Mapping[str, JSON], at: Keys, key: str, names: Mapping[str, str]) -> Mapping[str, JSON]:
        """Rename the keys of the map under ``key`` to their current names."""
        written, at = parent.get(key), (*at, key)
        if not isinstance(written, dict) or names.keys().isdisjoint(written):
            return parent
        changed = {}
        for name, value in written.items():
            current = names.get(name, name)
            if current != name and current in written:
                message = f"'{name}' is an older name of '{current}'"
                self.remarks.append(Remark((*at, name), _TWICE[key], message, "give one of them", is_warning=False))
                continue
            changed[current] = value
            if current != name:
                self.move((*at, name), (*at, current))
        return {**parent, key: changed}

    def move(self, old: Keys, new: Keys) -> None:
        self.older_keys[new] = old
        for places in (self.places, self.key_places):
            if old in places:
                places[new] = places[old]
