"""Reads a flow document: a flow that can run, or every fault with its line and column."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias, cast

from flowrunner.domain import yaml_source
from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import Fault, InvalidFlow
from flowrunner.domain.expression import (
    OUTPUT_NAMES,
    PARAMETER_NAMES,
    Code,
    CodeKind,
    CodePlace,
    Constant,
    ExpressionSyntax,
    MapOf,
    Path,
    Value,
    compile_template,
)
from flowrunner.domain.flow import (
    COMMON_ERRORS,
    DEFAULT_ACTION,
    MAX_STEPS,
    SKIPPED_ACTION,
    Concurrency,
    Flow,
    Graph,
    Hooks,
    InnerKey,
    Limits,
    Node,
    NodeTypeSpec,
    OnLimit,
    ParamFault,
    Prepared,
    prepared,
)
from flowrunner.domain.flow_tests import read_tests
from flowrunner.domain.inputs import schema_of
from flowrunner.domain.javascript import GLOBALS, KEYWORDS
from flowrunner.domain.retry import PASSING_ERRORS, RetryPolicy
from flowrunner.domain.script import Script
from flowrunner.domain.suggestions import Suggestions
from flowrunner.domain.values import JSON
from flowrunner.domain.written_nodes import nodes_by_scope, set_by_nodes, targets_of
from flowrunner.domain.yaml_source import Keys, Source, dotted

_FLOW_KEYS: Final = (
    "metadata", "inputs", "vars", "defaults", "limits", "outputs", "on_failure", "on_finish", "start", "nodes", "tests",
)  # fmt: skip
_METADATA_KEYS: Final = ("name", "description", "version", "tags")
_DEFAULTS_KEYS: Final = ("timeout", "retry")
_LIMITS_KEYS: Final = ("timeout", "max_steps", "concurrency")
_CONCURRENCY_KEYS: Final = ("max", "key", "on_limit")
_NODE_KEYS: Final = (
    "type", "description", "if", "params", "timeout", "retry", "output", "next", "idempotent", "hooks", "batch",
)  # fmt: skip
_ALL_INNER_KEYS: Final = ("nodes", "start", "branches")
_INNER_KEYS: Final[Mapping[InnerKey | None, tuple[str, ...]]] = {
    None: (), "nodes": ("nodes", "start"), "branches": ("branches",),
}  # fmt: skip
_HOOKS_KEYS: Final = ("prep", "exec", "post")
_BATCH_KEYS: Final = ("strategy", "max_parallel")
_BATCH_STRATEGIES: Final = ("serial", "parallel", "worker_pool")
_RETRY_KEYS: Final = ("max", "delay", "backoff", "max_delay", "jitter", "errors", "max_elapsed")
# Older names of the same settings.
_OLD_RETRY_KEYS: Final = {"max": "max_retries", "delay": "wait"}

MAX_NAME_CHARACTERS: Final = 200
MAX_TAGS: Final = 50
MOST_STEPS: Final = 1_000_000
MAX_CONCURRENCY: Final = 10_000
MAX_DEPTH_OF_SCOPES: Final = 8
MAX_EXPRESSIONS: Final = 10_000
BATCH_AT_ONCE: Final = 10
_MOST_LISTED: Final = 20
_FORBIDDEN_IN_NAMES: Final = frozenset("/[]")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")

# The string itself is JavaScript.
_CONDITION: Final[Mapping[tuple[str, ...], CodeKind]] = {(): CodeKind.CONDITION}
_BODY: Final[Mapping[tuple[str, ...], CodeKind]] = {(): CodeKind.BODY}

# Names whose keys are known when the flow is saved.
_KNOWN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "flow": ("id", "name", "version", "input"),
    "execution": ("id", "started_at", "status"),
    "error": ("type", "message", "node", "data"),
}
_NODE_MEMBERS: Final = ("result", "status", "action", "error", "attempts")

# Faults of a JSON Schema: of a value at keys within it.
CheckSchema: TypeAlias = Callable[[JSON], Sequence[ParamFault]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of a document: every fault and warning, and the flow if there is no fault.

    Attributes:
        codes: All JavaScript in it, which nobody has looked at yet.
        secrets: The secrets that its expressions name, each with the place it is first named at.
    """

    flow: Flow | None
    faults: Sequence[Fault]
    codes: Sequence[Code] = ()
    secrets: Mapping[str, CodePlace] = field(default_factory=dict)


