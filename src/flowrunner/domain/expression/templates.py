"""Values that are filled in when a node runs, and what they come to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression.javascript import Reference
from flowrunner.domain.expression.javascript_values import is_true, json_text, own_property
from flowrunner.domain.expression.script import Script, ScriptOutcome
from flowrunner.domain.values import JSON, left_after

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


class TooMuchFilledIn(ExpressionFailed):
    """The values filled in come to more than a rendering may take."""

    def __init__(self, source: str | None) -> None:
        at = "" if source is None else f", as of {shown(source)}"
        total = f"The values filled in come to more than {MAX_RENDERED} characters together"
        super().__init__(f"{total}{at}: fill in only the parts that are needed")


@dataclass(slots=True)
class Rendering:
    """What a template is rendered with, and how much of it there may still be.

    Attributes:
        left: Size that the values may take yet, as `left_after` counts it. What would take more is not begun, so that
            neither time nor memory depends on how often a short template names a long value.
    """

    scope: Scope
    values: "Values"
    left: int
    _utf16: dict[str, bytes] = field(default_factory=dict)

    def utf16(self, text: str) -> bytes:
        """Encode a text once, however often its characters are read."""
        if text not in self._utf16:
            self.spend(text)
            self._utf16[text] = text.encode("utf-16-le")
        return self._utf16[text]

    def spend(self, value: JSON, source: str | None = None) -> None:
        """Count a value, of the expression ``source``. Raises: TooMuchFilledIn before more is visited than is left."""
        self.left = left_after(value, self.left)
        if self.left < 0:
            raise TooMuchFilledIn(source)


@dataclass(frozen=True, slots=True)
class Path:
    """A plain path: the name it starts from and the keys that lead on."""

    text: str
    root: str
    keys: tuple[str | int, ...]

    def evaluate(self, rendering: Rendering) -> JSON:
        """The value at this path, or None where JavaScript would give `null` or `undefined`.

        Raises:
            ExpressionFailed: If a key is read from null or undefined.
        """
        value = rendering.scope.get(self.root)
        for key in self.keys:
            if value is None:
                raise ExpressionFailed(f"${{{self.text}}}: cannot read '{key}' of null")
            value = own_property(value, key, rendering.utf16)
        return value


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string without escapes, `true`, `false` or `null`."""

    text: str
    value: JSON

    def evaluate(self, rendering: Rendering) -> JSON:
        return self.value


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Where a piece of code stands in its document: the dotted path, line and column from 1.

    Attributes:
        block_line: Line in which it begins, where it is the text of a literal block.
    """

    path: str
    line: int
    column: int
    block_line: int | None = None

    def of_line(self, line: int | None) -> "CodePlace":
        """Return where a line of the code stands, counted from 1, as far as it is known."""
        if self.block_line is None or line is None:
            return self
        return CodePlace(self.path, self.block_line + line - 1, 1)

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

    def evaluate(self, rendering: Rendering) -> JSON:
        """Raises: ExpressionFailed if it came to a fault."""
        value = rendering.values[self]
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

    def render(self, rendering: Rendering) -> JSON:
        # The reader of documents bounds it.
        return self.value


@dataclass(frozen=True, slots=True)
class Value:
    """A string that is one expression: it keeps the type of the value."""

    expression: Expression

    def render(self, rendering: Rendering) -> JSON:
        value = self.expression.evaluate(rendering)
        rendering.spend(value, self.expression.text)
        return value


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that is asked for its truth, and only if it is needed.

    It renders to true or false, or to the `ExpressionFailed` that it came to: a case that comes after
    the one that holds may well fail.
    """

    expression: Expression

    def render(self, rendering: Rendering) -> JSON:
        try:
            return is_true(self.expression.evaluate(rendering))
        except TooMuchFilledIn:
            raise
        except ExpressionFailed as failure:
            return failure  # type: ignore[return-value] # for the node type that asks


@dataclass(frozen=True, slots=True)
class Text:
    """Expressions within text: their values are turned to text."""

    parts: tuple[str | Expression, ...]

    def render(self, rendering: Rendering) -> str:
        return "".join([self._text(part, rendering) for part in self.parts])

    def _text(self, part: str | Expression, rendering: Rendering) -> str:
        if isinstance(part, str):
            return part
        value = part.evaluate(rendering)
        rendering.spend(value, part.text)
        text = _as_text(part.text, value)
        if text is not value:
            # Numbers, and what is escaped, come to more than they count as.
            rendering.spend(text, part.text)
        return text


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple["Template", ...]

    def render(self, rendering: Rendering) -> JSON:
        return [item.render(rendering) for item in self.items]


@dataclass(frozen=True, slots=True)
class MapOf:
    items: tuple[tuple[str, "Template"], ...]

    def render(self, rendering: Rendering) -> JSON:
        return {key: item.render(rendering) for key, item in self.items}


def render(template: "Template", scope: Scope, values: Values = NO_VALUES, *, most: int = MAX_RENDERED) -> JSON:
    """The value of a template.

    Args:
        values: What each of the template's `codes_of` came to.
        most: Size that the values may come to together, as `left_after` counts it.

    Raises:
        ExpressionFailed: If an expression in it has no value.
        TooMuchFilledIn: If the values come to more than ``most``.
    """
    return template.render(Rendering(scope, values, most))


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
