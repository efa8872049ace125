"""Reader of the nodes of a document."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from flowrunner.domain.errors import quoted
from flowrunner.domain.expression import OUTPUT_NAMES, PARAMETER_NAMES
from flowrunner.domain.expression.javascript import GLOBALS, KEYWORDS
from flowrunner.domain.flow import ChildScopesKey, Graph, Node, NodeTypeSpec
from flowrunner.domain.prepared import Prepared, with_constant, with_url
from flowrunner.domain.retry import RetryPolicy
from flowrunner.domain.suggestions import is_suggestion, squashed
from flowrunner.domain.values import JSON
from flowrunner.language.agents import AGENT, ASK, CALL, AgentParts, agent_of
from flowrunner.language.context import ScopeContext
from flowrunner.language.document import MAX_NAME_CHARACTERS, Document, is_name
from flowrunner.language.edges import check_reach, check_start, first_nodes, only_after_errors, read_edges
from flowrunner.language.expressions import CONDITION, Expressions, strings_in
from flowrunner.language.foreign_forms import OF_NODES, OF_TYPES, is_edge
from flowrunner.language.json_schema import looks_like_fields
from flowrunner.language.legacy import NODE_KEYS as OLDER_NODE_KEYS
from flowrunner.language.legacy import PARAMETER_NAMES as OLDER_PARAMETER_NAMES
from flowrunner.language.legacy import read_hooks
from flowrunner.language.notices import APPROVAL, check_notified
from flowrunner.language.raw_nodes import is_node, known_results, notified_by, params_of, repeated_nodes, targets_of
from flowrunner.language.retries import RetrySettings, policy_of, read_retry, warn_of_no_retry
from flowrunner.language.yaml_source import Keys

NODE_KEYS: Final = (
    "type", "description", "if", "params", "timeout", "retry", "output", "next", "idempotent", *OLDER_NODE_KEYS,
)  # fmt: skip
_ALL_INNER_KEYS: Final = ("nodes", "start", "branches")
_INNER_KEYS: Final[Mapping[ChildScopesKey | None, tuple[str, ...]]] = {
    None: (), "nodes": ("nodes", "start"), "branches": ("branches",),
}  # fmt: skip
_SAMPLES: Final[Mapping[ChildScopesKey, str]] = {
    "nodes": "nodes: {…}",
    "branches": "branches: {left: {nodes: {…}}, right: {nodes: {…}}}",
}

MAX_DEPTH_OF_SCOPES: Final = 8
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


@dataclass(frozen=True, slots=True)
class Defaults:
    """Settings of every node that does not set its own."""

    timeout_seconds: float | None
    retry: RetrySettings


@dataclass(slots=True)
class NodeReader:
    """Reader of the nodes of one document, including nested nodes."""

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
        context: ScopeContext,
        *,
        handlers: frozenset[str] | None = frozenset(),
    ) -> Graph:
        """Read the nodes of one scope, ``written`` at ``nodes_at``.

        Args:
            holder: Map that may name the first node in its `start`.
            handlers: Handlers of the end of the flow; None if their names have faults.
        """
        document, before = self.document, self.document.dangling_edges
        written = self.indented(written, nodes_at)
        outer = {name: keys for name, keys in context.results.items() if name not in written}
        inside = replace(
            context, visible={*context.visible, *written}, results={**outer, **known_results(written, self.node_types)}
        )
        notified = notified_by(written, self.node_types)
        aside = (handlers or frozenset()) | notified.keys()
        first = first_nodes(holder, written, aside)
        led_to = frozenset[str]().union(*map(targets_of, written.values()))
        repeated = repeated_nodes(written) | aside
        inside = replace(inside, running=context.running - written.keys())
        nodes = {}
        for name, node in written.items():
            is_first = context.depth == 0 and first == [name] and name not in led_to
            running = inside.running if name in repeated else inside.running | {name}
            around = inside.of_node(running=running, is_first=is_first)
            if name in notified:
                around = replace(around, names=around.names | {APPROVAL})
            count = len(document.faults)
            read = self.node(name, node, (*nodes_at, name), written, around)
            if document.is_stored and read is not None and (lost := document.take_lost(count)):
                read = replace(read, unreadable=lost[0].message, retry=None, pure=False)
            if read is not None:
                nodes[name] = read
        self.check_inputs_after_errors(written, nodes, nodes_at, frozenset(first) | aside)
        are_notified = document.is_stored or check_notified(document, written, nodes_at, node_types=self.node_types)
        # An edge or a `notify` with a fault may mean any node, so no node counts as unreachable.
        is_sure = handlers is not None and are_notified and document.dangling_edges == before
        if check_start(document, holder, at, written) and is_sure:
            check_reach(
                document, written, nodes_at,
                first=first, handlers=aside, node_types=self.node_types,
            )  # fmt: skip
        return Graph(start=first[0] if first else "", nodes=nodes)

    def check_inputs_after_errors(
        self, written: Mapping[str, JSON], nodes: Mapping[str, Node], nodes_at: Keys, others: frozenset[str]
    ) -> None:
        """Warn about nodes that only error edges lead to and that read `input` as if it were the error.

        Args:
            others: First nodes and handlers, which need no edge.
        """
        for name in only_after_errors(written, self.node_types) - others:
            node = nodes.get(name)
            roots = frozenset[str]().union(*(part.mentions.roots for part in node.parts)) if node else frozenset()
            if "input" in roots and "error" not in roots:
                self.document.warn(
                    (*nodes_at, name),
                    "edge.input",
                    f"only errors lead to '{name}', where input is what the failed node got",
                    "read what went wrong as ${error.type}, ${error.message} and ${error.data}",
                    key=True,
                )

    def indented(self, written: Mapping[str, JSON], at: Keys) -> Mapping[str, JSON]:
        """Return the nodes; keys that are beside their node instead of under it are moved and reported."""
        nodes: dict[str, JSON] = {}
        owner = None
        for name, node in written.items():
            is_key = name in NODE_KEYS and not (isinstance(node, dict) and ("type" in node or "nodes" in node))
            if not is_key or not nodes:
                nodes[name], owner = node, name
                continue
            before = nodes[owner or ""]
            if isinstance(before, dict | None):
                nodes[owner or ""] = {**(before or {}), name: node}
            message = f"'{name}' stands beside the node '{owner}', and not under it"
            self.document.fault((*at, name), "node.indent", message, "indent it further", key=True)
        return nodes

    def node(self, name: str, node: JSON, at: Keys, siblings: Mapping[str, JSON], context: ScopeContext) -> Node | None:
        document = self.document
        if not is_name(name):
            message = f"a node's name has 1 to {MAX_NAME_CHARACTERS} printable characters, none of them / [ ]"
            document.fault(at, "node.name", message, key=True)
        if not isinstance(node, dict):
            document.fault(at, "type", "a node is a map with the key 'type'")
            document.dangling_edges += 1
            return None
        spec = self.node_types.get(str(node.get("type")))
        meant = self.check_keys(node, at, spec)
        self.check_type(node, at, is_reported="type" in meant)
        document.text_at(node, at, "description", limit=10_000)
        written = document.map_at(node, at, "params", "each parameter by its name: params: {…}")
        edges = read_edges(document, node, at, siblings, spec=spec, params=written, elsewhere=context.elsewhere)
        condition = self.expressions.template_at(node, at, "if", PARAMETER_NAMES, context, code=CONDITION)
        collects = spec is not None and spec.collects and written.get("collect") is not None
        agent = agent_of(node) if spec is not None and spec.name == AGENT else None
        kept = {k: v for k, v in written.items() if k != "collect"} if collects else written
        kept = kept if agent is None else agent.params
        params = self.params(kept, (*at, "params"), spec, context)
        known = spec.result_keys_of(written) if spec is not None and "hooks" not in node else ()
        own = replace(context, result=known) if known else context
        output = self.expressions.template_at(node, at, "output", OUTPUT_NAMES, own)
        hooks = read_hooks(node, at, self.expressions, context)
        timeout = document.duration_at(node, at, "timeout")
        idempotent = document.flag_at(node, at, "idempotent")
        retry = read_retry(document, node, at, spec)
        if spec is None:
            if not document.is_stored:
                return None
            # The node may never be reached; it fails when it is. The nodes inside may be running.
            child_scopes, item = self.child_scopes(node, at, _scopes_of(node), context)
            type = str(node.get("type"))
            return Node(
                name=name, type=type, params=params, condition=condition, next=edges,
                child_scopes=child_scopes, item=item,
            )  # fmt: skip
        has_params = isinstance(node.get("params"), dict) or ("params" not in meant and node.get("params") is None)
        # A stored document is not checked: the type checks the parameters when the node runs.
        if has_params and not document.is_stored:
            self.check_params(written, (*at, "params"), spec)
        if agent is None:
            # A stored node keeps the scopes it was accepted with, whatever its type has become.
            kind = (_scopes_of(node) if document.is_stored else None) or spec.child_scopes
            is_reported = kind in meant or kind in written
            child_scopes, item = self.child_scopes(node, at, kind, context, is_reported=is_reported)
        else:
            child_scopes, item = self.parts(agent, at, context)
        collect = None
        if collects:
            around = _within(context, node, item)
            collect = self.expressions.template_at(written, (*at, "params"), "collect", OUTPUT_NAMES, around)
        may_repeat = spec.repeatable(written) if idempotent is None else idempotent
        settings = {**self.defaults.retry, **retry} if may_repeat else retry
        policy = None
        if agent is None:
            policy = self.policy(node, at, spec, settings, has_time_limit=timeout is not None)
        return Node(
            name=name,
            type=spec.name,
            params=params,
            condition=condition,
            next=edges,
            timeout_seconds=self.timeout(timeout, spec.timeout_of(written)),
            retry=policy,
            output=output,
            hooks=hooks,
            repeatable=idempotent is not False or agent is not None,
            pure=spec.pure,
            # A type that starts executions has no other effect.
            resumes_purely=spec.pure or spec.starts_executions,
            sets_variables=spec.sets_variables,
            child_scopes=child_scopes,
            collect=collect,
            item=item,
        )

    def timeout(self, own: float | None, of_type: float | None) -> float | None:
        """Return a node's timeout in seconds: its own, else that of all nodes, if those of its type have one at all."""
        if own is not None or of_type is None:
            return own
        return self.defaults.timeout_seconds or of_type

    def policy(
        self,
        node: Mapping[str, JSON],
        at: Keys,
        spec: NodeTypeSpec,
        settings: RetrySettings,
        *,
        has_time_limit: bool,
    ) -> RetryPolicy | None:
        """Return how a node is retried; None for one that is not, as those with nodes of their own."""
        if spec.child_scopes is not None:
            if "retry" in node:
                message = "the nodes inside have retries of their own"
                self.document.fault((*at, "retry"), "retry.scope", message, "put 'retry' on them", key=True)
            return None
        if settings and node.get("retry"):
            has_time_limit = has_time_limit or self.defaults.timeout_seconds is not None
            warn_of_no_retry(self.document, settings, (*at, "retry"), spec, has_time_limit=has_time_limit)
        return policy_of(settings) if settings else None

    def params(
        self, written: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec | None, context: ScopeContext
    ) -> Prepared:
        is_reevaluated = spec is not None and spec.reevaluate_params
        filled = replace(context, names=context.names | {"index"}) if is_reevaluated else context
        code = spec.code if spec else None
        return self.expressions.template(written, at, PARAMETER_NAMES, filled, code, older_names=OLDER_PARAMETER_NAMES)

    def check_keys(self, node: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec | None) -> frozenset[str]:
        """Report the keys that a node of this type does not have; return the keys that they probably mean."""
        # A node of an unknown type may hold nodes.
        known = (*NODE_KEYS, *(_INNER_KEYS[spec.child_scopes] if spec else _ALL_INNER_KEYS))
        unknown = [key for key in node if key not in known]
        strays = [key for key in unknown if self.is_stray(node[key], spec)]
        inner_key = spec.child_scopes if spec is not None else None
        hint = f"put it under '{inner_key}'" if inner_key else "it is a node: indent it less, to stand under 'nodes'"
        foreign_forms = {**dict.fromkeys(map(squashed, strays), hint), **OF_NODES}
        if unknown and spec is not None:
            foreign_forms = {**foreign_forms, **dict.fromkeys(map(squashed, spec.params), "put it under 'params'")}
        meant = self.document.known_keys(node, at, known, foreign_forms)
        if strays and inner_key is not None:
            meant |= {inner_key}
        if "next" in meant or any(map(is_edge, unknown)):
            self.document.dangling_edges += 1
        has_params = spec is not None and any(key in spec.params for key in unknown)
        return meant | {"params"} if has_params else meant

    def is_stray(self, value: JSON, spec: NodeTypeSpec | None) -> bool:
        """Return whether a value is a node or a branch in the wrong place."""
        if spec is not None and spec.child_scopes == "branches":
            return isinstance(value, dict) and isinstance(value.get("nodes"), dict)
        return is_node(value, self.node_types)

    def check_type(self, node: Mapping[str, JSON], at: Keys, *, is_reported: bool) -> None:
        name = node.get("type")
        if name is None:
            if "type" in node:
                self.document.fault((*at, "type"), "type", "must be a node type", _one_of(self.node_types))
            elif not is_reported:
                self.document.fault(at, "required", "the key 'type' is missing", _one_of(self.node_types), key=True)
        elif not isinstance(name, str) or name not in self.node_types:
            hint = (
                OF_TYPES.get(squashed(str(name)))
                or self.document.suggestions.did_you_mean(str(name), self.node_types)
                or _one_of(self.node_types)
            )
            message = f"unknown node type '{name[:60]}'" if isinstance(name, str) else "must be a node type"
            self.document.fault((*at, "type"), "node.type", message, hint)

    def check_params(self, params: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec) -> None:
        faults = spec.check(params)
        called = params.get("flow") if spec.starts_executions else None
        if isinstance(called, str) and called and "${" not in called:
            self.document.flows.setdefault(called, self.document.code_place((*at, "flow")))
        for fault in faults:
            is_key, hint = fault.code == "unknown_key", fault.hint
            if is_key and fault.keys[0] in (*NODE_KEYS, *_INNER_KEYS[spec.child_scopes]) and not is_suggestion(hint):
                hint = "put it beside 'params', and not under it"
            record = self.document.warn if fault.is_warning else self.document.fault
            record((*at, *fault.keys), fault.code, fault.message, hint, key=is_key)
        if any(not fault.is_warning for fault in faults) and spec.actions_of(params) is None:
            # The faulty parameters may name actions, so the edges are not known.
            self.document.dangling_edges += 1
        for key in spec.schemas:
            # A value with expressions is a schema only after they are evaluated.
            self.check_schema(params.get(key), (*at, key))

    def check_schema(self, schema: JSON, at: Keys) -> None:
        if not isinstance(schema, dict) or any("${" in text for _, text in strings_in(schema, ())):
            return
        if looks_like_fields(schema):
            name = quoted(next(iter(schema)))
            message = f"'{at[-1]}' has no fields: {name} is not a keyword of JSON Schema"
            hint = f"write {at[-1]}: {{type: object, properties: {{…}}}}, with {name} in properties"
            self.document.warn(at, "schema.fields", message, hint, key=True)
        else:
            self.document.schema(schema, at)

    def child_scopes(
        self,
        node: Mapping[str, JSON],
        at: Keys,
        kind: ChildScopesKey | None,
        context: ScopeContext,
        *,
        is_reported: bool = False,
    ) -> tuple[Mapping[str, Graph], str | None]:
        """Read the scopes inside a node; return them with the name of the loop element.

        Args:
            kind: The key of the scopes; None if the node has none.
            is_reported: The missing scopes have a fault already, at the misplaced key that holds them.
        """
        if kind is None:
            return {}, None
        if context.depth >= MAX_DEPTH_OF_SCOPES and not self.document.is_stored:
            self.document.fault(at, "scope.depth", f"scopes are nested more than {MAX_DEPTH_OF_SCOPES} deep", key=True)
            return {}, None
        if node.get(kind) is None:
            if is_reported:
                return {}, None
            hint = f"give it its own {_SAMPLES[kind]}"
            self.document.fault(at, "required", f"the key '{kind}' is missing", hint, key=True)
            return {}, None
        written = self.document.map_at(node, at, kind, "each by its name: " + _SAMPLES[kind])
        if not written and isinstance(node[kind], dict):
            self.document.fault((*at, kind), "required", "must have at least one entry")
        around = replace(context, depth=context.depth + 1, is_first=False)
        if kind == "nodes":
            item = self.item_name(self.document.map_at(node, at, "params"), at)
            names = _within(context, node, item).names
            return {"": self.graph(node, at, written, (*at, "nodes"), replace(around, names=names))}, item
        graphs = self.branches(written, (*at, "branches"), around)
        self.check_join(node, at, len(written))
        return graphs, None

    def parts(self, agent: AgentParts, at: Keys, context: ScopeContext) -> tuple[Mapping[str, Graph], str | None]:
        """Read the nodes inside an agent, whose expressions read what those of the agent read, as `child_scopes`."""
        if context.depth >= MAX_DEPTH_OF_SCOPES and not self.document.is_stored:
            self.document.fault(at, "scope.depth", f"scopes are nested more than {MAX_DEPTH_OF_SCOPES} deep", key=True)
            return {}, None
        self.document.place_parts(at, agent.places)
        nodes: dict[str, Node] = {}
        for name, node in agent.nodes.items():
            if name in agent.alike:
                # Its expressions are read once, however many tools a server has.
                if (first := nodes.get(agent.alike[name])) is not None:
                    params = with_constant(first.params, "tool", agent.tools[name])
                    nodes[name] = replace(first, name=name, params=params)
                continue
            names = context.names if name == ASK else context.names | {CALL}
            read = self.node(name, node, (*at, "nodes", name), {}, replace(context, names=names))
            if read is not None:
                # The model gives the arguments. Those of an MCP server are in the body.
                nodes[name] = replace(read, is_part=True, params=with_url(read.params, "url", CALL))
        for keys, schema in agent.schemas.items():
            self.check_schema(schema, (*at, *keys))
        return {"": Graph(start=ASK, nodes=nodes)}, CALL

    def branches(self, written: Mapping[str, JSON], at: Keys, context: ScopeContext) -> Mapping[str, Graph]:
        document, graphs = self.document, {}
        for key, branch in written.items():
            inside: Keys = (*at, key)
            if not is_name(key):
                document.fault(inside, "node.name", "a branch is named like a node", key=True)
            if not isinstance(branch, dict):
                document.fault(inside, "type", "a branch is a map with the key 'nodes'")
                continue
            if "type" in branch and "nodes" not in branch:
                hint = f"write {key[:60]}: {{nodes: {{a: {{type: …}}}}}}"
                document.fault(inside, "required", "a branch is not a node, but has nodes", hint, key=True)
                continue
            document.known_keys(branch, inside, ("nodes", "start", "description"))
            nodes = document.map_at(branch, inside, "nodes", "each by its name: " + _SAMPLES["nodes"])
            if not nodes and isinstance(branch.get("nodes"), dict | None):
                document.fault(inside, "required", "a branch has at least one node, under 'nodes'", key=True)
            graphs[key] = self.graph(branch, inside, nodes, (*inside, "nodes"), context)
        return graphs

    def check_join(self, node: Mapping[str, JSON], at: Keys, branches: int) -> None:
        join = params_of(node).get("join")
        if isinstance(join, int) and not isinstance(join, bool) and join > branches > 0:
            number = "1 branch" if branches == 1 else f"{branches} branches"
            hint = "write join: all, or the number of branches that have to complete"
            self.document.fault((*at, "params", "join"), "range", f"asks for {join} of {number}", hint)

    def item_name(self, params: Mapping[str, JSON], at: Keys) -> str | None:
        name = params.get("as")
        if not isinstance(name, str):
            return None
        # Earlier versions had no configuration values, and accepted their name.
        taken = OUTPUT_NAMES - {"config"} if self.document.is_stored else OUTPUT_NAMES
        if not _IDENTIFIER.fullmatch(name) or name in KEYWORDS or name in GLOBALS or name in taken:
            self.document.fault(
                (*at, "params", "as"), "name", f"'{name[:60]}' cannot be the name of an element", "such as: order"
            )
            # What reads it means the element, and no configuration value, until the document is changed.
            return name if name == "config" else None
        return name


def _scopes_of(node: Mapping[str, JSON]) -> ChildScopesKey | None:
    """Return the key under which a stored node has scopes."""
    return "branches" if "branches" in node else "nodes" if "nodes" in node else None


def _within(context: ScopeContext, node: Mapping[str, JSON], item: str | None) -> ScopeContext:
    """Return the context of a place in the scope of a loop."""
    written = node.get("nodes")
    inner = set(written) if isinstance(written, dict) else set()
    return replace(
        context,
        names=context.names | {"item", "index"} | ({item} if item else set()),
        visible={*context.visible, *inner},
        running=context.running - inner,
        is_first=False,
    )


def _one_of(known: Collection[str]) -> str:
    return f"one of: {', '.join(sorted(known))}"
