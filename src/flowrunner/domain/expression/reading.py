"""Reading of templates: expressions between `${` and `}`, and texts of a flow that are JavaScript."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias, TypeVar, assert_never

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression.javascript import (
    GLOBALS,
    KEYWORDS,
    MAX_SCRIPT,
    Unclosed,
    end_of_expression,
    has_braces_in_literals,
    references,
)
from flowrunner.domain.expression.script import Script
from flowrunner.domain.expression.templates import (
    NOWHERE,
    Code,
    CodePlace,
    Condition,
    Constant,
    Expression,
    ListOf,
    Literal,
    MapOf,
    Path,
    Template,
    Text,
    Value,
    expressions_of,
    shown,
)
from flowrunner.domain.suggestions import did_you_mean
from flowrunner.domain.values import JSON

Keys: TypeAlias = tuple[str | int, ...]

PARAMETER_NAMES: Final = frozenset(
    {"input", "flow", "nodes", "vars", "config", "secrets", "execution", "error", "trigger"}
)
OUTPUT_NAMES: Final = PARAMETER_NAMES | {"result"}

_MOST_SHOWN: Final = 80
# Unknown names of one string that are reported: the hint for each reads the whole string.
MOST_UNKNOWN: Final = 20
_NAME: Final = r"[A-Za-z_$][A-Za-z0-9_$]*"
_KEY: Final = re.compile(rf"""\s*(?:\.\s*({_NAME})|\[\s*(?:([0-9]{{1,9}})|"([^"\\\n\r]*)"|'([^'\\\n\r]*)')\s*\])""")
_ROOT: Final = re.compile(rf"\s*({_NAME})")
_MARK: Final = re.compile(r"\$\$\{|\$\{")
_LITERAL: Final = re.compile(
    r"""(?P<word>true|false|null)|(?P<number>-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?)|"(?P<double>[^"\\\n\r]*)"|'(?P<single>[^'\\\n\r]*)'"""
)
# Inherited members of JavaScript values. A path that continues after one is left to the JavaScript engine.
_INHERITED: Final = frozenset(
    "__defineGetter__ __defineSetter__ __lookupGetter__ __lookupSetter__ __proto__ anchor at big blink bold charAt"
    " charCodeAt codePointAt concat constructor copyWithin endsWith entries every fill filter find findIndex findLast"
    " findLastIndex fixed flat flatMap fontcolor fontsize forEach hasOwnProperty includes indexOf isPrototypeOf"
    " isWellFormed italics join keys lastIndexOf link localeCompare map match matchAll normalize padEnd padStart pop"
    " propertyIsEnumerable push reduce reduceRight repeat replace replaceAll reverse search shift slice small some sort"
    " splice split startsWith strike sub substr substring sup toExponential toFixed toLocaleLowerCase toLocaleString"
    " toLocaleUpperCase toLowerCase toPrecision toReversed toSorted toSpliced toString toUpperCase toWellFormed trim"
    " trimEnd trimLeft trimRight trimStart unshift valueOf values with".split()
)


_Read = TypeVar("_Read")


class ExpressionSyntax(FlowRunnerError):
    """A fault in an expression or script."""

    def __init__(self, message: str, *, code: str = "expression.syntax", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class UnknownName(ExpressionSyntax):
    """An expression that reads an unknown name."""

    def __init__(self, message: str, *, text: str, name: str, hint: str) -> None:
        super().__init__(message, code="expression.unknown_name", hint=hint)
        self.text = text
        self.name = name


class CodeKind(Enum):
    """The kinds of parameters whose text is JavaScript without `${` and `}`."""

    EXPRESSION = auto()
    CONDITION = auto()
    BODY = auto()


class ExpressionPlace(Protocol):
    """The place of a template in a document, and the rules that apply there."""

    @property
    def older_names(self) -> Mapping[str, str]:
        """Return today's names, by the older ones that expressions may also use."""
        ...

    @property
    def has_config(self) -> bool:
        """The name `config` means the configuration values: in a stored flow it may be an element of a loop."""
        ...

    def code_at(self, at: Keys) -> CodeKind | None:
        """Return the kind of JavaScript that a string at this place is; None for a template with `${` and `}`."""
        ...

    def names_at(self, at: Keys) -> frozenset[str]:
        """Return the names that an expression at this place may read."""
        ...

    def place_of(self, at: Keys) -> CodePlace: ...

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        """Report a string that is not a valid template; a constant replaces it."""
        ...

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int], *, has_default: bool = False) -> None:
        """Check a name that an expression reads; with ``has_default``, its first key may be missing."""
        ...


