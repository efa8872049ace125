"""Each comparison of n8n's conditions, as JavaScript that is evaluated: it is true where n8n's is."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from flowrunner.cli.importing.n8n_expressions import _BINARY, _METHODS, N8nExpressions
from support.node import run_command

Comparison: TypeAlias = Callable[[Any, Any], bool]

# Values that tell each comparison from every other one.
PAIRS: Final = (
    (1, 1), (1, 2), (2, 1), ("a", "a"), ("a", "b"), ("b", "a"), ("ab", "a"), ("ab", "b"), ("ab", "c"),
    ("abc", "b"), ("", ""),
)  # fmt: skip
SINGLE: Final[Sequence[Any]] = (None, True, False, "", "a", [], [1])


MEANING: Final[Mapping[str, Comparison]] = {
    **dict.fromkeys(("equal", "equals"), lambda a, b: a == b),
    **dict.fromkeys(("notEqual", "notEquals"), lambda a, b: a != b),
    **dict.fromkeys(("larger", "gt", "after"), lambda a, b: a > b),
    **dict.fromkeys(("largerEqual", "gte", "afterOrEquals"), lambda a, b: a >= b),
    **dict.fromkeys(("smaller", "lt", "before"), lambda a, b: a < b),
    **dict.fromkeys(("smallerEqual", "lte", "beforeOrEquals"), lambda a, b: a <= b),
    "contains": lambda a, b: b in a,
    "notContains": lambda a, b: b not in a,
    "startsWith": lambda a, b: a.startswith(b),
    "notStartsWith": lambda a, b: not a.startswith(b),
    "endsWith": lambda a, b: a.endswith(b),
    "notEndsWith": lambda a, b: not a.endswith(b),
    "regex": lambda a, b: re.search(b, a) is not None,
}
MEANING_OF_ONE: Final[Mapping[str, Callable[[Any], bool]]] = {
    "exists": lambda a: a is not None,
    "notExists": lambda a: a is None,
    "true": lambda a: a is True,
    "false": lambda a: a is False,
    **dict.fromkeys(("isEmpty", "empty"), lambda a: a in (None, "", [])),
    **dict.fromkeys(("isNotEmpty", "notEmpty"), lambda a: a not in (None, "", [])),
}
ONLY_TEXTS: Final = frozenset((*_METHODS, "regex"))


def forms(operation: str, left: Any, right: Any) -> list[str]:
    """Return the JavaScript of a comparison in both forms of the node."""
    notes: list[str] = []
    kind = "number" if isinstance(left, int) and not isinstance(left, bool) else "string"
    modern = {"leftValue": left, "rightValue": right, "operator": {"operation": operation, "type": kind}}
    older = {"value1": left, "value2": right, "operation": operation}
    expressions = N8nExpressions({}, notes.append)
    made = [expressions.condition(each, None) for each in ({"conditions": [modern]}, {kind: [older]})]
    assert notes == []
    return made


def test_each_comparison_is_true_where_that_of_n8n_is(tmp_path: Path) -> None:
    assert MEANING.keys() == {*_BINARY, *_METHODS, "regex"}
    cases: list[tuple[str, Any, Any, bool]] = [
        (operation, left, right, compare(left, right))
        for operation, compare in MEANING.items()
        for left, right in PAIRS
        if isinstance(left, str) or operation not in ONLY_TEXTS
    ]
    cases += [(operation, one, "", compare(one)) for operation, compare in MEANING_OF_ONE.items() for one in SINGLE]
    codes = [(code, case) for case in cases for code in forms(*case[:3])]

    script = f"console.log(JSON.stringify([{', '.join(code for code, _ in codes)}]))"
    found = json.loads(run_command(tmp_path, "node", "-e", script))

    assert [(code, case) for (code, case), one in zip(codes, found, strict=True) if one is not case[3]] == []
