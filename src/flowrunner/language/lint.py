"""What can be evaluated, and is hardly meant."""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from flowrunner.domain.expression import Code
from flowrunner.domain.expression.javascript_lint import Change, assignment, lost_changes, returns

_MOST_SHOWN: Final = 80
_VARIABLES: Final = "vars"
# How expressions are written elsewhere: `{{ input.id }}`.
_OTHER_BRACES: Final = re.compile(r"(?<!\$)\{\{([^{}]{1,300})\}\}")
_BEGINS_WITH: Final = re.compile(r"[\w$]+")
# `$input.id`, `#{input.id}`, `%{input.id}`, `$(input.id)`, `$[input.id]`, `<%= input.id %>`, `{input.id}`.
_PATH: Final = r"[A-Za-z_]\w*(?:\.\w+|\[\w+\])+"
_OTHER_MARKS: Final = re.compile(
    rf"(?<![\w$])\$({_PATH})|[#%@]\{{\s*({_PATH})\s*\}}|\$\(\s*({_PATH})\s*\)|\$\[\s*({_PATH})\s*\]"
    rf"|<%=?\s*({_PATH})\s*%>|(?<![\w$#%@{{])\{{\s*({_PATH})\s*\}}"
)
_FIRST_NAME: Final = re.compile(r"\w+")


class Doubt(NamedTuple):
    """Attributes: line: Line of the code that is meant, from 1; None for all of it."""

    code: str
    message: str
    hint: str
    line: int | None = None


def doubts_of_code(code: Code, names: Collection[str], *, gives: bool) -> Iterator[Doubt]:
    """Yield what there is to say of JavaScript that means something else than it looks like.

    Args:
        names: What it is given.
        gives: Somebody waits for what it returns, if it is a script.
    """
    if code.script.is_body:
        if gives and not returns(code.text):
            yield Doubt("script.result", "the script returns nothing: it gives null", "write: return …")
    elif (at := assignment(code.text)) is not None:
        compared = " ".join(f"{code.text[:at].rstrip()} === {code.text[at + 1 :].lstrip()}".split())
        yield Doubt(
            "expression.assignment",
            f"'{_shortened(code.text)}' is an assignment, not a comparison, and has no effect",
            f"write {compared}" if len(compared) <= _MOST_SHOWN else "write === to compare",
        )
        return
    for change in lost_changes(code.text, names, kept=_VARIABLES):
        yield _doubt_of_change(code, change)


def _doubt_of_change(code: Code, change: Change) -> Doubt:
    line = code.text.count("\n", 0, change.start) + 1 if code.script.is_body else None
    shown = _shortened(f"{change.text} …" if change.text.endswith("=") else change.text)
    if change.root == _VARIABLES:
        name = change.keys[0] if change.keys else "name"
        hint = f"set it with a node of type set: params: {{{name}: …}}"
        return Doubt("script.change", f"'{shown}' changes a copy: the flow's variables stay as they are", hint, line)
    hint = f"return the new value: {change.root} is a copy, which ends with the script"
    return Doubt("script.change", f"'{shown}' has no effect: nothing reads {change.root} afterwards", hint, line)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"


def doubt_of_text(text: str, names: Collection[str]) -> Doubt | None:
    """Return what there is to say of text that holds what elsewhere is an expression.

    Args:
        names: What expressions may start from.
    """
    found = next(filter(_is_expression, _OTHER_BRACES.finditer(text)), None)
    meant = None
    if found is not None:
        child_scopes = found[1].strip()
        meant = child_scopes if _BEGINS_WITH.match(child_scopes)[0] in names else "input.x"  # type: ignore[index] # see _is_expression
    else:
        for candidate in _OTHER_MARKS.finditer(text):
            child_scopes = next(group for group in candidate.groups() if group is not None)
            if _FIRST_NAME.match(child_scopes)[0] in names:  # type: ignore[index] # a name is what it begins with
                found, meant = candidate, child_scopes
                break
    if found is None or meant is None:
        return None
    return Doubt(
        "expression.braces",
        f"'{found[0][:_MOST_SHOWN]}' stays as it is: expressions stand between ${{ and }}",
        f"write ${{{meant.strip()[:_MOST_SHOWN]}}}",
    )


def _is_expression(braces: re.Match[str]) -> bool:
    child_scopes = braces[1].strip()
    return "\n" not in child_scopes and _BEGINS_WITH.match(child_scopes) is not None


def doubt_of_key(key: str) -> Doubt | None:
    """Return what there is to say of a key that holds an expression."""
    if "${" not in key.replace("$${", ""):
        return None
    child_scopes = key[2:-1] if key.startswith("${") and key.endswith("}") else "name"
    return Doubt(
        "expression.key",
        f"'{key[:_MOST_SHOWN]}' stays as it is: expressions are evaluated in values, and not in keys",
        f'make the map by an expression: "${{({{[{child_scopes[:_MOST_SHOWN]}]: 1}})}}"',
    )
