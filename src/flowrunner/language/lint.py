"""Warnings about code that can be evaluated but is probably a mistake."""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from flowrunner.domain.expression import Code
from flowrunner.domain.expression.javascript_lint import Change, assignment, lost_changes, read_before_defined, returns

_MOST_SHOWN: Final = 80
_VARIABLES: Final = "vars"
# Expressions of other systems: `{{ input.id }}`.
_OTHER_BRACES: Final = re.compile(r"(?<!\$)\{\{([^{}]{1,300})\}\}")
_BEGINS_WITH: Final = re.compile(r"[\w$]+")
# `$input.id`, `#{input.id}`, `%{input.id}`, `$(input.id)`, `$[input.id]`, `<%= input.id %>`, `{input.id}`.
_PATH: Final = r"[A-Za-z_]\w*(?:\.\w+|\[\w+\])+"
_OTHER_MARKS: Final = re.compile(
    rf"(?<![\w$])\$({_PATH})|[#%@]\{{\s*({_PATH})\s*\}}|\$\(\s*({_PATH})\s*\)|\$\[\s*({_PATH})\s*\]"
    rf"|<%=?\s*({_PATH})\s*%>|(?<![\w$#%@{{])\{{\s*({_PATH})\s*\}}"
)
# A cheap check that runs before the expensive one.
_MAY_READ_CONFIG: Final = re.compile(r"\bconfig\s*(?:\?\.|\.|\[)")
_FIRST_NAME: Final = re.compile(r"\w+")
# What is suggested for a path of another system: the first one whose name the place has. Most have several.
_EXAMPLES: Final = ("input.x", "flow.input.x", "trigger.body.x")
_VARIABLE: Final = re.compile(r"\s*vars\.(\w{1,80})\s*")


class LintWarning(NamedTuple):
    """Warning about a piece of code.

    Attributes:
        line: Line in the code, from 1; None for the whole code.
    """

    code: str
    message: str
    hint: str
    line: int | None = None


def lint_code(code: Code, names: Collection[str], *, is_result_used: bool) -> Iterator[LintWarning]:
    """Yield warnings about JavaScript that does something else than it appears to do.

    Args:
        names: Names that the code can read.
        is_result_used: The return value of a script is used.
    """
    if code.script.is_body:
        if is_result_used and not returns(code.text):
            yield LintWarning("script.result", "the script returns nothing, so its result is null", "write: return …")
    elif (at := assignment(code.text)) is not None:
        compared = " ".join(f"{code.text[:at].rstrip()} === {code.text[at + 1 :].lstrip()}".split())
        hint = f"write {compared}" if len(compared) <= _MOST_SHOWN else "write === to compare"
        # The script of a condition is not its text. Outside of one, the value may have been meant for the variable.
        if code.script.source == code.text and (variable := _VARIABLE.fullmatch(code.text[:at])):
            hint += f", or set the variable with a node of type set: params: {{{variable[1]}: …}}"
        yield LintWarning(
            "expression.assignment",
            f"'{_shortened(code.text)}' is an assignment, not a comparison, and has no effect",
            hint,
        )
        return
    if "config" in names and _MAY_READ_CONFIG.search(code.text) and (value := read_before_defined(code.text, "config")):
        yield LintWarning(
            "script.config",
            f"the script has a variable 'config' of its own, so 'config.{value}' is no configuration value",
            "rename the variable, if the configuration value is meant",
        )
    for change in lost_changes(code.text, names, kept=_VARIABLES):
        yield _lint_change(code, change)


def _lint_change(code: Code, change: Change) -> LintWarning:
    line = code.text.count("\n", 0, change.start) + 1 if code.script.is_body else None
    shown = _shortened(f"{change.text} …" if change.text.endswith("=") else change.text)
    if change.root == _VARIABLES:
        name = change.keys[0] if change.keys else "name"
        hint = f"set it with a node of type set: params: {{{name}: …}}"
        return LintWarning(
            "script.change", f"'{shown}' changes a copy: the flow's variables stay as they are", hint, line
        )
    hint = f"return the new value: {change.root} is a copy, which ends with the script"
    return LintWarning("script.change", f"'{shown}' has no effect: nothing reads {change.root} afterwards", hint, line)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[: _MOST_SHOWN - 1]}…"


def lint_text(text: str, names: Collection[str]) -> LintWarning | None:
    """Return a warning about text with an expression in the notation of another system.

    Args:
        names: Names that expressions can start from.
    """
    if not any(mark in text for mark in ("{", "$", "<%")):
        return None
    found = next(filter(_is_expression, _OTHER_BRACES.finditer(text)), None)
    meant = None
    if found is not None:
        inner = found[1].strip()
        example = next((path for path in _EXAMPLES if path.partition(".")[0] in names), _EXAMPLES[0])
        meant = inner if _BEGINS_WITH.match(inner)[0] in names else example  # type: ignore[index] # see _is_expression
    else:
        for candidate in _OTHER_MARKS.finditer(text):
            inner = next(group for group in candidate.groups() if group is not None)
            if _FIRST_NAME.match(inner)[0] in names:  # type: ignore[index] # it begins with a name
                found, meant = candidate, inner
                break
    if found is None or meant is None:
        return None
    return LintWarning(
        "expression.braces",
        f"'{found[0][:_MOST_SHOWN]}' stays as it is: expressions are written between ${{ and }}",
        f"write ${{{meant.strip()[:_MOST_SHOWN]}}}",
    )


def _is_expression(braces: re.Match[str]) -> bool:
    inner = braces[1].strip()
    return "\n" not in inner and _BEGINS_WITH.match(inner) is not None


def lint_key(key: str) -> LintWarning | None:
    """Return a warning about a key that holds an expression."""
    if "${" not in key.replace("$${", ""):
        return None
    inner = key[2:-1] if key.startswith("${") and key.endswith("}") else "name"
    return LintWarning(
        "expression.key",
        f"'{key[:_MOST_SHOWN]}' stays as it is: expressions are evaluated in values, and not in keys",
        f'make the map by an expression: "${{({{[{inner[:_MOST_SHOWN]}]: 1}})}}"',
    )
