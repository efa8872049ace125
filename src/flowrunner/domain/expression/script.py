"""Scripts in flows, and their outcomes."""

from dataclasses import dataclass

from flowrunner.domain.values import JSON


@dataclass(frozen=True, slots=True)
class Script:
    """A piece of JavaScript.

    Attributes:
        source: An expression; with ``is_body``, the body of a function that returns the value.
    """

    source: str
    is_body: bool = False


@dataclass(frozen=True, slots=True)
class ScriptError:
    """An error of the JavaScript engine for a script.

    Attributes:
        message: The engine's message: `TypeError: cannot read property 'id' of undefined`.
        line: Line within the source, from 1; None if unknown.
        limit: The exceeded limit (`time`, `memory`, `output`), if any.
    """

    message: str
    line: int | None = None
    column: int | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """The outcome of a script.

    Attributes:
        value: Its value as JSON; None for both `null` and `undefined`.
        error: The error, if there is no value.
        lines: Level and text of each line written with `console`.
        has_drawn: It has drawn a random number. Known only of an evaluation at a fixed moment.
    """

    value: JSON = None
    error: ScriptError | None = None
    lines: tuple[tuple[str, str], ...] = ()
    has_drawn: bool = False
