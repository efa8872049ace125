"""Reads a flow document: a flow that can run, or every fault with its line and column."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowrunner.domain import yaml_source
from flowrunner.domain.duration import HINT as DURATION_HINT
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import Fault, InvalidFlow
from flowrunner.domain.expression import (
    OUTPUT_NAMES,
    PARAMETER_NAMES,
    ExpressionSyntax,
    Path,
    Template,
    compile_template,
)
from flowrunner.domain.flow import COMMON_ERRORS, Flow, Node, NodeTypeSpec, mentions_of
from flowrunner.domain.retry import PASSING_ERRORS, RetryPolicy
from flowrunner.domain.values import JSON
from flowrunner.domain.yaml_source import Keys, Source, dotted

_FLOW_KEYS: Final = ("metadata", "start", "vars", "defaults", "nodes")
_METADATA_KEYS: Final = ("name", "description", "version", "tags")
_DEFAULTS_KEYS: Final = ("timeout", "retry")
_NODE_KEYS: Final = ("type", "description", "params", "timeout", "retry", "output", "next", "idempotent")
_RETRY_KEYS: Final = ("max", "delay", "backoff", "max_delay", "jitter", "errors", "max_elapsed")

MAX_NAME_CHARACTERS: Final = 200
MAX_TAGS: Final = 50

# Names whose keys are known when the flow is saved.
_KNOWN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "flow": ("id", "name", "version", "input"),
    "execution": ("id", "started_at", "status"),
    "error": ("type", "message", "node", "data"),
}


def read_flow(text: str, node_types: Mapping[str, NodeTypeSpec]) -> Flow:
    """The flow that ``text`` writes.

    Raises:
        InvalidFlow: With every fault, in the order of the document.
    """
    reader = _Reader(yaml_source.read_yaml(text), node_types)
    flow = reader.read()
    if reader.faults or flow is None:
        raise InvalidFlow(sorted(reader.faults, key=lambda f: (f.line or 0, f.column or 0)))
    return flow


RetrySettings: TypeAlias = dict[str, float | tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inherited:
    """What the document gives to each of its nodes."""

    siblings: Mapping[str, JSON]
    variables: Mapping[str, JSON]
    timeout_seconds: float | None
    retry: RetrySettings


@dataclass(slots=True)
class _Reader:
    source: Source
    node_types: Mapping[str, NodeTypeSpec]
    faults: list[Fault] = field(default_factory=list)

    def read(self) -> Flow | None:
        document = self.source.value
        if not isinstance(document, dict):
            self.fault((), "type", "a flow is a map with the key 'nodes'", "see the smallest flow in the docs")
            return None
        self.known_keys(document, (), _FLOW_KEYS)
        metadata = self.map_at(document, (), "metadata")
        self.known_keys(metadata, ("metadata",), _METADATA_KEYS)
        defaults = self.map_at(document, (), "defaults")
        self.known_keys(defaults, ("defaults",), _DEFAULTS_KEYS)
        variables = self.map_at(document, (), "vars")
        self.constant_only(variables, ("vars",))
        written = self.map_at(document, (), "nodes")
        if "nodes" not in document:
            self.fault((), "required", "the key 'nodes' is missing")
        elif not written and isinstance(document["nodes"], dict | None):
            self.fault(("nodes",), "required", "a flow has at least one node")

        inherited = _Inherited(
            siblings=written,
            variables=variables,
            timeout_seconds=self.duration_at(defaults, ("defaults",), "timeout"),
            retry=self.retry(self.map_at(defaults, ("defaults",), "retry"), ("defaults", "retry")),
        )
        nodes = {}
        for name, node in written.items():
            read = self.node(name, node, inherited)
            if read is not None:
                nodes[name] = read
        start = self.start_of(document, written)
        return Flow(
            name=self.text_at(metadata, ("metadata",), "name"),
            description=self.text_at(metadata, ("metadata",), "description", limit=10_000),
            version=self.text_at(metadata, ("metadata",), "version"),
            tags=self.tags(metadata),
            start=start,
            nodes=nodes,
            vars=variables,
        )

    # Nodes

    def node(self, name: str, node: JSON, inherited: "_Inherited") -> Node | None:
        at: Keys = ("nodes", name)
        if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            self.fault(at, "node.name", f"a node's name has 1 to {MAX_NAME_CHARACTERS} printable characters", key=True)
        if not isinstance(node, dict):
            self.fault(at, "type", "a node is a map with the key 'type'")
            return None
        self.known_keys(node, at, _NODE_KEYS)
        self.text_at(node, at, "description", limit=10_000)
        spec = self.node_type(node, at)
        params = self.map_at(node, at, "params")
        template = self.template(params, (*at, "params"), PARAMETER_NAMES, inherited)
        output = None
        if "output" in node:
            output = self.template(node["output"], (*at, "output"), OUTPUT_NAMES, inherited)
        timeout = self.duration_at(node, at, "timeout")
        idempotent = node.get("idempotent")
        if idempotent is not None and not isinstance(idempotent, bool):
            self.fault((*at, "idempotent"), "type", "must be true or false")
        edges = self.edges(node, at, inherited.siblings, spec)
        retry = self.retry(self.map_at(node, at, "retry"), (*at, "retry")) if "retry" in node else {}
        if spec is None:
            return None
        for fault in spec.check(params):
            is_key = fault.code == "unknown_key"
            self.fault((*at, "params", *fault.keys), fault.code, fault.message, fault.hint, key=is_key)
        may_repeat = spec.repeatable(params) if idempotent is None else bool(idempotent)
        settings = {**inherited.retry, **retry} if may_repeat else retry
        return Node(
            name=name,
            type=spec.name,
            params=template,
            mentions=mentions_of(template) if output is None else mentions_of(template, output),
            next=edges,
            timeout_seconds=next(
                t for t in (timeout, inherited.timeout_seconds, spec.timeout_of(params)) if t is not None
            ),
            retry=_policy(settings) if settings else None,
            output=output,
            repeatable=idempotent is not False,
            pure=spec.pure,
        )

    def node_type(self, node: Mapping[str, JSON], at: Keys) -> NodeTypeSpec | None:
        if "type" not in node:
            self.fault(at, "required", "the key 'type' is missing", _one_of(self.node_types), key=True)
            return None
        name = node["type"]
        if not isinstance(name, str) or name not in self.node_types:
            hint = _did_you_mean(str(name), self.node_types) or _one_of(self.node_types)
            self.fault((*at, "type"), "node.type", f"unknown node type '{str(name)[:60]}'", hint)
            return None
        return self.node_types[name]

    def edges(
        self, node: Mapping[str, JSON], at: Keys, siblings: Mapping[str, JSON], spec: NodeTypeSpec | None
    ) -> dict[str, str]:
        written = node.get("next")
        at = (*at, "next")
        if written is None:
            return {}
        if isinstance(written, str):
            written, places = {"default": written}, {"default": at}
        elif isinstance(written, dict):
            places = {action: (*at, action) for action in written}
        else:
            self.fault(at, "type", "must be a node's name, or a map from actions to names")
            return {}
        edges = {}
        for action, target in written.items():
            if not isinstance(target, str) or target not in siblings:
                message = f"'{str(target)[:60]}' is not a node of this flow"
                self.fault(places[action], "edge.target", message, _did_you_mean(str(target), siblings))
            elif spec is not None and not _can_fire(action, spec):
                possible = sorted(spec.actions) or ["none"]
                self.fault(
                    places[action],
                    "edge.action",
                    f"'{action}' can never fire: a node of type {spec.name} does not end so",
                    _did_you_mean(action, [*spec.actions, "error"])
                    or f"its actions: {', '.join(possible)}; its errors: error, error.<type>",
                    key=len(places[action]) > len(at),
                )
            else:
                edges[action] = target
        return edges

    def start_of(self, document: Mapping[str, JSON], nodes: Mapping[str, JSON]) -> str:
        targets = {name: _targets(node) & nodes.keys() for name, node in nodes.items()}
        start = document.get("start")
        if start is not None:
            if not isinstance(start, str) or start not in nodes:
                hint = _did_you_mean(str(start), nodes)
                self.fault(("start",), "edge.target", f"'{str(start)[:60]}' is not a node of this flow", hint)
                return ""
        else:
            led_to = {target for name in targets for target in targets[name] if target != name}
            first = [name for name in nodes if name not in led_to]
            if len(first) > 1:
                names = ", ".join(f"'{name}'" for name in first[:10])
                self.fault(
                    ("nodes", first[1]),
                    "start.ambiguous",
                    f"nothing leads to {names}: it is not clear where the flow starts",
                    "join them by edges, or name the first with 'start'",
                    key=True,
                )
                return first[0]
            start = first[0] if first else next(iter(nodes), "")
        reached, todo = set(), [start]
        while todo:
            name = todo.pop()
            if name in targets and name not in reached:
                reached.add(name)
                todo.extend(targets[name])
        for name in nodes:
            if name not in reached:
                self.fault(
                    ("nodes", name),
                    "node.unreachable",
                    f"no edge leads to '{name}' from the start, '{start}'",
                    key=True,
                )
        return start

    # Expressions

    def template(self, value: JSON, at: Keys, names: frozenset[str], inherited: "_Inherited") -> Template:
        known: Mapping[str, Collection[str]] = {
            **_KNOWN_KEYS,
            "nodes": inherited.siblings,
            "vars": inherited.variables,
        }

        def report(keys: Keys, syntax: ExpressionSyntax) -> None:
            self.fault(keys, syntax.code, str(syntax), syntax.hint)

        def visit(keys: Keys, path: Path) -> None:
            if path.root not in known or not path.keys or path.keys[0] in known[path.root]:
                return
            names = known[path.root]
            self.fault(
                keys,
                "expression.unknown_name",
                f"'${{{path.text}}}': {path.root} has no '{path.keys[0]}'",
                _did_you_mean(str(path.keys[0]), names) or (f"known: {', '.join(sorted(names))}" if names else None),
            )

        return compile_template(value, names, report, at, visit)

    def constant_only(self, value: JSON, at: Keys) -> None:
        for keys, text in _strings(value, at):
            if "${" in text:
                self.fault(
                    keys, "expression.place", "expressions are not evaluated here", "use it in a node's params instead"
                )

    # Values

    def retry(self, written: Mapping[str, JSON], at: Keys) -> RetrySettings:
        self.known_keys(written, at, _RETRY_KEYS)
        settings: RetrySettings = {}
        for key, least, most in (("max", 0, 1000), ("backoff", 1, 100), ("jitter", 0, 1)):
            number = written.get(key)
            if number is None:
                continue
            whole = key == "max"
            if isinstance(number, bool) or not isinstance(number, int if whole else int | float):
                self.fault((*at, key), "type", "must be a whole number" if whole else "must be a number")
            elif not least <= number <= most:
                self.fault((*at, key), "range", f"must be between {least} and {most}")
            else:
                settings[key] = number
        for key in ("delay", "max_delay", "max_elapsed"):
            seconds = self.duration_at(written, at, key)
            if seconds is not None:
                settings[key] = seconds
        if "errors" in written:
            errors = written["errors"]
            if isinstance(errors, list) and errors and all(isinstance(e, str) for e in errors):
                settings["errors"] = tuple(str(e) for e in errors)
            else:
                self.fault((*at, "errors"), "type", "must be a list of error types", "for example [timeout, http.5xx]")
        return settings

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
            hint = f'quote it: {key}: "{value}"' if isinstance(value, int | float) else None
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
                hint = _did_you_mean(key, known) or f"known keys: {', '.join(known)}, x-…"
                self.fault((*at, key), "unknown_key", f"unknown key '{key[:60]}'", hint, key=True)

    def fault(self, keys: Keys, code: str, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Note a fault of the value at ``keys``, or with ``key`` of the key that names it."""
        place = (self.source.key_places.get(keys) if key else None) or self.source.place(keys)
        self.faults.append(
            Fault(path=dotted(keys), message=message, code=code, line=place.line, column=place.column, hint=hint)
        )


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
        longest_delay=number("max_delay", 60.0),
        jitter=number("jitter", 0.2),
        errors=errors,
        max_elapsed=number("max_elapsed", 0) if "max_elapsed" in settings else None,
    )


def _targets(node: JSON) -> set[str]:
    written = node.get("next") if isinstance(node, dict) else None
    if isinstance(written, str):
        return {written}
    return {t for t in written.values() if isinstance(t, str)} if isinstance(written, dict) else set()


def _can_fire(action: str, spec: NodeTypeSpec) -> bool:
    if action == "error":
        return True
    if not action.startswith("error."):
        return action in spec.actions
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


def _did_you_mean(text: str, known: Collection[str]) -> str | None:
    near = difflib.get_close_matches(text[:100], known, n=1)
    return f"did you mean '{near[0]}'?" if near else None


def _one_of(known: Collection[str]) -> str:
    return f"one of: {', '.join(sorted(known))}"
