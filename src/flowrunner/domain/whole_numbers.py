"""Whole numbers that clients, flows and operators write as text.

`int` also reads `1_0`, `+5`, ` 5` and the digits of other scripts, and fails at thousands of digits.
"""

import re
from typing import Final

_WHOLE: Final = re.compile(r"-?[0-9]+")
_MOST_DIGITS: Final = 18


def is_whole_number(text: str) -> bool:
    """Return whether a text is made of ASCII digits, with a minus before them if the number is negative."""
    return _WHOLE.fullmatch(text) is not None


def natural_number_of(text: str, most_digits: int = _MOST_DIGITS) -> int | None:
    """Return the number that a text of ASCII digits is; None for another text, or one with more digits."""
    return int(text) if len(text) <= most_digits and text.isascii() and text.isdigit() else None