def read_flow(text: str, node_types: Mapping[str, NodeTypeSpec], check_schema: CheckSchema = lambda schema: ()) -> Flow:
    """The flow that ``text`` writes.

    Raises:
        InvalidFlow: With every fault, in the order of the document.
    """
    reading = study_flow(text, node_types, check_schema)
    if reading.flow is None:
        raise InvalidFlow([fault for fault in reading.faults if not fault.is_warning])
    return reading.flow


def study_flow(
    text: str, node_types: Mapping[str, NodeTypeSpec], check_schema: CheckSchema = lambda schema: ()
) -> Reading:
    """What there is to say of a document, in its order. JavaScript is left to the sandbox."""
    if text.count("${") > MAX_EXPRESSIONS:
        message = f"a flow document has at most {MAX_EXPRESSIONS} expressions"
        return Reading(flow=None, faults=[Fault(path="", code="too_large", line=1, column=1, message=message)])
    try:
        source = yaml_source.read_yaml(text)
    except InvalidFlow as error:
        return Reading(flow=None, faults=error.faults)
    reader = _Reader(source, node_types, check_schema)
    flow = reader.read()
    is_faulty = any(not fault.is_warning for fault in reader.faults)
    return Reading(
        flow=None if is_faulty else flow,
        faults=sorted(reader.faults, key=lambda f: (f.line or 0, f.column or 0)),
        codes=tuple(reader.codes),
        secrets=reader.secrets,
    )


