"""Reader of the keys of a document. It returns a flow, or the faults."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from flowrunner.domain.errors import Fault, InvalidFlow
from flowrunner.domain.expression import PARAMETER_NAMES, Code, CodePlace
from flowrunner.domain.flow import MAX_STEPS, Concurrency, Flow, FlowLimits, NodeTypeSpec, OnLimit
from flowrunner.domain.flow_tools import MOST_INPUT_BYTES
from flowrunner.domain.labels import MAX_SEARCHABLE, MAX_SEARCHABLE_NAME
from flowrunner.domain.suggestions import squashed
from flowrunner.domain.triggers import Trigger
from flowrunner.domain.values import JSON
from flowrunner.language import yaml_source
from flowrunner.language.context import ScopeContext
from flowrunner.language.document import CheckSchema, Document
from flowrunner.language.expressions import Expressions
from flowrunner.language.foreign_forms import OF_FLOWS
from flowrunner.language.inputs import is_searchable, schema_of, tool_schema
from flowrunner.language.json_schema import type_meant
from flowrunner.language.legacy import modernize
from flowrunner.language.nodes import Defaults, NodeReader
from flowrunner.language.raw_nodes import (
    inner_nodes,
    is_node,
    known_results,
    nested_variables,
    nodes_by_scope,
    params_of,
    place_of_inner,
    set_by_nodes,
)
from flowrunner.language.retries import read_retry
from flowrunner.language.yaml_source import Keys

FLOW_KEYS: Final = (
    "metadata", "inputs", "vars", "defaults", "limits", "outputs", "on_failure", "on_finish", "start", "nodes",
    "triggers", "tests",
)  # fmt: skip
_METADATA_KEYS: Final = ("name", "description", "version", "tags", "mcp")
_DEFAULTS_KEYS: Final = ("timeout", "retry")
LIMITS_KEYS: Final = ("timeout", "max_steps", "concurrency")
_CONCURRENCY_KEYS: Final = ("max", "key", "on_limit")

MAX_TAGS: Final = 50
# Node types that send requests, and what the path of a webhook trigger begins with.
_SENDERS: Final = ("http.request", "webhook")
_HOOK_PATH: Final = "/hooks/"
MOST_STEPS: Final = 1_000_000
MAX_CONCURRENCY: Final = 10_000
MAX_EXPRESSIONS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Result of reading a document: every fault and warning, and the flow if there is no fault.

    Attributes:
        codes: All JavaScript of the document, not compiled yet.
        secrets: Secrets that the expressions name, each with the place of its first use.
        config: Configuration values that they name, in the same way.
        needed: Those of both that some expression reads without a default, each with `secrets` or `config`.
        flows: Flows that the nodes call, by id or name, each with the place of its first use.
        listened: Flows whose ends start this one, in the same way.
        trigger_places: The place of each trigger, by its name.
        links: The places where links to approvals are made.
    """

    flow: Flow | None
    faults: Sequence[Fault]
    codes: Sequence[Code] = ()
    secrets: Mapping[str, CodePlace] = field(default_factory=dict)
    config: Mapping[str, CodePlace] = field(default_factory=dict)
    needed: Collection[tuple[str, str]] = ()
    flows: Mapping[str, CodePlace] = field(default_factory=dict)
    listened: Mapping[str, CodePlace] = field(default_factory=dict)
    trigger_places: Mapping[str, CodePlace] = field(default_factory=dict)
    links: Sequence[CodePlace] = ()


def read_flow(text: str, node_types: Mapping[str, NodeTypeSpec], check_schema: CheckSchema = lambda schema: ()) -> Flow:
    """Return the flow of a document.

    Raises:
        InvalidFlow: With every fault, in the order of the document.
    """
    reading = study_flow(text, node_types, check_schema)
    if reading.flow is None:
        raise InvalidFlow([fault for fault in reading.faults if not fault.is_warning])
    return reading.flow


# Keys of which nothing may be lost. A node that cannot be read fails only when it is reached.
_NEEDED_KEYS: Final = ("start", "vars", "defaults", "limits", "outputs", "on_failure", "on_finish", "nodes")


def read_stored_flow(text: str, node_types: Mapping[str, NodeTypeSpec]) -> Flow:
    """Read a flow that this version or an earlier one has accepted.

    Its executions may be running, so rules that have become stricter since are ignored. A node that this version cannot
    read, such as one of a removed type, fails when it is reached.

    Raises:
        InvalidFlow: If something outside the nodes cannot be read.
    """
    document = Document(yaml_source.read_yaml(text), lambda schema: (), is_stored=True)
    flow = _flow_reader(document, node_types).read()
    lost = [
        fault
        for fault in document.take_lost(0)
        if flow is None or fault.path.partition(".")[0].partition("[")[0] in _NEEDED_KEYS
    ]
    if lost or flow is None:
        raise InvalidFlow(lost)
    return flow


