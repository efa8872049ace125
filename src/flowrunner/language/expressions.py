"""Compilation of the expressions of a document, and checks of the names they read."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.expression import Code, CodeKind, CodePlace, ExpressionSyntax, UnknownName, compile_template
from flowrunner.domain.prepared import Prepared, prepared
from flowrunner.domain.triggers import LAST_KEYS
from flowrunner.domain.values import JSON
from flowrunner.language.context import ScopeContext
from flowrunner.language.document import Document
from flowrunner.language.lint import lint_code, lint_key, lint_text
from flowrunner.language.name_hints import cut_at_a_dash, hint_for
from flowrunner.language.yaml_source import Keys

# A string that is JavaScript as a whole.
CONDITION: Final[Mapping[tuple[str, ...], CodeKind]] = {(): CodeKind.CONDITION}
BODY: Final[Mapping[tuple[str, ...], CodeKind]] = {(): CodeKind.BODY}

_NO_NAMES: Final[Mapping[str, str]] = {}
# Names whose keys are known when the flow is saved.
_KNOWN_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "flow": ("id", "name", "version", "input"),
    "execution": ("id", "started_at", "status"),
    "error": ("type", "message", "node", "data"),
    "approval": ("url", "prompt", "step", "until"),
}
_NODE_MEMBERS: Final = ("result", "status", "action", "error", "attempts")
_TRIGGER_HINT: Final = (
    'read it in the trigger, as in input: {ref: "${trigger.body.ref}"}, and in nodes write ${flow.input.ref}'
)
_MOST_LISTED: Final = 20
# Members that every object of JavaScript has.
_OF_OBJECTS: Final = ("constructor", "hasOwnProperty", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf")


@dataclass(slots=True)
class Expressions:
    """Expressions of one document.

    Attributes:
        codes: All JavaScript of the document, not compiled yet, each piece once: nodes of an agent share some.
        secrets: Secrets that the expressions name, each with the place of its first use.
        config: Configuration values that they name, in the same way.
        needed: Those of both that some expression reads without a default, each with `secrets` or `config`.
    """

    document: Document
    codes: dict[Code, None] = field(default_factory=dict)
    secrets: dict[str, CodePlace] = field(default_factory=dict)
    config: dict[str, CodePlace] = field(default_factory=dict)
    needed: set[tuple[str, str]] = field(default_factory=set)

    def template(
        self,
        value: JSON,
        at: Keys,
        names: frozenset[str],
        context: ScopeContext,
        code: Mapping[tuple[str, ...], CodeKind] | None = None,
        *,
        changed: str | None = None,
        older_names: Mapping[str, str] = _NO_NAMES,
    ) -> Prepared:
        """Compile ``value`` to a template.

        Args:
            names: Names that expressions can start from, in addition to those of the context.
            code: Strings that are JavaScript as a whole, by the keys that lead to them.
            changed: Name of the object that a script may change in place instead of returning it.
            older_names: Current names by older names that expressions may use.
        """
        place = _Place(self, context, names | context.names, at, code or {}, older_names)
        read = prepared(compile_template(value, place, at))
        self.codes.update(dict.fromkeys(read.codes))
        for found in read.codes:
            for warning in lint_code(found, place.names - {changed}, is_result_used=changed is None):
                self.document.warn_at(found.place, *warning)
        for keys, text in strings_in(value, at):
            if place.code_at(keys) is None and (in_text := lint_text(text, place.names)):
                self.document.warn(keys, in_text.code, in_text.message, in_text.hint)
        for keys in marked_keys_in(value, at):
            if in_key := lint_key(str(keys[-1])):
                self.document.warn(keys, in_key.code, in_key.message, in_key.hint, key=True)
        return read

    def template_at(
        self,
        owner: Mapping[str, JSON],
        at: Keys,
        key: str,
        names: frozenset[str],
        context: ScopeContext,
        *,
        code: Mapping[tuple[str, ...], CodeKind] | None = None,
    ) -> Prepared | None:
        """Return the template under a key of a map; None without the key. Args: at: Keys that lead to the map."""
        return None if key not in owner else self.template(owner[key], (*at, key), names, context, code)

    def constant_only(self, value: JSON, at: Keys) -> None:
        for keys, text in strings_in(value, at):
            if "${" in text:
                self.document.fault(
                    keys, "expression.place", "expressions are not evaluated here", "use it in a node's params instead"
                )

    def check_reference(
        self, at: Keys, context: ScopeContext, text: str, root: str, keys: Sequence[str | int], *, has_default: bool
    ) -> None:
        """Report a name that an expression reads and that cannot exist."""
        if root == "secrets" and keys and isinstance(keys[0], str):
            self.read(self.secrets, root, keys[0], at, has_default=has_default)
        if root == "config" and root not in context.names and keys and isinstance(keys[0], str):
            self.read(self.config, root, keys[0], at, has_default=has_default)
        if root == "result" and keys and not has_default:
            self.check_result(at, text, root, keys[0], context.result)
        known: Collection[str] | None = _KNOWN_KEYS.get(root)
        if root == "nodes":
            known = context.visible
            if keys and str(keys[0]) not in known and (scope := context.elsewhere.get(str(keys[0]))):
                self.document.fault(
                    at, "expression.scope", f"'{text}': '{keys[0]}' is inside '{scope}' and visible only there"
                )
                return
        elif root == "vars":
            known = context.variables
        elif root == "input" and context.is_first:
            known = context.inputs
        elif root == "trigger":
            known = context.trigger
            if known is None:
                self.document.warn(
                    at, "trigger.null", f"'{text}': 'trigger' is null outside of the flow's triggers", _TRIGGER_HINT
                )
        if known is None or not keys:
            return
        if keys[0] not in known:
            self.unknown_key(at, text, root, keys[0], known)
        elif root == "nodes" and tuple(keys[1:2]) == ("result",) and keys[0] in context.running:
            message = f"'{text}': '{keys[0]}' has no result yet while its own expressions are evaluated"
            self.document.fault(
                at,
                "expression.self",
                message,
                "read the input as ${input}, and in 'output' the result as ${result}",
            )
        elif root == "nodes" and len(keys) > 1 and keys[1] not in _NODE_MEMBERS:
            self.unknown_key(at, text, f"nodes.{keys[0]}", keys[1], _NODE_MEMBERS)
        elif root == "nodes" and len(keys) > 2 and keys[1] == "result" and not has_default:
            self.check_result(at, text, f"nodes.{keys[0]}.result", keys[2], context.results.get(str(keys[0])))
        elif (root, keys[0]) == ("trigger", "last") and len(keys) > 1 and keys[1] not in LAST_KEYS:
            self.unknown_key(at, text, "trigger.last", keys[1], LAST_KEYS)
        elif (
            (root, keys[0]) == ("flow", "input")
            and len(keys) > 1
            and context.inputs is not None
            and keys[1] not in context.inputs
        ):
            self.unknown_key(at, text, "flow.input", keys[1], context.inputs)

    def check_result(self, at: Keys, text: str, owner: str, key: str | int, known: Collection[str] | None) -> None:
        """Warn of a key that results of the node do not have: its value is undefined."""
        if known is not None and key not in known and key not in _OF_OBJECTS:
            hint = self.document.suggestions.did_you_mean(str(key), known) or _listed(known)
            self.document.warn(at, "expression.result", f"'{text}': {owner} has no '{key}'", hint)

    def read(self, places: dict[str, CodePlace], root: str, name: str, at: Keys, *, has_default: bool) -> None:
        # The place that a warning names is the first one that fails without it.
        if not has_default and (root, name) not in self.needed:
            self.needed.add((root, name))
            places[name] = self.document.code_place(at)
        places.setdefault(name, self.document.code_place(at))

    def unknown_key(self, at: Keys, text: str, owner: str, key: str | int, known: Collection[str]) -> None:
        self.document.fault(
            at,
            "expression.unknown_name",
            f"'{text}': {owner} has no '{key}'",
            self.document.suggestions.did_you_mean(str(key), known) or _listed(known),
        )


@dataclass(slots=True)
class _Place:
    """Place of a template in the document. Implements `expression.ExpressionPlace`.

    Attributes:
        cut: Paths that are the beginning of a name with a dash, which is reported as a whole, each with its place.
    """

    expressions: Expressions
    context: ScopeContext
    names: frozenset[str]
    base: Keys
    code: Mapping[tuple[str, ...], CodeKind]
    older_names: Mapping[str, str]
    cut: set[tuple[Keys, str]] = field(default_factory=set)

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

    @property
    def has_config(self) -> bool:
        return "config" not in self.context.names

    def place_of(self, at: Keys) -> CodePlace:
        return self.expressions.document.code_place(at)

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        hint = fault.hint
        if isinstance(fault, UnknownName):
            hint = hint_for(fault.name, fault.text, self.context) or hint
            if path := cut_at_a_dash(fault.name, fault.text):
                self.cut.add((at, path))
        document = self.expressions.document
        document.fault(at, fault.code, str(fault), hint)
        document.unread.add(document.faults[-1].path)

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int], *, has_default: bool = False) -> None:
        # Both are reported already.
        if root not in self.names or (at, ".".join(map(str, (root, *keys)))) in self.cut:
            return
        self.expressions.check_reference(at, self.context, text, root, keys, has_default=has_default)


def strings_in(value: JSON, at: Keys) -> Iterable[tuple[Keys, str]]:
    if isinstance(value, str):
        yield at, value
        return
    # Without a generator for each string.
    for key, item in _items_of(value):
        if isinstance(item, str):
            yield (*at, key), item
        elif isinstance(item, dict | list):
            yield from strings_in(item, (*at, key))


def marked_keys_in(value: JSON, at: Keys) -> Iterable[Keys]:
    """Yield the keys of the entries, of all maps in a value, whose own key holds the begin of an expression."""
    for key, item in _items_of(value):
        if isinstance(key, str) and "${" in key:
            yield (*at, key)
        if isinstance(item, dict | list):
            yield from marked_keys_in(item, (*at, key))


def _items_of(value: JSON) -> Iterable[tuple[str | int, JSON]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _listed(known: Collection[str]) -> str | None:
    """Return a list of the names, or None if there are none or too many."""
    return f"known: {', '.join(sorted(known))}" if 0 < len(known) <= _MOST_LISTED else None
