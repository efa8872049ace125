"""Time budget for the schemas of one document, or of one request."""

import re
from dataclasses import dataclass, field
from typing import Final

from flowrunner.domain.values import JSON
from flowrunner.language.json_schema import InvalidPattern, Matcher, SchemaEngine

# The longest that the schemas and values of one request may hold up all others.
MAX_NANOSECONDS: Final = 100e6
MAX_PATTERNS: Final = 100
# Compiling the patterns of a document, which is done outside the event loop.
_MAX_PREPARING: Final = 200e6

# Worst measured times, with the four sizes that are tried for a pattern. A class such as `\s` is compared with each
# earlier one, and a case-insensitive range visits every character in it.
_PER_PATTERN: Final = 0.2e6
_PER_CHARACTER: Final = 4e3
_PER_PAIR_OF_CLASSES: Final = 10e3
_PER_CHARACTER_WITHOUT_CASE: Final = 15.0
# A pattern that is too large is tried with all four sizes.
_PER_REJECTED_PATTERN: Final = 10e6
_CLASS: Final = re.compile(r"\\[dDsSwW]")
_RANGE: Final = re.compile(r"(\\?)([^\\])-(\\?)(.)", re.DOTALL)
_OF_UNICODE: Final = 0x110000
# Characters in a class such as `\pL`.
_ESCAPED_CLASS: Final = 60_000
_WITHOUT_CASE: Final = re.compile(r"\(\?[a-zA-Z]*i")


@dataclass(slots=True)
class SchemaBudget:
    """Schema engine with the time budget of one document or request. Implements `json_schema.SchemaEngine`."""

    engine: SchemaEngine
    _comparing: float = MAX_NANOSECONDS
    _preparing: float = _MAX_PREPARING
    _costs: dict[str, float | InvalidPattern] = field(default_factory=dict)

    def spend(self, nanoseconds: float) -> bool:
        """Take time for comparing values; return False if not enough is left."""
        if nanoseconds > self._comparing:
            return False
        self._comparing -= nanoseconds
        return True

    def pattern_cost(self, pattern: str) -> float:
        if pattern not in self._costs:
            if len(self._costs) >= MAX_PATTERNS:
                raise InvalidPattern(f"the schemas of a flow have at most {MAX_PATTERNS} different patterns")
            self._costs[pattern] = self._measure(pattern)
        cost = self._costs[pattern]
        if isinstance(cost, InvalidPattern):
            raise cost
        return cost

    def matcher(self, schema: JSON) -> Matcher:
        return self.engine.matcher(schema)

    def _measure(self, pattern: str) -> float | InvalidPattern:
        self._preparing -= _preparing_cost(pattern)
        if self._preparing < 0:
            return InvalidPattern("it takes too long to prepare, with those before it: use fewer classes such as \\s")
        try:
            return self.engine.pattern_cost(pattern)
        except InvalidPattern as error:
            self._preparing -= _PER_REJECTED_PATTERN
            return error


def _preparing_cost(pattern: str) -> float:
    """Return an upper bound of the nanoseconds that a pattern takes to compile."""
    classes = len(_CLASS.findall(pattern))
    visited = 0
    if _WITHOUT_CASE.search(pattern):
        visited = pattern.count("\\") * _ESCAPED_CLASS + sum(map(_width, _RANGE.finditer(pattern)))
    return (
        _PER_PATTERN
        + len(pattern) * _PER_CHARACTER
        + classes * classes * _PER_PAIR_OF_CLASSES
        + visited * _PER_CHARACTER_WITHOUT_CASE
    )


def _width(found: re.Match[str]) -> int:
    """Return an upper bound of the characters in a range of a pattern."""
    is_escaped, first, is_last_escaped, last = found.groups()
    return _OF_UNICODE if is_escaped or is_last_escaped else max(0, ord(last) - ord(first))