def study_flow(
    text: str, node_types: Mapping[str, NodeTypeSpec], check_schema: CheckSchema = lambda schema: ()
) -> Reading:
    """Return the flow of a document, and every fault and warning in its order. The sandbox checks the JavaScript."""
    if text.count("${") > MAX_EXPRESSIONS:
        message = f"a flow document has at most {MAX_EXPRESSIONS} expressions"
        return Reading(flow=None, faults=[Fault(path="", code="too_large", line=1, column=1, message=message)])
    try:
        source = yaml_source.read_yaml(text)
    except InvalidFlow as error:
        return Reading(flow=None, faults=error.faults)
    document = Document(source, check_schema)
    reader = _flow_reader(document, node_types)
    flow, expressions = reader.read(), reader.expressions
    is_faulty = any(not fault.is_warning for fault in document.faults)
    return Reading(
        flow=None if is_faulty else flow,
        # A node and the loop that an older form puts around it have the same name.
        faults=sorted(dict.fromkeys(document.faults), key=lambda f: (f.line or 0, f.column or 0)),
        codes=tuple(expressions.codes),
        secrets=expressions.secrets,
        config=expressions.config,
        needed=expressions.needed,
        flows=document.flows,
        listened=document.listened,
        trigger_places=document.trigger_places,
        links=document.links,
    )


def _flow_reader(document: Document, node_types: Mapping[str, NodeTypeSpec]) -> "_FlowReader":
    written = document.source.value
    nodes = written.get("nodes") if isinstance(written, dict) else None
    modernize(document, node_types)
    return _FlowReader(document, Expressions(document), node_types, nodes if isinstance(nodes, dict) else {})


