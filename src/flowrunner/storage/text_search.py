"""Search for a text regardless of case, with the same result on both databases.

SQLite folds only ASCII letters, and PostgreSQL those of its locale. So both fold the ASCII letters, and replace the
other letters of the wanted text one by one: `Ä` by `ä` for a search for `äpfel`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_lowercase
from typing import Final

from flowrunner.domain.letter_case import folded, folded_letter
from flowrunner.storage.transaction import Statement

# As many as an alphabet has. Further letters are compared as they are.
MOST_REPLACED: Final = 40
# Parameters have names without digits.
_NAMES: Final = [first + second for first in "ab" for second in ascii_lowercase][:MOST_REPLACED]

_LOWER: Final = 'lower({column} COLLATE "C")'
_REPLACED: Final = "replace({column}, :letter_{name}, :folded_{name})"


@dataclass(frozen=True, slots=True)
class FoldedText:
    """A wanted text in lower case. Attributes: replaced: Letters to replace in the searched text, each by another."""

    text: str
    replaced: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, text: str) -> "FoldedText":
        text_folded = folded(text)
        others = {letter for letter in text if not letter.isascii()}
        pairs = {(form, folded_letter(letter)) for letter in others for form in _forms(letter)}
        return cls(text_folded, sorted(pairs)[:MOST_REPLACED])

    @property
    def values(self) -> Mapping[str, str]:
        """Return the parameters of `contains`."""
        found = {"text": self.text}
        for name, (letter, to) in zip(_NAMES, self.replaced, strict=False):
            found |= {f"letter_{name}": letter, f"folded_{name}": to}
        return found


@cache
def contains(column: str, replaced: int) -> Statement:
    """Return the condition that a column contains a text. Args: replaced: The number of letters to replace."""
    folded = column
    for name in _NAMES[:replaced]:
        folded = _REPLACED.replace("{column}", folded).replace("{name}", name)
    return Statement(
        sqlite="instr(lower({column}), :text) > 0".replace("{column}", folded),
        postgres="strpos({lower}, :text) > 0".replace("{lower}", _LOWER.replace("{column}", folded)),
    )


def _forms(letter: str) -> set[str]:
    """Return the other forms of a letter that fold to the same character; `lower` replaces those in ASCII."""
    folded = folded_letter(letter)
    forms = {letter, letter.upper(), letter.title(), folded.upper(), folded.title(), folded.lower()}
    forms |= {form for form, to in _OTHER_FORMS if to == folded}
    forms.discard(folded)
    return {form for form in forms if len(form) == 1 and not form.isascii()}


# Letters that no upper, lower or title case of another one is, although they fold to it: a final sigma, signs, and
# Greek and Cyrillic letters in another shape.
_OTHER_FORMS: Final = [
    (form, folded_letter(form))
    for form in (
        "\u00b5\u0345\u03c2\u03d0\u03d1\u03d5\u03d6\u03f0\u03f1\u03f4\u03f5\u1c80\u1c81\u1c82\u1c83\u1c84\u1c85\u1c86"
        "\u1c87\u1c88\u1e9b\u1e9e\u1fbe\u2126\u212b"
    )
]