def compile_template(value: JSON, place: ExpressionPlace, at: Keys) -> Template:
    """Return the template of ``value``, in which every string may contain expressions.

    Args:
        at: Keys that lead from the document to ``value``.
    """
    if isinstance(value, str):
        return _compile_string(value, place, at)
    if not isinstance(value, bool) and place.code_at(at) is CodeKind.CONDITION:
        place.report(at, _no_condition())
        return Constant(value)
    match value:
        case Mapping():
            pairs = tuple((k, compile_template(v, place, (*at, k))) for k, v in value.items())
            return MapOf(pairs) if any(not isinstance(p, Constant) for _, p in pairs) else Constant(value)
        case Sequence():
            parts = tuple(compile_template(v, place, (*at, i)) for i, v in enumerate(value))
            return ListOf(parts) if any(not isinstance(p, Constant) for p in parts) else Constant(value)
        case _:
            return Constant(value)


def _compile_string(text: str, place: ExpressionPlace, at: Keys) -> Template:
    kind = place.code_at(at)
    if kind is None and "${" not in text:
        return Constant(text)
    reader = _ExpressionReader(place.names_at(at), place.place_of(at), place.older_names, has_config=place.has_config)
    if kind is CodeKind.BODY:
        template: Template = Value(reader.body(text))
    elif kind is not None and ("${" not in text or has_braces_in_literals(text)):
        template = Value(reader.expression(text))
    else:
        template = reader.text(text)
    if kind is CodeKind.CONDITION and not reader.faults:
        template = _condition(template, reader.faults)
    for fault in reader.faults:
        place.report(at, fault)
    _visit_names(template, at, place)
    return Constant(text) if reader.faults else template


def _visit_names(template: Template, at: Keys, place: ExpressionPlace) -> None:
    for expression in expressions_of(template):
        match expression:
            case Path(source, root, keys):
                place.visit(at, f"${{{source}}}", root, keys)
            case Code(source, _, _, references):
                written = shown(source)
                for reference in references:
                    place.visit(at, written, reference.root, reference.keys, has_default=reference.has_default)
            case Literal():
                pass
            case _:
                assert_never(expression)


def _condition(template: Template, faults: list[ExpressionSyntax]) -> Template:
    match template:
        case Value(Code(text, script, place, references)):
            # JavaScript decides the truthiness, also of values without a JSON form.
            return Condition(Code(text, Script(f"!!({script.source}\n)"), place, references))
        case Value(expression):
            return Condition(expression)
        case _:
            faults.append(_no_condition(template))
            return template


def _no_condition(template: Template | None = None) -> ExpressionSyntax:
    hint = "write it as JavaScript, such as: input.length > 0"
    match template:
        case Text(parts):
            text = "".join(part if isinstance(part, str) else part.text for part in parts)
            if len(text) <= _MOST_SHOWN:
                hint = f"write it without braces: {text.strip()}"
            return ExpressionSyntax("a condition must be one expression, not text with expressions in it", hint=hint)
        case _:
            return ExpressionSyntax("a condition must be one expression", hint=hint)


def compile_text(text: str, names: frozenset[str]) -> Template:
    """Return the template of one string.

    Raises:
        ExpressionSyntax: If an expression in it is not closed, is not valid JavaScript, or reads a name that is not in
            ``names``.
    """
    return _checked(reader := _ExpressionReader(names, NOWHERE), reader.text(text))


def parse_expression(source: str, names: frozenset[str]) -> Expression:
    """Return the expression written between `${` and `}`.

    Raises:
        ExpressionSyntax: If it reads an unknown name, or is obviously not valid JavaScript.
    """
    return _checked(reader := _ExpressionReader(names, NOWHERE), reader.expression(source))


def _checked(reader: "_ExpressionReader", read: _Read) -> _Read:
    for fault in reader.faults:
        raise fault
    return read


