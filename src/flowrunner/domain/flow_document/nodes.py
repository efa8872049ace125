"""What the nodes of a document say."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowrunner.domain.expression import (
    OUTPUT_NAMES,
    PARAMETER_NAMES,
    Code,
    Constant,
    MapOf,
    Path,
    Value,
)
from flowrunner.domain.flow import (
    Graph,
    Hooks,
    InnerKey,
    Node,
    NodeTypeSpec,
    Prepared,
    prepared,
)
from flowrunner.domain.flow_document.document import MAX_NAME_CHARACTERS, Document, is_name
from flowrunner.domain.flow_document.edges import read_edges, read_start
from flowrunner.domain.flow_document.expressions import BODY, CONDITION, Context, Expressions, strings_in
from flowrunner.domain.flow_document.retries import RetrySettings, policy_of, read_retry
from flowrunner.domain.javascript import GLOBALS, KEYWORDS
from flowrunner.domain.script import Script
from flowrunner.domain.values import JSON
from flowrunner.domain.yaml_source import Keys

NODE_KEYS: Final = (
    "type", "description", "if", "params", "timeout", "retry", "output", "next", "idempotent", "hooks", "batch",
)  # fmt: skip
_ALL_INNER_KEYS: Final = ("nodes", "start", "branches")
_INNER_KEYS: Final[Mapping[InnerKey | None, tuple[str, ...]]] = {
    None: (), "nodes": ("nodes", "start"), "branches": ("branches",),
}  # fmt: skip
_HOOKS_KEYS: Final = ("prep", "exec", "post")
_BATCH_KEYS: Final = ("strategy", "max_parallel")
_BATCH_STRATEGIES: Final = ("serial", "parallel", "worker_pool")

MAX_DEPTH_OF_SCOPES: Final = 8
BATCH_AT_ONCE: Final = 10
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for every node that does not say otherwise."""

    timeout_seconds: float | None
    retry: RetrySettings


