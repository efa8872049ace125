"""Expressions and conditions of n8n as those of a flow."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from flowrunner.cli.importing.documents import Note, as_map, literal, maps_in
from flowrunner.domain.expression.javascript import Unclosed, defined_names, pairs_of, tokens_of

_BRACES: Final = re.compile(r"{{(.*?)}}", re.DOTALL)
# `$node["Name"].json`, `$('Name').item.json`, `$('Name').first().json`
_OTHER: Final = re.compile(
    r"""\$(?:node\[(?P<a>["'])(?P<name>.*?)(?P=a)\]|\((?P<b>["'])(?P<called>.*?)(?P=b)\))"""
    r"""(?:\.item|\.first\(\)|\.last\(\)|\.all\(\)\[0\])?\.json"""
)
# What `$now` and `$today` are has methods in n8n that a Date of JavaScript does not have.
_MOMENT: Final = re.compile(r"\$(now|today)\s*\??\.")
_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_UNKNOWN: Final = re.compile(r"\$[A-Za-z_]\w*")
_DEEPEST: Final = 50
# The comparison and the values of a new condition of the first versions, by the type of the values.
_AT_FIRST: Final[Mapping[str, tuple[str, Any]]] = {
    "number": ("smaller", 0), "boolean": ("equal", False), "dateTime": ("after", ""),
}  # fmt: skip
_BINARY: Final = {
    "equal": "===", "equals": "===", "notEqual": "!==", "notEquals": "!==", "larger": ">", "gt": ">", "after": ">",
    "largerEqual": ">=", "gte": ">=", "afterOrEquals": ">=", "smaller": "<", "lt": "<", "before": "<",
    "smallerEqual": "<=", "lte": "<=", "beforeOrEquals": "<=",
}  # fmt: skip
_METHODS: Final = {
    "contains": "includes", "startsWith": "startsWith", "endsWith": "endsWith", "notContains": "!includes",
    "notStartsWith": "!startsWith", "notEndsWith": "!endsWith",
}  # fmt: skip


class N8nExpressions:
    """The expressions and conditions of a workflow.

    Args:
        ids: The nodes of the flow by the titles of those of the workflow.
    """

    def __init__(self, ids: Mapping[str, str], note: Note) -> None:
        self._ids = ids
        self._note = note

    def value(self, found: Any, depth: int = 0) -> Any:
        """Return a value of a parameter. Text that begins with `=` has expressions in it."""
        if depth > _DEEPEST:
            self._note("a parameter is nested too deeply, and is left out")
            return None
        if isinstance(found, Mapping):
            return {literal(str(name)): self.value(part, depth + 1) for name, part in found.items()}
        if isinstance(found, list):
            return [self.value(part, depth + 1) for part in found]
        if not isinstance(found, str):
            return found
        if not found.startswith("="):
            return literal(found)
        parts = _BRACES.split(found[1:])
        # Every second part was between braces.
        return "".join(
            f"${{{self._javascript(part)}}}" if number % 2 else literal(part) for number, part in enumerate(parts)
        )

    def operand(self, found: Any, depth: int = 0) -> str:
        """Return what `value` returns, as JavaScript."""
        if depth > _DEEPEST:
            self._note("a parameter is nested too deeply, and is left out")
            return "null"
        if isinstance(found, Mapping):
            members = (f"{json.dumps(str(name))}: {self.operand(part, depth + 1)}" for name, part in found.items())
            return f"{{{', '.join(members)}}}"
        if isinstance(found, list):
            return f"[{', '.join(self.operand(part, depth + 1) for part in found)}]"
        if not isinstance(found, str) or not found.startswith("="):
            return json.dumps(found, ensure_ascii=False)
        parts = _BRACES.split(found[1:])
        codes = [
            f"({self._javascript(part)})" if number % 2 else json.dumps(part, ensure_ascii=False)
            for number, part in enumerate(parts)
        ]
        kept = [code for code in codes if code != '""']
        if len(kept) == 1 and kept[0].startswith("(") and re.fullmatch(r"\([\w.]+\)", kept[0]):
            return kept[0][1:-1]
        return " + ".join(kept) if len(kept) == 1 else f"({' + '.join(codes)})"

    def _javascript(self, code: str) -> str:
        """Return an expression with the names that flows have."""

        def other(match: re.Match[str]) -> str:
            title = match["name"] or match["called"] or ""
            if title not in self._ids:
                # A trigger, whose data are the input of the flow.
                return "flow.input"
            return f"nodes.{self._ids[title]}.result"

        if (moment := _MOMENT.search(code)) is not None:
            self._note(f"the expression '{code.strip()[:80]}' calls a method of ${moment[1]}, which is a Date here")
        made = with_values(_OTHER.sub(other, code.strip()))
        made = re.sub(r"\$(?:json|input\.item\.json|input\.first\(\)\.json)\b", "input", made)
        made = re.sub(r"\$now\b", "new Date()", made)
        made = re.sub(r"\$today\b", "new Date(new Date().setHours(0, 0, 0, 0))", made)
        unknown = sorted(set(_UNKNOWN.findall(made)))
        if unknown:
            self._note(f"the expression '{code.strip()[:80]}' has {', '.join(unknown)}, which flows do not know")
        return made

    def condition(self, conditions: Any, combine: Any) -> str:
        """Return the JavaScript of conditions, in the form of any version of the node."""
        conditions = as_map(conditions)
        listed = conditions.get("conditions")
        if isinstance(listed, list):
            joined = " || " if conditions.get("combinator") == "or" else " && "
            tests = [self._modern(one) for one in maps_in(listed)]
        else:
            joined = " || " if combine == "any" else " && "
            tests = [self._older(one, kind) for kind, group in conditions.items() for one in maps_in(group)]
        if not tests:
            self._note("a condition could not be read: it is false")
            return "false"
        return joined.join(tests)

    def _older(self, one: Mapping[str, Any], kind: str) -> str:
        # n8n leaves out what is as it is at first.
        operation, blank = _AT_FIRST.get(kind, ("equal", ""))
        left, right = (typed(one.get(name, blank), kind) for name in ("value1", "value2"))
        return self._test(str(one.get("operation", operation)), left, right)

    def _modern(self, one: Mapping[str, Any]) -> str:
        operator = as_map(one.get("operator"))
        name, kind = str(operator.get("operation", "equals")), operator.get("type")
        return self._test(name, typed(one.get("leftValue"), kind), typed(one.get("rightValue"), kind))

    def _test(self, operation: str, left: Any, right: Any) -> str:
        a, b = self.operand(left), self.operand(right)
        if operation in _BINARY:
            return f"{a} {_BINARY[operation]} {b}"
        if operation in _METHODS:
            name = _METHODS[operation]
            return f"{'!' if name.startswith('!') else ''}({a}).{name.lstrip('!')}({b})"
        match operation:
            case "exists":
                return f"{a} != null"
            case "notExists":
                return f"{a} == null"
            case "true":
                return f"{a} === true"
            case "false":
                return f"{a} === false"
            case "isEmpty" | "empty":
                return f"({a} == null || {a}.length === 0)"
            case "isNotEmpty" | "notEmpty":
                return f"({a} != null && {a}.length !== 0)"
            case "regex":
                return f"new RegExp({b}).test({a})"
            case _:
                self._note(f"the comparison '{operation}' has no counterpart: it is false")
                return "false"


def typed(found: Any, kind: Any) -> Any:
    """Return a value of a parameter whose type n8n names: it may write a number or a boolean as text."""
    if not isinstance(found, str):
        return found
    text = found.strip()
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text == "true" if kind == "boolean" and text in ("true", "false") else found


def with_values(code: str) -> str:
    """Return JavaScript in which the variables of n8n are configuration values, unless it has its own `config`."""
    return code if _defines_config(code) else re.sub(r"\$vars\.(?=[A-Za-z_])", "config.", code)


def _defines_config(code: str) -> bool:
    if "$vars" not in code or "config" not in code:
        return False
    try:
        tokens = tokens_of(code)
        return "config" in defined_names(tokens, pairs_of(tokens))
    except Unclosed:
        return False
