r"""Surrogates in texts: half of a pair alone, and pairs in documents.

JSON writes a character beyond U+FFFF as two escapes, `\ud83d\ude00`. It is a subset of YAML, but the YAML parser
rejects such escapes. Before it reads a text, each pair is therefore replaced by two characters that do not occur in
the text, `\ue83d\uee00`, which take as many columns. Afterwards they are replaced back: by the one character where the
parser decoded escapes, and by the original text where it did not.
"""

import re
from typing import Final

# Any other escape is matched as a whole, so that the second half of `\\\\` does not begin one.
_PAIR: Final = re.compile(r"\\(?:u([dD])([89abAB][0-9a-fA-F]{2}\\u)([dD])([c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)
# First hexadecimal digits of the replacement characters: private use first, then scripts.
_LETTERS: Final = "eabc"


def without_lone_surrogates(text: str) -> str:
    """Return a text with `?` for each half of a pair, which cannot be encoded."""
    return text.encode(errors="replace").decode()


class Surrogates:
    """The surrogate pairs of one document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._letter = None
        if "\\ud" in text or "\\uD" in text:
            self._letter = next((letter for letter in _LETTERS if not _has(text, letter)), None)

    @property
    def are_apart(self) -> bool:
        """Return True if the text for the parser differs from the text."""
        return self._letter is not None

    def set_apart(self) -> str:
        """Return the text for the parser, with every pair replaced and every column kept."""
        letter = self._letter
        return self._text if letter is None else _PAIR.sub(lambda match: _respelled(match, letter), self._text)

    def put_back(self, value: str, *, is_escaped: bool) -> str:
        """Return a value read by the parser with its pairs restored; ``is_escaped`` if the parser decoded escapes."""
        letter = self._letter
        if letter is None:
            return value
        if is_escaped:
            first = int(f"{letter}800", 16)
            return re.sub(_read(letter), lambda pair: _joined(pair[0], first), value)
        return re.sub(_written(letter), lambda match: _respelled(match, "d"), value)


def _has(text: str, letter: str) -> bool:
    """Return whether the text contains characters that could be confused with the replacements."""
    characters = f"{chr(int(f'{letter}800', 16))}-{chr(int(f'{letter}fff', 16))}"
    return re.search(rf"[{characters}]|\\(?:u|U0000)[{letter}{letter.upper()}][89a-fA-F]", text) is not None


def _read(letter: str) -> str:
    first, middle, last = (chr(int(f"{letter}{end}", 16)) for end in ("800", "c00", "fff"))
    return f"[{first}-{chr(ord(middle) - 1)}][{middle}-{last}]"


def _written(letter: str) -> str:
    either = f"([{letter}{letter.upper()}])"
    return rf"\\u{either}([89abAB][0-9a-fA-F]{{2}}\\u){either}([c-fC-F][0-9a-fA-F]{{2}})"


def _respelled(match: re.Match[str], letter: str) -> str:
    first, middle, second, last = match.groups()
    if first is None:
        return match[0]
    return f"\\u{_like(first, letter)}{middle}{_like(second, letter)}{last}"


def _like(written: str, letter: str) -> str:
    return letter.upper() if written.isupper() else letter


def _joined(pair: str, first: int) -> str:
    high, low = (ord(character) - first for character in pair)
    return chr(0x10000 + (high << 10) + low - 0x400)