@dataclass(slots=True)
class NodeReader:
    """Reads the nodes of one document, those inside others too."""

    document: Document
    expressions: Expressions
    node_types: Mapping[str, NodeTypeSpec]
    defaults: Defaults

    def graph(
        self,
        holder: Mapping[str, JSON],
        at: Keys,
        written: Mapping[str, JSON],
        nodes_at: Keys,
        context: Context,
        *,
        handlers: frozenset[str] = frozenset(),
    ) -> Graph:
        """The nodes of one scope, ``written`` at ``nodes_at``; ``holder`` may name the first of them."""
        inside = replace(context, visible={*context.visible, *written})
        nodes = {}
        for name, node in written.items():
            read = self.node(name, node, (*nodes_at, name), written, inside)
            if read is not None:
                nodes[name] = read
        start = read_start(self.document, holder, at, written, nodes_at, handlers=handlers)
        return Graph(start=start, nodes=nodes)

    def node(self, name: str, node: JSON, at: Keys, siblings: Mapping[str, JSON], context: Context) -> Node | None:
        document, template = self.document, self.expressions.template
        if not is_name(name):
            message = f"a node's name has 1 to {MAX_NAME_CHARACTERS} printable characters, none of them / [ ]"
            document.fault(at, "node.name", message, key=True)
        if not isinstance(node, dict):
            document.fault(at, "type", "a node is a map with the key 'type'")
            return None
        spec = self.node_type(node, at)
        # Of an unknown type nobody can say whether it holds nodes.
        document.known_keys(node, at, (*NODE_KEYS, *(_INNER_KEYS[spec.inner] if spec else _ALL_INNER_KEYS)))
        document.text_at(node, at, "description", limit=10_000)
        written = document.map_at(node, at, "params")
        edges = read_edges(document, node, at, siblings, spec=spec, params=written)
        is_batch = node.get("batch") is not None
        inside = replace(context, names=context.names | {"item", "index"}) if is_batch else context
        condition = None
        if "if" in node:
            condition = template(node["if"], (*at, "if"), PARAMETER_NAMES, context, CONDITION)
        params = template(written, (*at, "params"), PARAMETER_NAMES, inside, spec.code if spec else {})
        output = None
        if "output" in node:
            output = template(node["output"], (*at, "output"), OUTPUT_NAMES, inside)
        hooks = self.hooks(node, at, inside)
        timeout = document.duration_at(node, at, "timeout")
        idempotent = node.get("idempotent")
        if idempotent is not None and not isinstance(idempotent, bool):
            document.fault((*at, "idempotent"), "type", "must be true or false")
        retry = read_retry(document, document.map_at(node, at, "retry"), (*at, "retry"))
        if spec is None:
            return None
        self.check_params(written, (*at, "params"), spec)
        inner, item = self.inner(node, at, spec, context)
        if spec.inner is not None and "retry" in node:
            document.fault(
                (*at, "retry"), "retry.scope", "its nodes have tries of their own", "put 'retry' on them", key=True
            )
        limit = spec.timeout_of(written)
        if limit is not None and self.defaults.timeout_seconds is not None:
            limit = self.defaults.timeout_seconds
        may_repeat = spec.repeatable(written) if idempotent is None else bool(idempotent)
        settings = {**self.defaults.retry, **retry} if may_repeat and spec.inner is None else retry
        read = Node(
            name=name,
            type=spec.name,
            params=params,
            condition=condition,
            next=edges,
            timeout_seconds=timeout if timeout is not None else limit,
            retry=policy_of(settings) if settings else None,
            output=output,
            hooks=hooks,
            repeatable=idempotent is not False,
            pure=spec.pure,
            inner=inner,
            item=item,
        )
        return self.batch(node, at, read) if is_batch else read

    def node_type(self, node: Mapping[str, JSON], at: Keys) -> NodeTypeSpec | None:
        if "type" not in node:
            self.document.fault(at, "required", "the key 'type' is missing", _one_of(self.node_types), key=True)
            return None
        name = node["type"]
        if not isinstance(name, str) or name not in self.node_types:
            hint = self.document.suggestions.did_you_mean(str(name), self.node_types) or _one_of(self.node_types)
            self.document.fault((*at, "type"), "node.type", f"unknown node type '{str(name)[:60]}'", hint)
            return None
        return self.node_types[name]

    def check_params(self, params: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec) -> None:
        for fault in spec.check(params):
            is_key = fault.code == "unknown_key"
            self.document.fault((*at, *fault.keys), fault.code, fault.message, fault.hint, key=is_key)
        for key in spec.schemas:
            # One that expressions are filled into is a schema only then.
            if isinstance(params.get(key), dict) and not any("${" in text for _, text in strings_in(params[key], ())):
                self.document.schema(params[key], (*at, key))

    def hooks(self, node: Mapping[str, JSON], at: Keys, context: Context) -> Hooks | None:
        if node.get("hooks") is None:
            return None
        at = (*at, "hooks")
        written = self.document.map_at(node, at[:-1], "hooks")
        self.document.known_keys(written, at, _HOOKS_KEYS)
        names = {"prep": PARAMETER_NAMES, "exec": PARAMETER_NAMES, "post": OUTPUT_NAMES}
        hooks = {}
        for key in _HOOKS_KEYS:
            script = written.get(key)
            if script is None:
                continue
            if not isinstance(script, str):
                self.document.fault((*at, key), "type", "must be JavaScript, as text")
                continue
            hooks[key] = self.expressions.template(script, (*at, key), names[key] | {"context"}, context, BODY)
        changed = {"prep": "context", "post": "result"}
        return Hooks(
            **{key: _or_changed(hook, changed[key]) if key in changed else hook for key, hook in hooks.items()}
        )

    def batch(self, node: Mapping[str, JSON], at: Keys, inside: Node) -> Node:
        """A node that runs for each element of its input: a loop around it, in an older form."""
        at = (*at, "batch")
        written = self.document.map_at(node, at[:-1], "batch")
        self.document.known_keys(written, at, _BATCH_KEYS)
        strategy = written.get("strategy", "serial")
        if strategy not in _BATCH_STRATEGIES:
            self.document.fault((*at, "strategy"), "enum", f"must be one of: {', '.join(_BATCH_STRATEGIES)}")
        most = self.document.whole_number_at(written, at, "max_parallel", 1, 1000)
        at_once = 1 if strategy == "serial" else most or BATCH_AT_ONCE
        if "foreach" not in self.node_types:
            self.document.fault(at, "node.type", "this server has no loops")
        return Node(
            name=inside.name,
            type="foreach",
            params=prepared(MapOf((("items", Value(Path("input", "input", ()))), ("concurrency", Constant(at_once))))),
            condition=inside.condition,
            next=inside.next,
            timeout_seconds=None,
            inner={"": Graph(start=inside.name, nodes={inside.name: replace(inside, condition=None, next={})})},
            item="item",
        )

    def inner(
        self, node: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec, context: Context
    ) -> tuple[Mapping[str, Graph], str | None]:
        """The scopes inside a node, and what they call what flowed into them."""
        if spec.inner is None:
            return {}, None
        if context.depth >= MAX_DEPTH_OF_SCOPES:
            self.document.fault(at, "scope.depth", f"scopes are nested more than {MAX_DEPTH_OF_SCOPES} deep", key=True)
            return {}, None
        if node.get(spec.inner) is None:
            hint = "nodes: {…}" if spec.inner == "nodes" else "branches: {left: {nodes: {…}}, right: {nodes: {…}}}"
            self.document.fault(
                at, "required", f"the key '{spec.inner}' is missing", f"give it its own {hint}", key=True
            )
            return {}, None
        written = self.document.map_at(node, at, spec.inner)
        if not written and isinstance(node[spec.inner], dict):
            self.document.fault((*at, spec.inner), "required", "must have at least one entry")
        around = replace(context, depth=context.depth + 1)
        if spec.inner == "nodes":
            item = self.item_name(self.document.map_at(node, at, "params"), at)
            names = context.names | {"item", "index"} | ({item} if item else set())
            return {"": self.graph(node, at, written, (*at, "nodes"), replace(around, names=names))}, item
        graphs = {}
        for key, branch in written.items():
            inside: Keys = (*at, "branches", key)
            if not is_name(key):
                self.document.fault(inside, "node.name", "a branch is named like a node", key=True)
            if not isinstance(branch, dict):
                self.document.fault(inside, "type", "a branch is a map with the key 'nodes'")
                continue
            self.document.known_keys(branch, inside, ("nodes", "start", "description"))
            nodes = self.document.map_at(branch, inside, "nodes")
            if not nodes:
                self.document.fault(inside, "required", "a branch has at least one node, under 'nodes'", key=True)
            graphs[key] = self.graph(branch, inside, nodes, (*inside, "nodes"), around)
        return graphs, None

    def item_name(self, params: Mapping[str, JSON], at: Keys) -> str | None:
        name = params.get("as")
        if not isinstance(name, str):
            return None
        if not _IDENTIFIER.fullmatch(name) or name in KEYWORDS or name in GLOBALS or name in OUTPUT_NAMES:
            self.document.fault(
                (*at, "params", "as"), "name", f"'{name[:60]}' cannot be the name of an element", "such as: order"
            )
            return None
        return name


def _or_changed(hook: Prepared, name: str) -> Prepared:
    """The hook, giving what it has made of ``name`` where it returns nothing."""
    match hook.template:
        case Value(Code(text, script, place, references)):
            source = (
                f"return (($given) => $given === undefined ? {name} : $given)((function () {{{script.source}\n}})())"
            )
            return prepared(Value(Code(text, Script(source, is_body=True), place, references)))
        case _:
            return hook


def _one_of(known: Collection[str]) -> str:
    return f"one of: {', '.join(sorted(known))}"