@dataclass(slots=True)
class _ExpressionReader:
    """The reader of the expressions of one string.

    Attributes:
        names: The names that they may read.
        older: Names among these, by the older names that expressions may also use.
        has_config: The name `config` means the configuration values.
        faults: All faults; if there are any, the result must not be used.
        unknown: The unknown names that are reported, each once.
    """

    names: frozenset[str]
    place: CodePlace
    older: Mapping[str, str] = field(default_factory=dict)
    has_config: bool = True
    faults: list[ExpressionSyntax] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def text(self, text: str) -> Template:
        if "${" not in text:
            return Constant(text)
        parts: list[str | Expression] = []
        end = 0
        while mark := _MARK.search(text, end):
            parts.append(text[end : mark.start()])
            if mark[0] == "$${":
                parts.append("${")
                end = mark.end()
                continue
            close = self.closing_brace(text, mark.end())
            if close is None:
                # The rest of the text may be part of the unclosed expression.
                return Constant(text)
            parts.append(self.expression(text[mark.end() : close]))
            end = close + 1
        parts.append(text[end:])
        kept = tuple(p for p in parts if p != "")
        # A block scalar ends with a line break that its author does not mean.
        rest = [p if isinstance(p, str) else "x" for p in kept[1:]]
        if kept and not isinstance(kept[0], str) and not "".join(rest).strip("\r\n"):
            return Value(kept[0])
        return Text(kept)

    def closing_brace(self, text: str, start: int) -> int | None:
        try:
            return end_of_expression(text, start)
        except Unclosed:
            within = f" within {MAX_SCRIPT} characters" if len(text) > start + MAX_SCRIPT + 1 else ""
            self.faults.append(
                ExpressionSyntax(
                    f"the expression '{text[max(0, start - 2) : start + 30]}' is not closed{within}",
                    hint="end it with '}', or write '$${' for a literal '${'",
                )
            )
            return None

    def expression(self, source: str) -> Expression:
        text = source.strip()
        if not text:
            hint = "write ${input}, or '$${' for a literal '${'"
            self.faults.append(ExpressionSyntax("the expression is empty", hint=hint))
        literal = _LITERAL.fullmatch(text)
        if literal is not None:
            return Literal(text, _literal_value(literal))
        return self.path(text) or self.code(text, is_body=False)

    def body(self, text: str) -> Code:
        return self.code(text, is_body=True)

    def path(self, text: str) -> Path | None:
        """Return ``text`` as a plain path; None if it is not one."""
        start = _ROOT.match(text)
        if start is None or start[1] in KEYWORDS or start[1] in GLOBALS:
            return None
        keys: list[str | int] = []
        end = start.end()
        while key := _KEY.match(text, end):
            name, index, double, single = key.groups()
            keys.append(int(index) if index is not None else next(k for k in (name, double, single) if k is not None))
            end = key.end()
        if text[end:].strip():
            return None
        if "__proto__" in keys or not _INHERITED.isdisjoint(keys[:-1]):
            return None
        root = self.present_name(start[1])
        self.check_name(text, root, keys)
        return Path(text, root, tuple(keys))

    def code(self, text: str, *, is_body: bool) -> Code:
        code = Code(text, Script(text, is_body), self.place, ())
        if len(text) > MAX_SCRIPT:
            self.faults.append(ExpressionSyntax(f"a script has at most {MAX_SCRIPT} characters", code="too_long"))
            return code
        try:
            found = references(text)
        except Unclosed as error:
            self.faults.append(ExpressionSyntax(f"'{shown(text)}' is not valid JavaScript: {error}"))
            return code
        kept, renamed = [], {}
        for reference in found:
            is_own = reference.is_defined and (
                reference.root not in self.names or (reference.root == "config" and self.has_config)
            )
            # Scripts often have a variable `config` of their own; a value of the workspace is never read through it.
            if is_own or (reference.root not in self.names and reference.root in GLOBALS):
                continue
            root = self.present_name(reference.root)
            self.check_name(text, root, reference.keys, is_body=is_body)
            if root != reference.root:
                renamed[reference.root] = root
            kept.append(replace(reference, root=root))
        source = text
        for name, root in renamed.items():
            named = f"({name}) => {{{source}\n}}" if is_body else f"({name}) => ({source}\n)"
            source = f"return ({named})({root})" if is_body else f"({named})({root})"
        return Code(text, Script(source, is_body), self.place, tuple(kept))

    def present_name(self, name: str) -> str:
        return name if name in self.names else self.older.get(name, name)

    def check_name(self, text: str, root: str, keys: Sequence[str | int], *, is_body: bool = False) -> None:
        if root not in self.names:
            if root not in self.unknown and len(self.unknown) < MOST_UNKNOWN:
                self.unknown.add(root)
                self.faults.append(
                    UnknownName(
                        f"{_subject(text, is_body=is_body)} reads the unknown name '{root}'",
                        text=text,
                        name=root,
                        hint=did_you_mean(root, self.names) or f"known names: {', '.join(sorted(self.names))}",
                    )
                )
        elif root == "nodes" and not keys and text == "nodes":
            message, hint = "'${nodes}' must name a node", "write ${nodes.<name>.result}"
            self.faults.append(ExpressionSyntax(message, code="expression.node", hint=hint))
        # Required for plain paths too: the text must show which secrets the node reads.
        elif root == "secrets" and not (keys and isinstance(keys[0], str)):
            message = f"{_subject(text, is_body=is_body)} must name one secret"
            hint = "write secrets.NAME" if is_body else "write ${secrets.NAME}"
            self.faults.append(ExpressionSyntax(message, code="expression.secret", hint=hint))
        # Only the values that the text names are recorded with an execution.
        elif root == "config" and self.has_config and not (keys and _is_name(keys[0])):
            message = f"{_subject(text, is_body=is_body)} must name one configuration value"
            hint = "write config.NAME" if is_body else "write ${config.NAME}"
            self.faults.append(ExpressionSyntax(message, code="expression.config", hint=hint))


def _literal_value(match: re.Match[str]) -> JSON:
    word, number, double, single = match.group("word", "number", "double", "single")
    if word is not None:
        return {"true": True, "false": False, "null": None}[word]
    if number is not None:
        value = float(number)
        # JavaScript has one type of number, and writes -0 as 0.
        return int(value) if value.is_integer() else value
    return double if double is not None else single


def _is_name(key: str | int) -> bool:
    return isinstance(key, str) and key.isascii() and key.isidentifier()


def _subject(text: str, *, is_body: bool) -> str:
    return "the script" if is_body else f"'{shown(text)}'"
