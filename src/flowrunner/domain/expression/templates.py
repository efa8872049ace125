"""Values that are filled in when a node runs, and what they come to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression.javascript_values import is_true, json_text, own_property
from flowrunner.domain.javascript import Reference
from flowrunner.domain.script import Script, ScriptOutcome
from flowrunner.domain.values import JSON

Scope: TypeAlias = Mapping[str, JSON]

# Somewhat more than a result may have, so that a result that is too large is told as such.
MAX_RENDERED: Final = 4 * 1024 * 1024


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
            value = own_property(value, key)
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


def _as_text(source: str, value: JSON) -> str:
    match value:
        case None:
            raise ExpressionFailed(f"{shown(source)} has no value here, so it cannot stand within text")
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case _:
            return json_text(value)


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