@dataclass(slots=True)
class _FlowReader:
    """Reader of the top-level keys of one document.

    Attributes:
        nodes_as_written: The nodes before they were rewritten to the current form.
    """

    document: Document
    expressions: Expressions
    node_types: Mapping[str, NodeTypeSpec]
    nodes_as_written: Mapping[str, JSON]

    def read(self) -> Flow | None:
        document, written = self.document, self.document.source.value
        if not isinstance(written, dict):
            hint = "write: nodes: {hello: {type: log, params: {message: hello}}}"
            document.fault((), "type", "a flow is a map with the key 'nodes'", hint)
            return None
        stray = [key for key, value in written.items() if key not in FLOW_KEYS and is_node(value, self.node_types)]
        foreign_forms = {**OF_FLOWS, **dict.fromkeys(map(squashed, stray), "indent it, to stand under 'nodes'")}
        meant = document.known_keys(written, (), FLOW_KEYS, foreign_forms)
        metadata = self.metadata(written)
        defaults = document.map_at(written, (), "defaults")
        document.known_keys(defaults, ("defaults",), _DEFAULTS_KEYS)
        variables = document.map_at(written, (), "vars")
        self.expressions.constant_only(variables, ("vars",))
        inputs = self.inputs(written)
        nodes = self.nodes(written, is_reported="nodes" in meant, has_strays=bool(stray))
        self.warn_of_nested(nodes, variables)
        context = ScopeContext(
            visible=nodes.keys(),
            elsewhere=dict(nodes_by_scope(self.nodes_as_written)),
            names=frozenset(),
            variables={*variables, *set_by_nodes(nodes)},
            inputs=None if inputs is None else inputs.keys(),
            results=known_results(nodes, self.node_types),
        )
        reader = NodeReader(document, self.expressions, self.node_types, self.defaults(defaults))
        handlers = {key: self.handler(written, key, nodes) for key in ("on_failure", "on_finish")}
        named = frozenset(handler for handler in handlers.values() if handler is not None)
        are_right = not meant & handlers.keys() and all(
            isinstance(written.get(key), dict | None) or handlers[key] for key in handlers
        )
        graph = reader.graph(written, (), nodes, ("nodes",), context, handlers=named if are_right else None)
        outputs = self.expressions.template_at(written, (), "outputs", PARAMETER_NAMES, context)
        limits = self.limits(written, context)
        triggers = self.triggers(written, context, has_limit=limits.concurrency is not None)
        if any(trigger.type == "webhook" for trigger in triggers.values()):
            self.warn_of_loops(nodes, ("nodes",))
        return Flow(
            name=document.text_at(metadata, ("metadata",), "name"),
            description=document.text_at(metadata, ("metadata",), "description", limit=10_000),
            version=document.text_at(metadata, ("metadata",), "version"),
            tags=self.tags(metadata),
            is_tool=self.is_tool(metadata, inputs),
            start=graph.start,
            nodes=graph.nodes,
            vars=variables,
            inputs=inputs,
            outputs=outputs,
            on_failure=handlers["on_failure"],
            on_finish=handlers["on_finish"],
            limits=limits,
            tests=self.tests(written),
            triggers=triggers,
            secrets=tuple(sorted(self.expressions.secrets)),
            config=tuple(sorted(self.expressions.config)),
            needed=frozenset(self.expressions.needed),
            calls=tuple(sorted(self.document.flows.keys() | self.document.listened.keys())),
            searchable=self.searchable(inputs or {}),
        )

    def triggers(self, written: Mapping[str, JSON], context: ScopeContext, *, has_limit: bool) -> Mapping[str, Trigger]:
        if "triggers" not in written:
            return {}
        # Imported by the flows that have some: it brings time zones and schedules.
        from flowrunner.language.triggers import read_triggers

        return read_triggers(self.document, self.expressions, context, has_limit=has_limit)

    def metadata(self, written: Mapping[str, JSON]) -> Mapping[str, JSON]:
        document = self.document
        metadata = document.map_at(written, (), "metadata")
        meant = document.known_keys(metadata, ("metadata",), _METADATA_KEYS)
        if isinstance(written.get("metadata"), dict) and not metadata.get("name") and "name" not in meant:
            message, hint = "the flow has no name", "write: metadata: {name: …}, or send the name with the request"
            document.warn(("metadata",), "metadata.name", message, hint, key=True)
        return metadata

    def nodes(self, written: Mapping[str, JSON], *, is_reported: bool, has_strays: bool) -> Mapping[str, JSON]:
        """Return the nodes as written.

        Args:
            is_reported: A missing key has a fault already, at the misspelt key.
            has_strays: Nodes stand beside the key instead of under it.
        """
        document = self.document
        nodes = document.map_at(written, (), "nodes", "each node by its name: nodes: {fetch: {type: …}}")
        if "nodes" not in written:
            if not is_reported:
                document.fault((), "required", "the key 'nodes' is missing")
        elif not nodes and not has_strays and isinstance(written["nodes"], dict | None):
            document.fault(("nodes",), "required", "a flow has at least one node")
        return nodes

    def warn_of_nested(self, nodes: Mapping[str, JSON], variables: Mapping[str, JSON]) -> None:
        """Warn of `set` nodes that put variables into a map, which is then a variable itself."""
        for at, meant in nested_variables(nodes, variables.keys(), ("nodes",)):
            message = f"this sets a variable named '{at[-1]}', and leaves '{meant}' as it is"
            self.document.warn(at, "set.nested", message, f"write params: {{{meant}: …}}", key=True)

    def warn_of_loops(self, nodes: Mapping[str, JSON], at: Keys) -> None:
        """Warn of requests to what looks like a webhook trigger, in a flow that has one itself."""
        for name, node in nodes.items():
            url = params_of(node).get("url") if isinstance(node, dict) and node.get("type") in _SENDERS else None
            if isinstance(url, str) and _HOOK_PATH in url:
                message = (
                    "this looks like the address of a webhook trigger: the flow's own would start it again and again"
                )
                hint = "end the chain by 'when' of the trigger or 'if' of the node"
                self.document.warn((*at, name, "params", "url"), "trigger.loop", message, hint)
            for key, inner in inner_nodes(node):
                self.warn_of_loops(inner, place_of_inner((*at, name), key))

    def tags(self, metadata: Mapping[str, JSON]) -> tuple[str, ...]:
        tags = metadata.get("tags")
        if tags is None:
            return ()
        if not isinstance(tags, list) or not all(isinstance(t, str) and 0 < len(t) <= 100 for t in tags):
            hint = f"write tags: [{tags}]" if isinstance(tags, str) and len(tags) <= 100 else None
            self.document.fault(("metadata", "tags"), "type", "must be a list of texts of 1 to 100 characters", hint)
            return ()
        if len(tags) > MAX_TAGS:
            self.document.fault(("metadata", "tags"), "too_long", f"must have at most {MAX_TAGS} entries")
        return tuple(dict.fromkeys(str(t) for t in tags))

    def is_tool(self, metadata: Mapping[str, JSON], inputs: Mapping[str, JSON] | None) -> bool:
        value = self.document.flag_at(metadata, ("metadata",), "mcp")
        if value and (size := len(tool_schema(inputs))) > MOST_INPUT_BYTES:
            message = f"the inputs have {size} bytes as a schema, and those of a tool at most {MOST_INPUT_BYTES}"
            self.document.fault(("metadata", "mcp"), "too_large", message, "shorten their descriptions and schemas")
        return value is True

    def defaults(self, written: Mapping[str, JSON]) -> Defaults:
        at: Keys = ("defaults",)
        return Defaults(
            timeout_seconds=self.document.duration_at(written, at, "timeout"),
            retry=read_retry(self.document, written, at),
        )

    def inputs(self, written: Mapping[str, JSON]) -> Mapping[str, JSON] | None:
        if written.get("inputs") is None:
            return None
        inputs = self.document.map_at(
            written, (), "inputs", "a JSON Schema for each by its name: {name: {type: string}}"
        )
        if inputs.get("type") == "object" and isinstance(inputs.get("properties"), dict):
            message = "the inputs are listed here by name, without a schema around them"
            self.document.fault(
                ("inputs",), "type", message, "write what is under 'properties' right under 'inputs'", key=True
            )
            return None
        for name, schema in inputs.items():
            at = ("inputs", name)
            if not isinstance(schema, dict | bool):
                hint = None
                if isinstance(schema, str) and (near := type_meant(schema)):
                    hint = f"write {name[:60]}: {{type: {near}}}"
                self.document.fault(at, "type", "must be a JSON Schema: a map such as {type: string}", hint)
                continue
            self.document.schema(schema_of(schema)[0], at)
        return inputs

    def searchable(self, inputs: Mapping[str, JSON]) -> tuple[str, ...]:
        found = tuple(name for name, schema in inputs.items() if is_searchable(schema))
        if len(found) > MAX_SEARCHABLE:
            self.document.fault(("inputs",), "too_long", f"must have at most {MAX_SEARCHABLE} searchable inputs")
        for name in found:
            if len(name) > MAX_SEARCHABLE_NAME:
                message = f"the name of a searchable input has at most {MAX_SEARCHABLE_NAME} characters"
                self.document.fault(("inputs", name), "too_long", message, key=True)
        return tuple(name for name in found if len(name) <= MAX_SEARCHABLE_NAME)[:MAX_SEARCHABLE]

    def handler(self, written: Mapping[str, JSON], key: str, nodes: Mapping[str, JSON]) -> str | None:
        name = written.get(key)
        if name is None:
            return None
        if not isinstance(name, str):
            hint = "put the node under 'nodes', and name it here" if isinstance(name, dict) else None
            self.document.fault((key,), "edge.target", "must be the name of a node", hint)
            return None
        if name not in nodes:
            hint = self.document.suggestions.did_you_mean(name, nodes)
            self.document.fault((key,), "edge.target", f"'{name[:60]}' is not a node of this flow", hint)
            return None
        return name

    def limits(self, written: Mapping[str, JSON], context: ScopeContext) -> FlowLimits:
        at: Keys = ("limits",)
        limits = self.document.map_at(written, (), "limits")
        self.document.known_keys(limits, at, LIMITS_KEYS)
        steps = self.document.whole_number_at(limits, at, "max_steps", 1, MOST_STEPS)
        concurrency = None
        number = limits.get("concurrency")
        hint = f"write concurrency: {{max: {number}}}" if isinstance(number, int) else None
        limit = self.document.map_at(limits, at, "concurrency", hint)
        if isinstance(limits.get("concurrency"), dict):
            concurrency = self.concurrency(limit, (*at, "concurrency"), context)
        return FlowLimits(
            timeout_seconds=self.document.duration_at(limits, at, "timeout"),
            max_steps=MAX_STEPS if steps is None else steps,
            concurrency=concurrency,
        )

    def concurrency(self, written: Mapping[str, JSON], at: Keys, context: ScopeContext) -> Concurrency | None:
        meant = self.document.known_keys(written, at, _CONCURRENCY_KEYS)
        most = self.document.whole_number_at(written, at, "max", 1, MAX_CONCURRENCY)
        if written.get("max") is None and "max" not in meant:
            self.document.fault(at, "required", "the key 'max' is missing", "say how many may run at the same time")
        on_limit = written.get("on_limit", "queue")
        if on_limit not in ("queue", "reject", "replace"):
            self.document.fault((*at, "on_limit"), "enum", "must be one of: queue, reject, replace")
            on_limit = "queue"
        key = None
        if "key" in written:
            # The key is evaluated before the execution exists.
            key = self.expressions.template(
                written["key"], (*at, "key"), frozenset({"flow", "input", "vars", "config"}), context
            )
        if most is None:
            return None
        return Concurrency(most=most, key=key, on_limit=cast("OnLimit", on_limit))

    def tests(self, written: Mapping[str, JSON]) -> Mapping[str, JSON]:
        tests = self.document.map_at(written, (), "tests")
        if not tests:
            return tests
        # Imported by the flows that have some.
        from flowrunner.language.flow_tests import read_tests

        triggers = written.get("triggers")
        names = triggers.keys() if isinstance(triggers, dict) else ()
        for found in read_tests(tests, self.nodes_as_written, self.node_types, triggers=names)[1]:
            record = self.document.warn if found.is_warning else self.document.fault
            record(("tests", *found.keys), found.code, found.message, found.hint, key=found.is_of_key)
        return tests
