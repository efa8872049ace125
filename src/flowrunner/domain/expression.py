"""Values in a flow that are filled in when a node runs: `${nodes.fetch.result.body.id}`.

An expression is JavaScript. Plain paths, names joined by `.name`, `[0]` and `["key"]`, and literals
are evaluated here, and give what JavaScript would; everything else is `Code`, whose values come from
a sandbox before the template is rendered.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias, assert_never

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.javascript import (
    GLOBALS,
    KEYWORDS,
    MAX_SCRIPT,
    Reference,
    Unclosed,
    end_of_expression,
    references,
)
from flowrunner.domain.script import Script, ScriptOutcome
from flowrunner.domain.suggestions import did_you_mean
from flowrunner.domain.values import JSON

Scope: TypeAlias = Mapping[str, JSON]
Keys: TypeAlias = tuple[str | int, ...]


class CodeKind(Enum):
    """How a string of a node's parameters is JavaScript by itself."""

    EXPRESSION = auto()
    CONDITION = auto()
    BODY = auto()


# Somewhat more than a result may have, so that a result that is too large is told as such.
MAX_RENDERED: Final = 4 * 1024 * 1024

PARAMETER_NAMES: Final = frozenset({"input", "flow", "nodes", "vars", "secrets", "execution", "error", "trigger"})
OUTPUT_NAMES: Final = PARAMETER_NAMES | {"result"}

_NAME: Final = r"[A-Za-z_$][A-Za-z0-9_$]*"
_KEY: Final = re.compile(rf"""\s*(?:\.\s*({_NAME})|\[\s*(?:(\d{{1,9}})|"([^"\\\n\r]*)"|'([^'\\\n\r]*)')\s*\])""")
_ROOT: Final = re.compile(rf"\s*({_NAME})")
_MARK: Final = re.compile(r"\$\$\{|\$\{")
_LITERAL: Final = re.compile(
    r"""(?P<word>true|false|null)|(?P<number>-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?)|"(?P<double>[^"\\\n\r]*)"|'(?P<single>[^'\\\n\r]*)'"""
)
# Values of every kind have these without having been given them. What is read from one further on is
# a matter for the JavaScript engine.
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


