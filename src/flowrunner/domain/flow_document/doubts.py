"""What can be evaluated, and is hardly meant."""

import re
from collections.abc import Collection
from typing import Final, NamedTuple

from flowrunner.domain.expression import Code, shown
from flowrunner.domain.javascript import assignment, returns

_MOST_SHOWN: Final = 80
# How expressions are written elsewhere: `{{ input.id }}`.
_OTHER_BRACES: Final = re.compile(r"(?<!\$)\{\{\s*(([\w$]+)[^{}\n]{0,200}?)\s*\}\}")


class Doubt(NamedTuple):
    code: str
    message: str
    hint: str


def doubt_of_code(code: Code) -> Doubt | None:
    """What there is to say of JavaScript that means something else than it looks like."""
    if code.script.is_body:
        if returns(code.text):
            return None
        return Doubt("script.result", "the script returns nothing: it gives null", "write: return …")
    at = assignment(code.text)
    if at is None:
        return None
    compared = " ".join(f"{code.text[:at].rstrip()} === {code.text[at + 1 :].lstrip()}".split())
    return Doubt(
        "expression.assignment",
        f"'{shown(code.text)}' does not compare, but assigns, and nobody sees that",
        f"write {compared}" if len(compared) <= _MOST_SHOWN else "write === to compare",
    )


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
