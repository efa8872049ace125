"""Rewriting of a document to the current form."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowrunner.domain.flow import NodeTypeSpec
from flowrunner.domain.values import JSON
from flowrunner.language.document import Document
from flowrunner.language.legacy import names
from flowrunner.language.legacy.batch import KEYS_OF_LOOP, LOOP, edges_of_loop, loop_around, runs_in_loop
from flowrunner.language.legacy.hooks import with_current_names
from flowrunner.language.yaml_source import Keys

_TWICE: Final = {"retry": "retry.twice", "next": "edge.twice", "params": "param.twice"}
# A multiple of this number probably means milliseconds, not seconds.
_PERHAPS_MILLISECONDS: Final = 1000


def modernize(document: Document, node_types: Mapping[str, NodeTypeSpec]) -> None:
    """Rewrite the document to the current form, and report faults and warnings about its older forms."""
    written = document.source.value
    if not isinstance(written, dict):
        return
    older_keys: dict[Keys, Keys] = {}
    # A fault has its place by what has moved before.
    document.source = replace(document.source, older_keys=older_keys)
    value = _Rewriter(document, node_types, older_keys).flow(written)
    document.source = replace(document.source, value=value)


@dataclass(slots=True)
class _Rewriter:
    """Rewriter of one document. It copies, because an alias can put the same map in several places.

    All keys, those of faults too, are those of the current form.
    """

    document: Document
    node_types: Mapping[str, NodeTypeSpec]
    older_keys: dict[Keys, Keys]

    def flow(self, flow: Mapping[str, JSON]) -> Mapping[str, JSON]:
        changed = dict(flow)
        for key in ("defaults", "limits"):
            if isinstance(part := flow.get(key), dict):
                part = self.seconds(part, (key,))
                changed[key] = self.renamed(part, (key,), "retry", names.RETRY) if key == "defaults" else part
        return self.nodes(changed, ())

    def nodes(self, holder: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        """Rewrite the nodes of a flow, a loop or a branch."""
        nodes = holder.get("nodes")
        if not isinstance(nodes, dict):
            return holder
        at = (*at, "nodes")
        changed = {
            name: self.node(name, node, (*at, name), nodes) if isinstance(node, dict) else node
            for name, node in nodes.items()
        }
        return {**holder, "nodes": changed}

    def node(self, name: str, node: Mapping[str, JSON], at: Keys, siblings: Mapping[str, JSON]) -> Mapping[str, JSON]:
        type = names.type_of(node)
        if type in names.REQUESTS:
            node = self.renamed(node, at, "next", names.HTTP_ACTIONS)
        if not runs_in_loop(node):
            return self.without_edges(node, at, type)
        if LOOP not in self.node_types:
            self.document.fault((*at, "batch"), "node.type", "this server has no loops")
            return self.without_edges(node, at, type)
        loop = loop_around(self.document, node, at)
        if "next" in node:
            spec = self.node_types.get(str(type))
            loop["next"] = edges_of_loop(
                self.document, node, (*at, "next"), siblings=siblings, spec=spec, on_moved=self.move
            )
        inside = (*at, "nodes", name)
        self.older_keys[inside] = self.document.source.written(at)
        inner = {key: value for key, value in node.items() if key not in (*KEYS_OF_LOOP, "batch")}
        return {**loop, "nodes": {name: self.without_edges(inner, inside, type)}}

    def without_edges(self, node: Mapping[str, JSON], at: Keys, type: JSON) -> Mapping[str, JSON]:
        """Rewrite everything of a node but its edges.

        Args:
            type: Its current type.
        """
        node = self.renamed(self.seconds(node, at), at, "retry", names.RETRY)
        if node.get("type") != type:
            node = {**node, "type": type}
        if (older := names.PARAMETERS.get(str(type))) is not None:
            node = self.renamed(node, at, "params", older)
            if "hooks" in node:
                node = {**node, "hooks": with_current_names(node["hooks"], older)}
        params, branches = node.get("params"), node.get("branches")
        if type in names.WITH_TIMEOUT and isinstance(params, dict):
            node = {**node, "params": self.seconds(params, (*at, "params"))}
        if isinstance(branches, dict):
            at_branches = (*at, "branches")
            changed = {
                name: self.nodes(branch, (*at_branches, name)) if isinstance(branch, dict) else branch
                for name, branch in branches.items()
            }
            node = {**node, "branches": changed}
        return self.nodes(node, at)

    def seconds(self, parent: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        """Rewrite a timeout that is a number to a duration in seconds."""
        number = parent.get("timeout")
        if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
            return parent
        if isinstance(number, float) and math.isinf(number * 1000):
            # Milliseconds that are no number any more: the fault is that of every other value that is no duration.
            return parent
        if number >= _PERHAPS_MILLISECONDS and number % _PERHAPS_MILLISECONDS == 0:
            message = f"a timeout of {number} is {number} seconds"
            hint = f"write its unit: {number}s, or {number}ms if milliseconds are meant"
            self.document.warn((*at, "timeout"), "timeout.seconds", message, hint)
        return {**parent, "timeout": f"{number}s" if isinstance(number, int) else f"{round(number * 1000)}ms"}

    def renamed(self, parent: Mapping[str, JSON], at: Keys, key: str, current: Mapping[str, str]) -> Mapping[str, JSON]:
        """Rename the keys of the map under ``key`` to their current names."""
        written, at = parent.get(key), (*at, key)
        if not isinstance(written, dict) or current.keys().isdisjoint(written):
            return parent
        changed = {}
        for name, value in written.items():
            new = current.get(name, name)
            if new != name and new in written:
                message = f"'{name}' is an older name of '{new}'"
                self.document.fault((*at, name), _TWICE[key], message, "give one of them", key=True)
                continue
            changed[new] = value
            if new != name:
                self.move((*at, name), (*at, new))
        return {**parent, key: changed}

    def move(self, old: Keys, new: Keys) -> None:
        self.older_keys[new] = self.document.source.written(old)
