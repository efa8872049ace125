"""What can be evaluated, and is hardly meant."""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from flowrunner.domain.expression import Code
from flowrunner.domain.javascript_lint import Change, assignment, lost_changes, returns

_MOST_SHOWN: Final = 80
_VARIABLES: Final = "vars"
# How expressions are written elsewhere: `{{ input.id }}`.
_OTHER_BRACES: Final = re.compile(r"(?<!\$)\{\{\s*(([\w$]+)[^{}\n]{0,200}?)\s*\}\}")


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
    shown = _shortened(change.text)
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
    """What there is to say of text that holds what elsewhere is an expression; ``names`` are those of expressions."""
    found = _OTHER_BRACES.search(text)
    if found is None:
        return None
    meant = found[1] if found[2] in names else "input.x"
    return Doubt(
        "expression.braces",
        f"'{found[0][:_MOST_SHOWN]}' stays as it is: expressions stand between ${{ and }}",
        f"write ${{{meant[:_MOST_SHOWN]}}}",
    )
