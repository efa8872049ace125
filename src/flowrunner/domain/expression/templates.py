"""Templates and their rendering."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.domain.expression.javascript import Reference
from flowrunner.domain.expression.javascript_values import is_true, json_text, own_property
from flowrunner.domain.expression.script import Script, ScriptOutcome
from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.values import JSON, MOST_LEVELS, NestedTooDeep, left_after

Scope: TypeAlias = Mapping[str, JSON]

# Larger than a result may be, so that a result that is too large gets its own error.
MAX_RENDERED: Final = 4 * 1024 * 1024


class ExpressionFailed(FlowRunnerError):
    """An expression could not be evaluated; the message names it.

    ``type`` is the node's error type: `expression`, or `script` for a whole script.
    """

    def __init__(self, message: str, *, type: str = "expression") -> None:
        super().__init__(message)
        self.type = type


class TooMuchFilledIn(ExpressionFailed):
    """The values of a template's expressions exceed the size of a rendering, ``most``."""

    def __init__(self, source: str | None, most: int) -> None:
        at = "" if source is None else f", reached at {shown(source)}"
        total = f"The values of the expressions have more than {most} characters together"
        super().__init__(f"{total}{at}: use only the parts that are needed")


@dataclass(slots=True)
class Rendering:
    """The scope, the values and the remaining size of one rendering.

    Attributes:
        most: Maximum size of the values, as `left_after` counts it.
        left: What remains of it. A value that does not fit is not copied, so time and memory do not depend on how
            often a short template names a long value.
    """

    scope: Scope
    values: "Values"
    most: int
    left: int
    _utf16: dict[str, bytes] | None = None

    def utf16(self, text: str) -> bytes:
        """Return the encoded text from a cache."""
        if self._utf16 is None:
            self._utf16 = {}
        if text not in self._utf16:
            self.spend(text)
            self._utf16[text] = text.encode("utf-16-le")
        return self._utf16[text]

    def spend(self, value: JSON, source: str | None = None) -> None:
        """Subtract the value of the expression ``source``.

        Raises:
            TooMuchFilledIn: No more is visited than is left.
            ExpressionFailed: If the value is nested so deep that what contains it might not be read again.
        """
        try:
            self.left = left_after(value, self.left, bounds_levels=True)
        except NestedTooDeep:
            at = "The value of an expression" if source is None else shown(source)
            raise ExpressionFailed(f"{at} has lists and objects of more than {MOST_LEVELS} levels") from None
        if self.left < 0:
            raise TooMuchFilledIn(source, self.most)


@dataclass(frozen=True, slots=True)
class Path:
    """A plain path: a name, and the keys read from it."""

    text: str
    root: str
    keys: tuple[str | int, ...]

    def evaluate(self, rendering: Rendering) -> JSON:
        """Return the value at this path; None if JavaScript would return `null` or `undefined`.

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


@static_dataclass(frozen=True, slots=True)
class CodePlace:
    """The place of a piece of code in its document: dotted path, line and column from 1.

    Attributes:
        block_line: Line in which the code begins, if it is the text of a literal block.
    """

    path: str
    line: int
    column: int
    block_line: int | None = None

    def of_line(self, line: int | None) -> "CodePlace":
        """Return the place of a line of the code, counted from 1, as far as it is known."""
        if self.block_line is None or line is None:
            return self
        return CodePlace(self.path, self.block_line + line - 1, 1)

    def __str__(self) -> str:
        return f"{self.path} (line {self.line})"


NOWHERE: Final = CodePlace("", 0, 0)


@dataclass(frozen=True, slots=True)
class Code:
    """An expression for the sandbox, or a whole script if ``script.is_body``.

    Attributes:
        place: Its place in the document, for messages.
        references: The names that it reads from its scope.
    """

    text: str
    script: Script
    place: CodePlace
    references: tuple[Reference, ...]

    def evaluate(self, rendering: Rendering) -> JSON:
        """Return the sandbox's value for it. Raises: ExpressionFailed if there is none."""
        value = rendering.values[self]
        if isinstance(value, ExpressionFailed):
            raise value
        return value


Expression: TypeAlias = Path | Literal | Code

# The outcome of each piece of code in the sandbox.
Values: TypeAlias = Mapping[Code, "JSON | ExpressionFailed"]
NO_VALUES: Final[Values] = {}


@dataclass(frozen=True, slots=True)
class Constant:
    value: JSON

    def render(self, rendering: Rendering) -> JSON:
        # Its size is bounded when the document is read.
        return self.value


@dataclass(frozen=True, slots=True)
class Value:
    """A string that is a single expression and keeps the type of its value."""

    expression: Expression

    def render(self, rendering: Rendering) -> JSON:
        value = self.expression.evaluate(rendering)
        rendering.spend(value, self.expression.text)
        return value


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression whose truthiness is needed, possibly not at all.

    It renders to true or false, or to its `ExpressionFailed` without raising it: a case after the first true one may
    fail without consequences.
    """

    expression: Expression

    def render(self, rendering: Rendering) -> JSON:
        try:
            return is_true(self.expression.evaluate(rendering))
        except TooMuchFilledIn:
            raise
        except ExpressionFailed as error:
            return error  # type: ignore[return-value] # the node type raises it if it needs the value


@dataclass(frozen=True, slots=True)
class Text:
    """Text with expressions, whose values are converted to text."""

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
            # The text of numbers and escaped characters may be longer than the value's counted size.
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
    """Return the value of a template.

    Args:
        values: The outcome of each of the template's `codes_of`.
        most: Maximum size of the values together, as `left_after` counts it.

    Raises:
        ExpressionFailed: If an expression in it has no value.
        TooMuchFilledIn: If the values are larger than ``most``.
    """
    return template.render(Rendering(scope, values, most, most))


Template: TypeAlias = Constant | Value | Condition | Text | ListOf | MapOf


def _as_text(source: str, value: JSON) -> str:
    match value:
        case None:
            raise ExpressionFailed(f"{shown(source)} has no value here, so it cannot be part of a text")
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case _:
            return json_text(value)


def shown(source: str) -> str:
    """Return an expression to quote in a message, shortened if it is long."""
    line = " ".join(source.split())
    return f"${{{line}}}" if len(line) <= 80 else f"${{{line[:77]}…}}"


def expressions_of(template: Template) -> Iterator[Expression]:
    """Yield every expression in a template."""
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
    """Return the code that the sandbox has to evaluate before the templates can be rendered."""
    return tuple(dict.fromkeys(e for t in templates for e in expressions_of(t) if isinstance(e, Code)))


def value_of(code: Code, outcome: ScriptOutcome) -> "JSON | ExpressionFailed":
    """Return the value of a piece of code for its templates, or its error."""
    error = outcome.error
    if error is None:
        return outcome.value
    if code.script.is_body:
        line = "" if error.line is None else f", line {error.line} of it"
        return ExpressionFailed(f"The script at {code.place}{line}: {error.message}", type="script")
    return ExpressionFailed(f"{shown(code.text)} at {code.place}: {error.message}")
