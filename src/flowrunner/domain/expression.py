"""Values in a flow that are filled in when a node runs: `${nodes.fetch.result.body.id}`.

This module knows plain paths: names joined by `.name`, `[0]` and `["key"]`. They read values as
JavaScript would, so that a flow means the same whichever way an expression is evaluated.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.values import JSON

Scope: TypeAlias = Mapping[str, JSON]

# Somewhat more than a result may have, so that a result that is too large is told as such.
MAX_RENDERED: Final = 4 * 1024 * 1024

PARAMETER_NAMES: Final = frozenset({"input", "flow", "nodes", "vars", "secrets", "execution", "error"})
OUTPUT_NAMES: Final = PARAMETER_NAMES | {"result"}

_NAME: Final = r"[A-Za-z_$][A-Za-z0-9_$]*"
_KEY: Final = re.compile(rf"""\s*(?:\.\s*({_NAME})|\[\s*(?:(\d{{1,9}})|"([^"\\]*)"|'([^'\\]*)')\s*\])""")
_ROOT: Final = re.compile(rf"\s*({_NAME})")
_MARK: Final = re.compile(r"\$\$\{|\$\{")


class ExpressionSyntax(FlowRunnerError):
    """Text between `${` and `}` that cannot be evaluated."""

    def __init__(self, message: str, *, code: str = "expression.syntax", hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class ExpressionFailed(FlowRunnerError):
    """An expression that has no value in this execution; the message names it."""


@dataclass(frozen=True, slots=True)
class Path:
    """A plain path: the name it starts from and the keys that lead on."""

    text: str
    root: str
    keys: tuple[str | int, ...]

    def evaluate(self, scope: Scope) -> JSON:
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
class Constant:
    value: JSON

    def render(self, scope: Scope) -> JSON:
        return self.value


@dataclass(frozen=True, slots=True)
class Value:
    """A string that is one expression: it keeps the type of the value."""

    path: Path

    def render(self, scope: Scope) -> JSON:
        return self.path.evaluate(scope)


@dataclass(frozen=True, slots=True)
class Text:
    """Expressions within text: their values are turned to text."""

    parts: tuple[str | Path, ...]

    def render(self, scope: Scope) -> str:
        texts, size = [], 0
        for part in self.parts:
            texts.append(part if isinstance(part, str) else _as_text(part, part.evaluate(scope)))
            size += len(texts[-1])
            if size > MAX_RENDERED:
                raise _too_large()
        return "".join(texts)


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple["Template", ...]

    def render(self, scope: Scope) -> JSON:
        return [item.render(scope) for item in self.items]


@dataclass(frozen=True, slots=True)
class MapOf:
    items: tuple[tuple[str, "Template"], ...]

    def render(self, scope: Scope) -> JSON:
        return {key: item.render(scope) for key, item in self.items}


def render(template: "Template", scope: Scope) -> JSON:
    """The value of a template.

    Raises:
        ExpressionFailed: If an expression in it has no value, or if the values come to more than
            `MAX_RENDERED` together. Without a bound a short template could name one long value a
            thousand times.
    """
    value = template.render(scope)
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


Template: TypeAlias = Constant | Value | Text | ListOf | MapOf

# Called with the keys that lead to a string that is no template, and what is wrong with it.
Report: TypeAlias = Callable[[tuple[str | int, ...], ExpressionSyntax], None]
# Called with the keys that lead to a string, and each path in it.
Visit: TypeAlias = Callable[[tuple[str | int, ...], "Path"], None]


def compile_template(
    value: JSON,
    names: frozenset[str],
    report: Report,
    at: tuple[str | int, ...] = (),
    visit: Visit = lambda at, path: None,
) -> Template:
    """The template that ``value`` writes: every string in it may hold expressions.

    Args:
        names: Names an expression may start from.
        report: Told of each string that is no template; a constant stands in for it.
        at: Keys that lead from the document to ``value``.
        visit: Told of each path, to check what it names.
    """
    template: Template
    match value:
        case str():
            try:
                template = compile_text(value, names)
            except ExpressionSyntax as fault:
                report(at, fault)
                return Constant(value)
            for path in paths_of(template):
                visit(at, path)
            return template
        case Mapping():
            template = MapOf(tuple((k, compile_template(v, names, report, (*at, k), visit)) for k, v in value.items()))
            return template if _has_expression(template.items) else Constant(value)
        case Sequence():
            parts = tuple(compile_template(v, names, report, (*at, i), visit) for i, v in enumerate(value))
            return ListOf(parts) if any(not isinstance(p, Constant) for p in parts) else Constant(value)
        case _:
            return Constant(value)


def _has_expression(items: tuple[tuple[str, Template], ...]) -> bool:
    # An escaped `$${` leaves a constant that differs from its source text, hence the comparison
    # by kind and not by value: see `compile_text`.
    return any(not isinstance(item, Constant) for _, item in items)


def compile_text(text: str, names: frozenset[str]) -> Template:
    """The template that one string writes.

    Raises:
        ExpressionSyntax: If an expression in it is not closed, is no plain path, or starts from a
            name that is not in ``names``.
    """
    if "${" not in text:
        return Constant(text)
    parts: list[str | Path] = []
    end = 0
    for mark in _marks(text):
        parts.append(text[end : mark.start()])
        if mark[0] == "$${":
            parts.append("${")
            end = mark.end()
            continue
        close = _closing_brace(text, mark.end())
        parts.append(parse_path(text[mark.end() : close], names))
        end = close + 1
    parts.append(text[end:])
    kept = tuple(p for p in parts if p != "")
    if len(kept) == 1 and isinstance(kept[0], Path):
        return Value(kept[0])
    return Text(kept)


def _marks(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while mark := _MARK.search(text, position):
        yield mark
        position = mark.end() if mark[0] == "$${" else _closing_brace(text, mark.end()) + 1


def _closing_brace(text: str, start: int) -> int:
    """Where the brace that ends an expression stands; braces and quotes inside it are skipped."""
    depth, quote, i = 0, "", start
    while i < len(text):
        char = text[i]
        if quote:
            if char == "\\":
                i += 1
            elif char == quote:
                quote = ""
        elif char in "\"'`":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return i
            depth -= 1
        i += 1
    raise ExpressionSyntax(
        f"the expression '{text[max(0, start - 2) : start + 30]}' is not closed",
        hint="end it with '}', or write '$${' for a literal '${'",
    )


def parse_path(source: str, names: frozenset[str]) -> Path:
    """The path written between `${` and `}`.

    Raises:
        ExpressionSyntax: If it is no plain path or starts from an unknown name.
    """
    text = source.strip()
    start = _ROOT.match(text)
    if start is None:
        raise _not_a_path(text)
    keys: list[str | int] = []
    end = start.end()
    while key := _KEY.match(text, end):
        name, index, double, single = key.groups()
        keys.append(int(index) if index is not None else next(k for k in (name, double, single) if k is not None))
        end = key.end()
    if text[end:].strip():
        raise _not_a_path(text)
    root = start[1]
    if root not in names:
        near = difflib.get_close_matches(root, names, n=1)
        raise ExpressionSyntax(
            f"'${{{text}}}' starts from the unknown name '{root}'",
            code="expression.unknown_name",
            hint=f"did you mean '{near[0]}'?" if near else f"known names: {', '.join(sorted(names))}",
        )
    if root == "nodes" and not keys:
        raise ExpressionSyntax(
            "'${nodes}' must name a node", code="expression.node", hint="write ${nodes.<name>.result}"
        )
    if root == "secrets" and not (len(keys) == 1 and isinstance(keys[0], str)):
        raise ExpressionSyntax(
            f"'${{{text}}}' must name one secret", code="expression.secret", hint="write ${secrets.NAME}"
        )
    return Path(text, root, tuple(keys))


def _not_a_path(text: str) -> ExpressionSyntax:
    return ExpressionSyntax(
        f"'${{{text[:60]}}}' is not a plain path",
        hint="write names joined by dots or brackets, such as ${nodes.fetch.result.items[0].id}",
    )


def paths_of(template: Template) -> Iterator[Path]:
    """Every path that a template mentions."""
    match template:
        case Value(path):
            yield path
        case Text(parts):
            yield from (p for p in parts if isinstance(p, Path))
        case ListOf(items):
            for item in items:
                yield from paths_of(item)
        case MapOf(pairs):
            for _, item in pairs:
                yield from paths_of(item)
        case Constant():
            return


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
    # JavaScript counts UTF-16 units. Half of a pair is no text that could be stored, hence null.
    unit = text.encode("utf-16-le")[2 * index : 2 * index + 2]
    try:
        return unit.decode("utf-16-le") or None
    except UnicodeDecodeError:
        return None


def _index(key: str | int) -> int | None:
    if isinstance(key, int):
        return key
    return int(key) if key.isascii() and key.isdigit() and (key == "0" or key[0] != "0") else None


def _as_text(path: Path, value: JSON) -> str:
    match value:
        case None:
            raise ExpressionFailed(f"${{{path.text}}} has no value here, so it cannot stand within text")
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
