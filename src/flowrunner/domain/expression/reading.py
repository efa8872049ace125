"""Reads what stands between `${` and `}`, and every other text of a flow that is JavaScript."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final, Protocol, TypeAlias, assert_never

from flowrunner.domain.errors import FlowRunnerError
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
from flowrunner.domain.javascript import (
    GLOBALS,
    KEYWORDS,
    MAX_SCRIPT,
    Unclosed,
    end_of_expression,
    references,
)
from flowrunner.domain.script import Script
from flowrunner.domain.suggestions import did_you_mean
from flowrunner.domain.values import JSON

Keys: TypeAlias = tuple[str | int, ...]

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


_NO_NAMES: Final[Mapping[str, str]] = {}


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


class CodeKind(Enum):
    """How a string of a node's parameters is JavaScript by itself."""

    EXPRESSION = auto()
    CONDITION = auto()
    BODY = auto()


class Place(Protocol):
    """Where in a document a template is being read, and what may stand there."""

    @property
    def older_names(self) -> Mapping[str, str]:
        """Today's names, by older ones that expressions may use too."""
        ...

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
    kind, names, older = place.code_at(at), place.names_at(at), place.older_names
    try:
        if kind is CodeKind.BODY:
            template: Template = Value(_code(text, names, place.place_of(at), older, is_body=True))
        elif kind is not None and "${" not in text:
            template = Value(parse_expression(text, names, place.place_of(at), older))
        else:
            template = compile_text(text, names, place.place_of(at), older)
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


def compile_text(
    text: str, names: frozenset[str], place: CodePlace = NOWHERE, older: Mapping[str, str] = _NO_NAMES
) -> Template:
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
        parts.append(parse_expression(text[mark.end() : close], names, place, older))
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


def parse_expression(
    source: str, names: frozenset[str], place: CodePlace = NOWHERE, older: Mapping[str, str] = _NO_NAMES
) -> Expression:
    """Return the expression written between `${` and `}`.

    Args:
        older: Names among ``names``, by older ones that stand for them.

    Raises:
        ExpressionSyntax: If it starts from an unknown name, or is plainly no JavaScript.
    """
    text = source.strip()
    if not text:
        raise ExpressionSyntax("the expression is empty", hint="write ${input}, or '$${' for a literal '${'")
    literal = _LITERAL.fullmatch(text)
    if literal is not None:
        return Literal(text, _literal_value(literal))
    return _path(text, names, older) or _code(text, names, place, older, is_body=False)


def _literal_value(match: re.Match[str]) -> JSON:
    word, number, double, single = match.group("word", "number", "double", "single")
    if word is not None:
        return {"true": True, "false": False, "null": None}[word]
    if number is not None:
        value = float(number)
        # JavaScript has one kind of number, and -0 is written as 0.
        return int(value) if value.is_integer() else value
    return double if double is not None else single


def _path(text: str, names: frozenset[str], older: Mapping[str, str]) -> Path | None:
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
    root = _today(start[1], names, older)
    _check_name(text, root, keys, names)
    if "__proto__" in keys or not _INHERITED.isdisjoint(keys[:-1]):
        return None
    return Path(text, root, tuple(keys))


def _today(name: str, names: frozenset[str], older: Mapping[str, str]) -> str:
    return name if name in names else older.get(name, name)


def _code(text: str, names: frozenset[str], place: CodePlace, older: Mapping[str, str], *, is_body: bool) -> Code:
    if len(text) > MAX_SCRIPT:
        raise ExpressionSyntax(f"a script has at most {MAX_SCRIPT} characters", code="too_long")
    try:
        found = references(text)
    except Unclosed as error:
        raise ExpressionSyntax(f"'{shown(text)}' is no JavaScript: {error}") from None
    kept, renamed = [], {}
    for reference in found:
        if reference.root not in names and (reference.is_defined or reference.root in GLOBALS):
            continue
        root = _today(reference.root, names, older)
        _check_name(text, root, reference.keys, names, is_body=is_body)
        if root != reference.root:
            renamed[reference.root] = root
        kept.append(replace(reference, root=root))
    source = text
    for name, root in renamed.items():
        source = f"return (({name}) => {{{source}\n}})({root})" if is_body else f"(({name}) => ({source}\n))({root})"
    return Code(text, Script(source, is_body), place, tuple(kept))


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
