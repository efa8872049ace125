"""JavaScript as flows write it, and what came of it."""

from dataclasses import dataclass

from flowrunner.domain.values import JSON


@dataclass(frozen=True, slots=True)
class Script:
    """A piece of JavaScript.

    Attributes:
        source: An expression, or with ``is_body`` the body of a function, whose `return` is its value.
    """

    source: str
    is_body: bool = False


@dataclass(frozen=True, slots=True)
class ScriptFault:
    """What the JavaScript engine says of a script.

    Attributes:
        message: As JavaScript words it: `TypeError: cannot read property 'id' of undefined`.
        line: Line within the source, from 1; None where it is not known.
        limit: Which bound it went over (`time`, `memory`, `output`), if one.
    """

    message: str
    line: int | None = None
    column: int | None = None
    limit: str | None = None


@dataclass(frozen=True, slots=True)
class ScriptOutcome:
    """What a script came to.

    Attributes:
        value: Its value as JSON; None for `null` and `undefined` alike.
        fault: Why there is no value, if so.
        lines: What it wrote with `console`: level and text.
    """

    value: JSON = None
    fault: ScriptFault | None = None
    lines: tuple[tuple[str, str], ...] = ()
