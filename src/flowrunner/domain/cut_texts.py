"""Beginnings of texts that are cut before secrets are hidden: a part of a secret would not be found in them.

Of a secret with blanks, the words before the cut remain.
"""

from typing import Final

# Characters: no secret has more.
_LONGEST_WORD: Final = 8 * 1024


def beginning(text: str, most: int) -> str:
    """Return a text, or if it is longer its first ``most`` characters without the word that ends there."""
    return text if len(text) <= most else without_last_word(text[:most])


def without_last_word(text: str) -> str:
    """Return a text that was cut, without its last word, or as much of its end as may be one secret."""
    begin = max(0, len(text) - _LONGEST_WORD)
    end = max(text.rfind(blank, begin) for blank in " \t\n")
    return text[: max(end, begin)]