RetrySettings: TypeAlias = dict[str, float | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What is around a node.

    Attributes:
        visible: Nodes that expressions can read: of its own scope and the ones around it.
        elsewhere: Nodes of the document by the path of the scope they are in.
        names: Names that expressions can start from, besides the ones every node has.
        inputs: Names of the flow's inputs; None where they are not declared.
        depth: How many scopes are around it.
    """

    visible: Collection[str]
    elsewhere: Mapping[str, str]
    names: frozenset[str]
    variables: Collection[str]
    inputs: Collection[str] | None
    timeout_seconds: float | None
    retry: RetrySettings
    depth: int = 0


@dataclass(slots=True)
class _Place:
    """Where a template is read. Fills `expression.Place`."""

    reader: "_Reader"
    context: _Context
    names: frozenset[str]
    base: Keys
    code: Mapping[tuple[str, ...], CodeKind]

    def code_at(self, at: Keys) -> CodeKind | None:
        if not self.code:
            return None
        inner = at[len(self.base) :]
        for pattern, kind in self.code.items():
            if len(pattern) == len(inner) and all(p in ("*", k) for p, k in zip(pattern, inner, strict=True)):
                return kind
        return None

    def names_at(self, at: Keys) -> frozenset[str]:
        return self.names

    def place_of(self, at: Keys) -> CodePlace:
        place = self.reader.source.place(at)
        return CodePlace(dotted(at), place.line, place.column)

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        self.reader.fault(at, fault.code, str(fault), fault.hint)

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int]) -> None:
        self.reader.check_reference(at, self.context, text, root, keys)


@dataclass(slots=True)
class _Reader:
    source: Source
    node_types: Mapping[str, NodeTypeSpec]
    check_schema: CheckSchema
    faults: list[Fault] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    secrets: dict[str, CodePlace] = field(default_factory=dict)
    suggestions: Suggestions = field(default_factory=Suggestions)

    def read(self) -> Flow | None:
        document = self.source.value
        if not isinstance(document, dict):
            hint = "write: nodes: {hello: {type: log, params: {message: hello}}}"
            self.fault((), "type", "a flow is a map with the key 'nodes'", hint)
            return None
        self.known_keys(document, (), _FLOW_KEYS)
        metadata = self.map_at(document, (), "metadata")
        self.known_keys(metadata, ("metadata",), _METADATA_KEYS)
        defaults = self.map_at(document, (), "defaults")
        self.known_keys(defaults, ("defaults",), _DEFAULTS_KEYS)
        variables = self.map_at(document, (), "vars")
        self.constant_only(variables, ("vars",))
        inputs = self.inputs(document)
        written = self.map_at(document, (), "nodes")
        if "nodes" not in document:
            self.fault((), "required", "the key 'nodes' is missing")
        elif not written and isinstance(document["nodes"], dict | None):
            self.fault(("nodes",), "required", "a flow has at least one node")

        context = _Context(
            visible=written.keys(),
            elsewhere=dict(nodes_by_scope(written)),
            names=frozenset(),
            variables={*variables, *set_by_nodes(written)},
            inputs=None if inputs is None else inputs.keys(),
            timeout_seconds=self.duration_at(defaults, ("defaults",), "timeout"),
            retry=self.retry(self.map_at(defaults, ("defaults",), "retry"), ("defaults", "retry")),
        )
        handlers = {key: self.handler(document, key, written) for key in ("on_failure", "on_finish")}
        nodes = self.nodes(written, ("nodes",), context)
        start = self.start_of(
            document, (), written, ("nodes",), handlers=frozenset(h for h in handlers.values() if h is not None)
        )
        outputs = None
        if "outputs" in document:
            outputs = self.template(document["outputs"], ("outputs",), PARAMETER_NAMES, context)
        return Flow(
            name=self.text_at(metadata, ("metadata",), "name"),
            description=self.text_at(metadata, ("metadata",), "description", limit=10_000),
            version=self.text_at(metadata, ("metadata",), "version"),
            tags=self.tags(metadata),
            start=start,
            nodes=nodes,
            vars=variables,
            inputs=inputs,
            outputs=outputs,
            on_failure=handlers["on_failure"],
            on_finish=handlers["on_finish"],
            limits=self.limits(document, context),
            tests=self.tests(document, written),
        )

    def tests(self, document: Mapping[str, JSON], nodes: Mapping[str, JSON]) -> Mapping[str, JSON]:
        tests = self.map_at(document, (), "tests")
        for found in read_tests(tests, nodes)[1]:
            self.fault(("tests", *found.keys), found.code, found.message, found.hint, key=found.is_of_key)
        return tests

    def inputs(self, document: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
        if document.get("inputs") is None:
            return None
        inputs = self.map_at(document, (), "inputs")
        for name, schema in inputs.items():
            at = ("inputs", name)
            if not isinstance(schema, dict | bool):
                self.fault(at, "type", "must be a JSON Schema: a map such as {type: string}")
                continue
            self.schema(schema_of(schema)[0], at)
        return inputs

    def schema(self, schema: JSON, at: Keys) -> None:
        for fault in self.check_schema(schema):
            self.fault((*at, *fault.keys), fault.code, fault.message, fault.hint)

    def handler(self, document: Mapping[str, JSON], key: str, nodes: Mapping[str, JSON]) -> str | None:
        name = document.get(key)
        if name is None:
            return None
        if not isinstance(name, str) or name not in nodes:
            message = f"'{str(name)[:60]}' is not a node of this flow"
            self.fault((key,), "edge.target", message, self.suggestions.did_you_mean(str(name), nodes))
            return None
        return name

    def limits(self, document: Mapping[str, JSON], context: _Context) -> Limits:
        at: Keys = ("limits",)
        written = self.map_at(document, (), "limits")
        self.known_keys(written, at, _LIMITS_KEYS)
        steps = self.whole_number_at(written, at, "max_steps", 1, MOST_STEPS)
        concurrency = None
        limit = self.map_at(written, at, "concurrency")
        if isinstance(written.get("concurrency"), dict):
            concurrency = self.concurrency(limit, (*at, "concurrency"), context)
        return Limits(
            timeout_seconds=self.duration_at(written, at, "timeout"),
            max_steps=MAX_STEPS if steps is None else steps,
            concurrency=concurrency,
        )

    def concurrency(self, written: Mapping[str, JSON], at: Keys, context: _Context) -> Concurrency | None:
        self.known_keys(written, at, _CONCURRENCY_KEYS)
        most = self.whole_number_at(written, at, "max", 1, MAX_CONCURRENCY)
        if most is None:
            if written.get("max") is None:
                self.fault(at, "required", "the key 'max' is missing", "say how many may be under way at once")
            return None
        on_limit = written.get("on_limit", "queue")
        if on_limit not in ("queue", "reject", "replace"):
            self.fault((*at, "on_limit"), "enum", "must be one of: queue, reject, replace")
            on_limit = "queue"
        key = None
        if "key" in written:
            # There is no execution yet when it is worked out.
            key = self.template(written["key"], (*at, "key"), frozenset({"flow", "input", "vars"}), context)
        return Concurrency(most=most, key=key, on_limit=cast("OnLimit", on_limit))

    # Nodes

    def nodes(self, written: Mapping[str, JSON], at: Keys, context: _Context) -> dict[str, Node]:
        nodes = {}
        for name, node in written.items():
            read = self.node(name, node, (*at, name), written, context)
            if read is not None:
                nodes[name] = read
        return nodes

    def node(self, name: str, node: JSON, at: Keys, siblings: Mapping[str, JSON], context: _Context) -> Node | None:
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable() or _FORBIDDEN_IN_NAMES & set(name):
            message = f"a node's name has 1 to {MAX_NAME_CHARACTERS} printable characters, none of them / [ ]"
            self.fault(at, "node.name", message, key=True)
        if not isinstance(node, dict):
            self.fault(at, "type", "a node is a map with the key 'type'")
            return None
        spec = self.node_type(node, at)
        inner_key = spec.inner if spec is not None else None
        # Of an unknown type nobody can say whether it holds nodes.
        self.known_keys(node, at, (*_NODE_KEYS, *(_INNER_KEYS[spec.inner] if spec else _ALL_INNER_KEYS)))
        self.text_at(node, at, "description", limit=10_000)
        params = self.map_at(node, at, "params")
        edges = self.edges(node, at, siblings, spec, params)
        is_batch = node.get("batch") is not None
        inside = replace(context, names=context.names | {"item", "index"}) if is_batch else context
        condition = None
        if "if" in node:
            condition = self.template(node["if"], (*at, "if"), PARAMETER_NAMES, context, _CONDITION)
        template = self.template(params, (*at, "params"), PARAMETER_NAMES, inside, spec.code if spec else {})
        output = None
        if "output" in node:
            output = self.template(node["output"], (*at, "output"), OUTPUT_NAMES, inside)
        hooks = self.hooks(node, at, inside)
        timeout = self.duration_at(node, at, "timeout")
        idempotent = node.get("idempotent")
        if idempotent is not None and not isinstance(idempotent, bool):
            self.fault((*at, "idempotent"), "type", "must be true or false")
        retry = self.retry(self.map_at(node, at, "retry"), (*at, "retry")) if "retry" in node else {}
        if spec is None:
            return None
        for fault in spec.check(params):
            is_key = fault.code == "unknown_key"
            self.fault((*at, "params", *fault.keys), fault.code, fault.message, fault.hint, key=is_key)
        for key in spec.schemas:
            # One that expressions are filled into is a schema only then.
            if isinstance(params.get(key), dict) and not any("${" in text for _, text in _strings(params[key], ())):
                self.schema(params[key], (*at, "params", key))
        inner, item = self.inner(node, at, spec, context)
        if inner_key is not None and "retry" in node:
            self.fault(
                (*at, "retry"), "retry.scope", "its nodes have tries of their own", "put 'retry' on them", key=True
            )
        limit = spec.timeout_of(params)
        if limit is not None and context.timeout_seconds is not None:
            limit = context.timeout_seconds
        may_repeat = spec.repeatable(params) if idempotent is None else bool(idempotent)
        settings = {**context.retry, **retry} if may_repeat and inner_key is None else retry
        read = Node(
            name=name,
            type=spec.name,
            params=template,
            condition=condition,
            next=edges,
            timeout_seconds=timeout if timeout is not None else limit,
            retry=_policy(settings) if settings else None,
            output=output,
            hooks=hooks,
            repeatable=idempotent is not False,
            pure=spec.pure,
            inner=inner,
            item=item,
        )
        return self.batch(node, at, read) if is_batch else read

    def hooks(self, node: Mapping[str, JSON], at: Keys, context: _Context) -> Hooks | None:
        if node.get("hooks") is None:
            return None
        at = (*at, "hooks")
        written = self.map_at(node, at[:-1], "hooks")
        self.known_keys(written, at, _HOOKS_KEYS)
        names = {"prep": PARAMETER_NAMES, "exec": PARAMETER_NAMES, "post": OUTPUT_NAMES}
        hooks = {}
        for key in _HOOKS_KEYS:
            script = written.get(key)
            if script is None:
                continue
            if not isinstance(script, str):
                self.fault((*at, key), "type", "must be JavaScript, as text")
                continue
            hooks[key] = self.template(script, (*at, key), names[key] | {"context"}, context, _BODY)
        changed = {"prep": "context", "post": "result"}
        return Hooks(
            **{key: _or_changed(hook, changed[key]) if key in changed else hook for key, hook in hooks.items()}
        )

    def batch(self, node: Mapping[str, JSON], at: Keys, inside: Node) -> Node:
        """A node that runs for each element of its input: a loop around it, in an older form."""
        at = (*at, "batch")
        written = self.map_at(node, at[:-1], "batch")
        self.known_keys(written, at, _BATCH_KEYS)
        strategy = written.get("strategy", "serial")
        if strategy not in _BATCH_STRATEGIES:
            self.fault((*at, "strategy"), "enum", f"must be one of: {', '.join(_BATCH_STRATEGIES)}")
        most = self.whole_number_at(written, at, "max_parallel", 1, 1000)
        at_once = 1 if strategy == "serial" else most or BATCH_AT_ONCE
        if "foreach" not in self.node_types:
            self.fault(at, "node.type", "this server has no loops")
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
        self, node: Mapping[str, JSON], at: Keys, spec: NodeTypeSpec, context: _Context
    ) -> tuple[Mapping[str, Graph], str | None]:
        """The scopes inside a node, and what they call what flowed into them."""
        if spec.inner is None:
            return {}, None
        if context.depth >= MAX_DEPTH_OF_SCOPES:
            self.fault(at, "scope.depth", f"scopes are nested more than {MAX_DEPTH_OF_SCOPES} deep", key=True)
            return {}, None
        if node.get(spec.inner) is None:
            hint = "nodes: {…}" if spec.inner == "nodes" else "branches: {left: {nodes: {…}}, right: {nodes: {…}}}"
            self.fault(at, "required", f"the key '{spec.inner}' is missing", f"give it its own {hint}", key=True)
            return {}, None
        written = self.map_at(node, at, spec.inner)
        if not written and isinstance(node[spec.inner], dict):
            self.fault((*at, spec.inner), "required", "must have at least one entry")
        if spec.inner == "nodes":
            item = self.item_name(self.map_at(node, at, "params"), at)
            names = context.names | {"item", "index"} | ({item} if item else set())
            return {"": self.graph(node, written, at, (*at, "nodes"), replace(context, names=names))}, item
        graphs = {}
        for key, branch in written.items():
            inside: Keys = (*at, "branches", key)
            if not key or len(key) > MAX_NAME_CHARACTERS or not key.isprintable() or _FORBIDDEN_IN_NAMES & set(key):
                self.fault(inside, "node.name", "a branch is named like a node", key=True)
            if not isinstance(branch, dict):
                self.fault(inside, "type", "a branch is a map with the key 'nodes'")
                continue
            self.known_keys(branch, inside, ("nodes", "start", "description"))
            nodes = self.map_at(branch, inside, "nodes")
            if not nodes:
                self.fault(inside, "required", "a branch has at least one node, under 'nodes'", key=True)
            graphs[key] = self.graph(branch, nodes, inside, (*inside, "nodes"), context)
        return graphs, None

    def graph(
        self, holder: Mapping[str, JSON], written: Mapping[str, JSON], at: Keys, nodes_at: Keys, context: _Context
    ) -> Graph:
        inside = replace(context, visible={*context.visible, *written}, depth=context.depth + 1)
        nodes = self.nodes(written, nodes_at, inside)
        return Graph(start=self.start_of(holder, at, written, nodes_at), nodes=nodes)

    def item_name(self, params: Mapping[str, JSON], at: Keys) -> str | None:
        name = params.get("as")
        if not isinstance(name, str):
            return None
        if not _IDENTIFIER.fullmatch(name) or name in KEYWORDS or name in GLOBALS or name in OUTPUT_NAMES:
            self.fault(
                (*at, "params", "as"), "name", f"'{name[:60]}' cannot be the name of an element", "such as: order"
            )
            return None
        return name

    def node_type(self, node: Mapping[str, JSON], at: Keys) -> NodeTypeSpec | None:
        if "type" not in node:
            self.fault(at, "required", "the key 'type' is missing", _one_of(self.node_types), key=True)
            return None
        name = node["type"]
        if not isinstance(name, str) or name not in self.node_types:
            hint = self.suggestions.did_you_mean(str(name), self.node_types) or _one_of(self.node_types)
            self.fault((*at, "type"), "node.type", f"unknown node type '{str(name)[:60]}'", hint)
            return None
        return self.node_types[name]

    def edges(
        self,
        node: Mapping[str, JSON],
        at: Keys,
        siblings: Mapping[str, JSON],
        spec: NodeTypeSpec | None,
        params: Mapping[str, JSON],
    ) -> dict[str, str]:
        written = node.get("next")
        at = (*at, "next")
        if written is None:
            return {}
        if isinstance(written, str):
            written, places = {DEFAULT_ACTION: written}, {DEFAULT_ACTION: at}
        elif isinstance(written, dict):
            places = {action: (*at, action) for action in written}
        else:
            self.fault(at, "type", "must be a node's name, or a map from actions to names")
            return {}
        actions = spec.actions_of(params) if spec is not None else frozenset[str]()
        if "if" in node:
            actions |= {SKIPPED_ACTION, DEFAULT_ACTION}
        edges = {}
        for action, target in written.items():
            if not isinstance(target, str) or target not in siblings:
                self.fault(places[action], "edge.target", *self.no_target(target, siblings))
            elif spec is not None and not _can_fire(action, actions, spec):
                some = ", ".join(sorted(actions)[:_MOST_LISTED]) or "none"
                self.fault(
                    places[action],
                    "edge.action",
                    f"'{action}' can never fire: a node of type {spec.name} does not end so",
                    self.suggestions.did_you_mean(action, [*actions, "error"])
                    or f"its actions: {some}; its errors: error, error.<type>",
                    key=len(places[action]) > len(at),
                )
            else:
                edges[action] = target
        for action in sorted(actions - written.keys() - {SKIPPED_ACTION, DEFAULT_ACTION}):
            self.warn(
                at,
                "edge.missing",
                f"the action '{action}' leads nowhere: its scope ends with it",
                f"add '{action}: <node>' if more is to follow",
                key=True,
            )
        return edges

    def no_target(self, target: JSON, siblings: Mapping[str, JSON]) -> tuple[str, str | None]:
        return f"'{str(target)[:60]}' is not a node of this scope", self.suggestions.did_you_mean(str(target), siblings)

    def start_of(
        self,
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
                self.fault((*at, "start"), "edge.target", *self.no_target(start, nodes))
                return ""
        else:
            led_to = {target for name in targets for target in targets[name] if target != name}
            first = [name for name in nodes if name not in led_to and name not in handlers]
            if len(first) > 1:
                names = ", ".join(f"'{name}'" for name in first[:10])
                self.fault(
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
                self.fault((*nodes_at, name), "node.unreachable", message, key=True)
        return start

    # Expressions

    def template(
        self,
        value: JSON,
        at: Keys,
        names: frozenset[str],
        context: _Context,
        code: Mapping[tuple[str, ...], CodeKind] | None = None,
    ) -> Prepared:
        place = _Place(self, context, names | context.names, at, code or {})
        read = prepared(compile_template(value, place, at))
        self.codes.extend(read.codes)
        return read

    def check_reference(self, at: Keys, context: _Context, text: str, root: str, keys: Sequence[str | int]) -> None:
        """Whether what an expression reads can be there."""
        if root == "secrets":
            place = self.source.place(at)
            self.secrets.setdefault(str(keys[0]), CodePlace(dotted(at), place.line, place.column))
        known: Collection[str] | None = _KNOWN_KEYS.get(root)
        if root == "nodes":
            known = context.visible
            if keys and str(keys[0]) not in known and (scope := context.elsewhere.get(str(keys[0]))):
                self.fault(at, "expression.scope", f"'{text}': '{keys[0]}' is inside '{scope}' and seen only there")
                return
        elif root == "vars":
            known = context.variables
        if known is None or not keys:
            return
        if keys[0] not in known:
            self.unknown_key(at, text, root, keys[0], known)
        elif root == "nodes" and len(keys) > 1 and keys[1] not in _NODE_MEMBERS:
            self.unknown_key(at, text, f"nodes.{keys[0]}", keys[1], _NODE_MEMBERS)
        elif (
            (root, keys[0]) == ("flow", "input")
            and len(keys) > 1
            and context.inputs is not None
            and keys[1] not in context.inputs
        ):
            self.unknown_key(at, text, "flow.input", keys[1], context.inputs)

    def unknown_key(self, at: Keys, text: str, owner: str, key: str | int, known: Collection[str]) -> None:
        self.fault(
            at,
            "expression.unknown_name",
            f"'{text}': {owner} has no '{key}'",
            self.suggestions.did_you_mean(str(key), known) or _listed(known),
        )

    def constant_only(self, value: JSON, at: Keys) -> None:
        for keys, text in _strings(value, at):
            if "${" in text:
                self.fault(
                    keys, "expression.place", "expressions are not evaluated here", "use it in a node's params instead"
                )

    # Values

    def retry(self, written: Mapping[str, JSON], at: Keys) -> RetrySettings:
        self.known_keys(written, at, (*_RETRY_KEYS, *_OLD_RETRY_KEYS.values()))
        settings: RetrySettings = {}
        for name, least, most in (("max", 0, 1000), ("backoff", 1, 100), ("jitter", 0, 1)):
            key = self.retry_key(written, at, name)
            number = written.get(key)
            if number is None:
                continue
            whole = name == "max"
            if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
                self.fault((*at, key), "type", "must be a whole number" if whole else "must be a number")
            elif not least <= number <= most:
                self.fault((*at, key), "range", f"must be between {least} and {most}")
            else:
                settings[name] = number
        for name in ("delay", "max_delay", "max_elapsed"):
            seconds = self.duration_at(written, at, self.retry_key(written, at, name))
            if seconds is not None:
                settings[name] = seconds
        if "errors" in written:
            errors = written["errors"]
            if isinstance(errors, list) and errors and all(isinstance(e, str) for e in errors):
                settings["errors"] = tuple(str(e) for e in errors)
            else:
                self.fault((*at, "errors"), "type", "must be a list of error types", "for example [timeout, http.5xx]")
        return settings

    def retry_key(self, written: Mapping[str, JSON], at: Keys, name: str) -> str:
        """The name that a setting has in this document."""
        old = _OLD_RETRY_KEYS.get(name, name)
        if old == name or old not in written:
            return name
        if name in written:
            self.fault((*at, old), "retry.twice", f"'{old}' is an older name of '{name}'", "give one of them", key=True)
        return old

    def whole_number_at(self, parent: Mapping[str, JSON], at: Keys, key: str, least: int, most: int) -> int | None:
        value = parent.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault((*at, key), "type", "must be a whole number")
            return None
        if not least <= value <= most:
            self.fault((*at, key), "range", f"must be between {least} and {most}")
            return None
        return value

    def duration_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> float | None:
        value = parent.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.fault((*at, key), "type", "must be a duration", DURATION_HINT)
            return None
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fault((*at, key), "duration", str(error))
            return None
        if seconds <= 0 and key == "timeout":
            self.fault((*at, key), "range", "must be longer than nothing")
            return None
        return seconds

    def text_at(self, parent: Mapping[str, JSON], at: Keys, key: str, *, limit: int = MAX_NAME_CHARACTERS) -> str:
        value = parent.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            hint = None
            if isinstance(value, int | float):
                # How a float was written is not known here: 1.10 came as 1.1.
                hint = f'quote it: {key}: "{"…" if isinstance(value, float) else value}"'
            self.fault((*at, key), "type", "must be text", hint)
            return ""
        if len(value) > limit:
            self.fault((*at, key), "too_long", f"must have at most {limit} characters")
        return value

    def map_at(self, parent: Mapping[str, JSON], at: Keys, key: str) -> Mapping[str, JSON]:
        value = parent.get(key)
        if isinstance(value, dict):
            return value
        if value is not None:
            self.fault((*at, key), "type", "must be a map")
        return {}

    def tags(self, metadata: Mapping[str, JSON]) -> tuple[str, ...]:
        tags = metadata.get("tags")
        if tags is None:
            return ()
        if not isinstance(tags, list) or not all(isinstance(t, str) and 0 < len(t) <= 100 for t in tags):
            self.fault(("metadata", "tags"), "type", "must be a list of texts of 1 to 100 characters")
            return ()
        if len(tags) > MAX_TAGS:
            self.fault(("metadata", "tags"), "too_long", f"must have at most {MAX_TAGS} entries")
        return tuple(dict.fromkeys(str(t) for t in tags))

    def known_keys(self, value: Mapping[str, JSON], at: Keys, known: tuple[str, ...]) -> None:
        for key in value:
            if key not in known and not key.startswith("x-"):
                hint = self.suggestions.did_you_mean(key, known) or f"known keys: {', '.join(known)}, x-…"
                self.fault((*at, key), "unknown_key", f"unknown key '{key[:60]}'", hint, key=True)

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Note a fault of the value at ``keys``, or with ``key`` of the key that names it."""
        self.faults.append(self.found(keys, code, message, hint, key=key))

    def warn(self, keys: Keys, code: str, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Note what is allowed and hardly meant."""
        self.faults.append(replace(self.found(keys, code, message, hint, key=key), is_warning=True))

    def found(self, keys: Keys, code: str, message: str, hint: str | None, *, key: bool) -> Fault:
        place = (self.source.key_places.get(keys) if key else None) or self.source.place(keys)
        return Fault(path=dotted(keys), message=message, code=code, line=place.line, column=place.column, hint=hint)


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


def _policy(settings: RetrySettings) -> RetryPolicy:
    def number(key: str, default: float) -> float:
        value = settings.get(key, default)
        assert not isinstance(value, tuple)
        return float(value)

    errors = settings.get("errors", PASSING_ERRORS)
    assert isinstance(errors, tuple)
    return RetryPolicy(
        max_retries=int(number("max", 3)),
        first_delay=number("delay", 1.0),
        backoff=number("backoff", 2.0),
        # Whoever writes a long first wait and no longest one means the long one.
        longest_delay=number("max_delay", max(60.0, number("delay", 1.0))),
        jitter=number("jitter", 0.2),
        errors=errors,
        max_elapsed=number("max_elapsed", 0) if "max_elapsed" in settings else None,
    )


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


def _strings(value: JSON, at: Keys) -> Iterable[tuple[Keys, str]]:
    match value:
        case str():
            yield at, value
        case dict():
            for key, item in value.items():
                yield from _strings(item, (*at, key))
        case list():
            for index, item in enumerate(value):
                yield from _strings(item, (*at, index))


def _one_of(known: Collection[str]) -> str:
    return f"one of: {', '.join(sorted(known))}"


def _listed(known: Collection[str]) -> str | None:
    """The names; None where there are none, or too many to be of help."""
    return f"known: {', '.join(sorted(known))}" if 0 < len(known) <= _MOST_LISTED else None
