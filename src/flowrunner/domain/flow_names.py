"""Names of flows: one form for each, and characters that no new name has."""

import unicodedata
from collections.abc import Sequence
from typing import Final

# Marks, embeddings, overrides and isolates (Unicode Standard Annex 9).
_DIRECTIONS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Letters and a sign that look like nothing: Hangul fillers, and the blank of Braille.
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")


def composed(name: str) -> str:
    """Return a name in the form in which it is saved: `ü` is one character (NFC), as most keyboards write it."""
    return unicodedata.normalize("NFC", name)


def forms_of(name: str) -> Sequence[str]:
    """Return the forms in which a name is looked for, in order: earlier versions have saved it in any form."""
    return (name,) if (form := composed(name)) == name else (name, form)


def unseen_in(name: str) -> str | None:
    """Return a character that does not show, and could make the name look like another one; None if there is none."""
    return next(
        (one for one in name if one in _DIRECTIONS or unicodedata.category(one) in ("Cc", "Zl", "Zp")),
        None,
    )


def shows_nothing(name: str) -> bool:
    """Return True if a name looks empty: it has only blanks, and characters of no width."""
    return all(one in _FILLERS or unicodedata.category(one)[0] in "ZC" for one in name)