class ExpressionSyntax(FlowRunnerError):
    """Text between `${` and `}` that cannot be evaluated."""

    def __init__(self, message: str, *, code: str = "expression.syntax", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class UnknownName(ExpressionSyntax):
    """An expression that starts from a name that is not there."""

    def __init__(self, message: str, *, text: str, name: str, hint: str) -> None:
        super().__init__(message, code="expression.unknown_name", hint=hint)
        self.text = text
        self.name = name


class ExpressionFailed(FlowRunnerError):
    """An expression that has no value in this execution; the message names it.

    ``type`` is the error type that the node fails with: `expression`, or `script` for a whole script.
    """

    def __init__(self, message: str, *, type: str = "expression") -> None:
        super().__init__(message)
        self.type = type


@dataclass(frozen=True, slots=True)
class Path:
    """A plain path: the name it starts from and the keys that lead on."""

    text: str
    root: str
    keys: tuple[str | int, ...]

    def evaluate(self, scope: Scope, values: "Values") -> JSON:
        """The value at this path, or None where JavaScript would give `null` or `undefined`.

        Raises:
            ExpressionFailed: If a key is read from null or undefined.
        """
        value = scope.get(self.root)
        for key in self.keys:
            if value is None:
                raise ExpressionFailed(f"${{{self.text}}}: cannot read '{key}' of null")
            value = _read(value, key)
        return value


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string without escapes, `true`, `false` or `null`."""

    text: str
    value: JSON

    def evaluate(self, scope: Scope, values: "Values") -> JSON:
        return self.value


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Where a piece of code stands in its document: the dotted path, line and column from 1."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path} (line {self.line})"


NOWHERE: Final = CodePlace("", 0, 0)


@dataclass(frozen=True, slots=True)
class Code:
    """An expression for the sandbox, or with ``script.is_body`` a whole script.

    Attributes:
        place: Where it stands in the document, for messages.
        references: The names it takes from around it.
    """

    text: str
    script: Script
    place: CodePlace
    references: tuple[Reference, ...]

    def evaluate(self, scope: Scope, values: "Values") -> JSON:
        """Raises: ExpressionFailed if it came to a fault."""
        value = values[self]
        if isinstance(value, ExpressionFailed):
            raise value
        return value


Expression: TypeAlias = Path | Literal | Code

# What the sandbox gave for each piece of code.
Values: TypeAlias = Mapping[Code, "JSON | ExpressionFailed"]
NO_VALUES: Final[Values] = {}


@dataclass(frozen=True, slots=True)
class Constant:
    value: JSON

    def render(self, scope: Scope, values: Values) -> JSON:
        return self.value


@dataclass(frozen=True, slots=True)
class Value:
    """A string that is one expression: it keeps the type of the value."""

    expression: Expression

    def render(self, scope: Scope, values: Values) -> JSON:
        return self.expression.evaluate(scope, values)


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that is asked for its truth, and only if it is needed.

    It renders to true or false, or to the `ExpressionFailed` that it came to: a case that comes after
    the one that holds may well fail.
    """

    expression: Expression

    def render(self, scope: Scope, values: Values) -> JSON:
        try:
            return is_true(self.expression.evaluate(scope, values))
        except ExpressionFailed as failure:
            return failure  # type: ignore[return-value] # for the node type that asks


@dataclass(frozen=True, slots=True)
class Text:
    """Expressions within text: their values are turned to text."""

    parts: tuple[str | Expression, ...]

    def render(self, scope: Scope, values: Values) -> str:
        texts, size = [], 0
        for part in self.parts:
            texts.append(part if isinstance(part, str) else _as_text(part.text, part.evaluate(scope, values)))
            size += len(texts[-1])
            if size > MAX_RENDERED:
                raise _too_large()
        return "".join(texts)


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple["Template", ...]

    def render(self, scope: Scope, values: Values) -> JSON:
        return [item.render(scope, values) for item in self.items]


@dataclass(frozen=True, slots=True)
class MapOf:
    items: tuple[tuple[str, "Template"], ...]

    def render(self, scope: Scope, values: Values) -> JSON:
        return {key: item.render(scope, values) for key, item in self.items}


def render(template: "Template", scope: Scope, values: Values = NO_VALUES) -> JSON:
    """The value of a template.

    Args:
        values: What each of the template's `codes_of` came to.

    Raises:
        ExpressionFailed: If an expression in it has no value, or if the values come to more than
            `MAX_RENDERED` together. Without a bound a short template could name one long value a
            thousand times.
    """
    value = template.render(scope, values)
    if isinstance(template, ListOf | MapOf) and _exceeds(value, MAX_RENDERED):
        raise _too_large()
    return value


def _too_large() -> ExpressionFailed:
    return ExpressionFailed(f"The values filled in come to more than {MAX_RENDERED} characters together")


def _exceeds(value: JSON, limit: int) -> bool:
    """Whether a value is larger than ``limit``, in characters and elements; stops as soon as it is."""
    left, todo = limit, [value]
    while todo:
        item = todo.pop()
        if isinstance(item, str):
            left -= len(item)
        elif isinstance(item, Mapping):
            left -= len(item) + sum(map(len, item))
            todo.extend(item.values())
        elif isinstance(item, Sequence):
            left -= len(item)
            todo.extend(item)
        else:
            left -= 1
        if left < 0:
            return True
    return False


Template: TypeAlias = Constant | Value | Condition | Text | ListOf | MapOf


class Place(Protocol):
    """Where in a document a template is being read, and what may stand there."""

    def code_at(self, at: Keys) -> CodeKind | None:
        """What a string at this place is when it is JavaScript by itself, without `${` and `}`."""
        ...

    def names_at(self, at: Keys) -> frozenset[str]:
        """Names that an expression at this place may start from."""
        ...

    def place_of(self, at: Keys) -> CodePlace: ...

    def report(self, at: Keys, fault: ExpressionSyntax) -> None:
        """Take note of a string that is no template; a constant stands in for it."""
        ...

    def visit(self, at: Keys, text: str, root: str, keys: Sequence[str | int]) -> None:
        """Check what an expression names."""
        ...


def compile_template(value: JSON, place: Place, at: Keys) -> Template:
    """The template that ``value`` writes: every string in it may hold expressions.

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


def _compile_string(text: str, place: Place, at: Keys) -> Template:
    kind, names = place.code_at(at), place.names_at(at)
    try:
        if kind is CodeKind.BODY:
            template: Template = Value(_code(text, names, place.place_of(at), is_body=True))
        elif kind is not None and "${" not in text:
            template = Value(parse_expression(text, names, place.place_of(at)))
        else:
            template = compile_text(text, names, place.place_of(at))
        if kind is CodeKind.CONDITION:
            template = _condition(template)
    except ExpressionSyntax as fault:
        place.report(at, fault)
        return Constant(text)
    for expression in expressions_of(template):
        match expression:
            case Path(source, root, keys):
                place.visit(at, f"${{{source}}}", root, keys)
            case Code(source, _, _, references):
                written = shown(source)
                for reference in references:
                    place.visit(at, written, reference.root, reference.keys)
            case Literal():
                pass
            case _:
                assert_never(expression)
    return template


def _condition(template: Template) -> Template:
    match template:
        case Value(Code(text, script, place, references)):
            # Its truth is JavaScript's to tell: of what has no form in JSON, too.
            return Condition(Code(text, Script(f"!!({script.source}\n)"), place, references))
        case Value(expression):
            return Condition(expression)
        case _:
            raise _no_condition()


def _no_condition() -> ExpressionSyntax:
    return ExpressionSyntax("a condition is one expression", hint="write it as JavaScript, such as: input.length > 0")


def compile_text(text: str, names: frozenset[str], place: CodePlace = NOWHERE) -> Template:
    """The template that one string writes.

    Raises:
        ExpressionSyntax: If an expression in it is not closed, is no JavaScript, or starts from a
            name that is not in ``names``.
    """
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
        close = _closing_brace(text, mark.end())
        parts.append(parse_expression(text[mark.end() : close], names, place))
        end = close + 1
    parts.append(text[end:])
    kept = tuple(p for p in parts if p != "")
    if len(kept) == 1 and not isinstance(kept[0], str):
        return Value(kept[0])
    return Text(kept)


def _closing_brace(text: str, start: int) -> int:
    try:
        return end_of_expression(text, start)
    except Unclosed:
        within = f" within {MAX_SCRIPT} characters" if len(text) > start + MAX_SCRIPT + 1 else ""
        raise ExpressionSyntax(
            f"the expression '{text[max(0, start - 2) : start + 30]}' is not closed{within}",
            hint="end it with '}', or write '$${' for a literal '${'",
        ) from None


def parse_expression(source: str, names: frozenset[str], place: CodePlace = NOWHERE) -> Expression:
    """The expression written between `${` and `}`.

    Raises:
        ExpressionSyntax: If it starts from an unknown name, or is plainly no JavaScript.
    """
    text = source.strip()
    if not text:
        raise ExpressionSyntax("the expression is empty", hint="write ${input}, or '$${' for a literal '${'")
    literal = _LITERAL.fullmatch(text)
    if literal is not None:
        return Literal(text, _literal_value(literal))
    return _path(text, names) or _code(text, names, place, is_body=False)


def _literal_value(match: re.Match[str]) -> JSON:
    word, number, double, single = match.group("word", "number", "double", "single")
    if word is not None:
        return {"true": True, "false": False, "null": None}[word]
    if number is not None:
        value = float(number)
        # JavaScript has one kind of number, and -0 is written as 0.
        return int(value) if value.is_integer() else value
    return double if double is not None else single


def _path(text: str, names: frozenset[str]) -> Path | None:
    """The plain path that ``text`` is, or None if it is something else."""
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
    _check_name(text, start[1], keys, names)
    if "__proto__" in keys or not _INHERITED.isdisjoint(keys[:-1]):
        return None
    return Path(text, start[1], tuple(keys))


def _code(text: str, names: frozenset[str], place: CodePlace, *, is_body: bool) -> Code:
    if len(text) > MAX_SCRIPT:
        raise ExpressionSyntax(f"a script has at most {MAX_SCRIPT} characters", code="too_long")
    try:
        found = references(text)
    except Unclosed as error:
        raise ExpressionSyntax(f"'{shown(text)}' is no JavaScript: {error}") from None
    kept = []
    for reference in found:
        if reference.root not in names and (reference.is_defined or reference.root in GLOBALS):
            continue
        _check_name(text, reference.root, reference.keys, names, is_body=is_body)
        kept.append(reference)
    return Code(text, Script(text, is_body), place, tuple(kept))


def _check_name(
    text: str, root: str, keys: Sequence[str | int], names: frozenset[str], *, is_body: bool = False
) -> None:
    if root not in names:
        raise UnknownName(
            f"{_said(text, is_body=is_body)} reads the unknown name '{root}'",
            text=text,
            name=root,
            hint=did_you_mean(root, names) or f"known names: {', '.join(sorted(names))}",
        )
    if root == "nodes" and not keys and text == "nodes":
        raise ExpressionSyntax(
            "'${nodes}' must name a node", code="expression.node", hint="write ${nodes.<name>.result}"
        )
    # Also of one key alone, as a plain path: which secrets a node may have is told from the text.
    if root == "secrets" and not (keys and isinstance(keys[0], str)):
        raise ExpressionSyntax(
            f"{_said(text, is_body=is_body)} must name one secret",
            code="expression.secret",
            hint="write ${secrets.NAME}",
        )


def _said(text: str, *, is_body: bool) -> str:
    return "the script" if is_body else f"'{shown(text)}'"


def shown(source: str) -> str:
    """An expression within a message: the whole of it if it is short."""
    line = " ".join(source.split())
    return f"${{{line}}}" if len(line) <= 80 else f"${{{line[:77]}…}}"


def expressions_of(template: Template) -> Iterator[Expression]:
    """Every expression in a template."""
    match template:
        case Value(expression) | Condition(expression):
            yield expression
        case Text(parts):
            yield from (p for p in parts if not isinstance(p, str))
        case ListOf(items):
            for item in items:
                yield from expressions_of(item)
        case MapOf(pairs):
            for _, item in pairs:
                yield from expressions_of(item)
        case Constant():
            return


def codes_of(*templates: Template) -> tuple[Code, ...]:
    """What the sandbox has to evaluate before the templates can be rendered."""
    return tuple(dict.fromkeys(e for t in templates for e in expressions_of(t) if isinstance(e, Code)))


def value_of(code: Code, outcome: ScriptOutcome) -> "JSON | ExpressionFailed":
    """What a piece of code is worth to the templates it is in."""
    fault = outcome.fault
    if fault is None:
        return outcome.value
    if code.script.is_body:
        line = "" if fault.line is None else f", line {fault.line} of it"
        return ExpressionFailed(f"The script at {code.place}{line}: {fault.message}", type="script")
    return ExpressionFailed(f"{shown(code.text)} at {code.place}: {fault.message}")


def is_true(value: JSON) -> bool:
    """Whether JavaScript takes the value for true: an empty list is, an empty text is not."""
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return True
    return bool(value) and value == value  # noqa: PLR0124 # NaN is not


def _read(value: JSON, key: str | int) -> JSON:
    """An own property of a JSON value, as JavaScript reads it; None where it has none."""
    if isinstance(value, Mapping):
        return value.get(str(key))
    if isinstance(value, str):
        if key == "length":
            return len(value.encode("utf-16-le")) // 2
        return _character(value, key)
    if isinstance(value, Sequence):
        if key == "length":
            return len(value)
        index = _index(key)
        return value[index] if index is not None and index < len(value) else None
    return None


def _character(text: str, key: str | int) -> str | None:
    index = _index(key)
    if index is None:
        return None
    # JavaScript counts UTF-16 units. Half of a pair is no text that could be stored, and becomes U+FFFD.
    unit = text.encode("utf-16-le")[2 * index : 2 * index + 2]
    return unit.decode("utf-16-le", "replace") or None


def _index(key: str | int) -> int | None:
    if isinstance(key, int):
        return key
    return int(key) if key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") else None


def _as_text(source: str, value: JSON) -> str:
    match value:
        case None:
            raise ExpressionFailed(f"{shown(source)} has no value here, so it cannot stand within text")
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case _:
            return _json_text(value)


def _json_text(value: JSON) -> str:
    """The value as JavaScript's `JSON.stringify` writes it."""
    match value:
        case Mapping():
            return f"{{{','.join(f'{_json_text(k)}:{_json_text(v)}' for k, v in value.items())}}}"
        case str() | bool() | None:
            return json.dumps(value, ensure_ascii=False)
        case Sequence():
            return f"[{','.join(map(_json_text, value))}]"
        case float():
            return _number_text(value)
        case _:
            return str(value)


def _number_text(value: float) -> str:
    if value.is_integer() and abs(value) < 1e21:
        # By way of its shortest digits: JavaScript fills up with zeros beyond them.
        return str(int(Decimal(repr(value))))
    digits, mark, exponent = repr(value).partition("e")
    if not mark:
        return digits
    # JavaScript writes the zeros out down to a millionth, and no zero before an exponent.
    return f"{Decimal(repr(value)):f}" if -7 < int(exponent) < 0 else f"{digits}e{int(exponent):+d}"
