r"""Characters that a document writes as JSON does: `\ud83d\ude00`, two escapes for one character.

JSON is a subset of YAML, and its writers spell characters beyond U+FFFF so. The parser refuses it. Before it reads
a text, each pair is therefore respelled as two characters that the text has nowhere, `\ue83d\uee00`, which take as
many columns. Afterwards they are put back: as the one character where the parser has read escapes, and as they were
written where it has not.
"""

import re
from typing import Final

# Any other escape goes by as a whole: after `\\\\` stands no escape.
_PAIR: Final = re.compile(r"\\(?:u([dD])([89abAB][0-9a-fA-F]{2}\\u)([dD])([c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL)
# First digits of the characters that may stand in: for private use, then of scripts.
_LETTERS: Final = "eabc"


class Surrogates:
    """The pairs of one document."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._letter = None
        if "\\ud" in text or "\\uD" in text:
            self._letter = next((letter for letter in _LETTERS if not _has(text, letter)), None)

    def set_apart(self) -> str:
        """The text for the parser, with every character in its place."""
        letter = self._letter
        return self._text if letter is None else _PAIR.sub(lambda match: _respelled(match, letter), self._text)

    def put_back(self, value: str, *, is_escaped: bool) -> str:
        """A value that the parser has read; ``is_escaped`` where escapes in it count."""
        letter = self._letter
        if letter is None:
            return value
        if is_escaped:
            first = int(f"{letter}800", 16)
            return re.sub(_read(letter), lambda pair: _joined(pair[0], first), value)
        return re.sub(_written(letter), lambda match: _respelled(match, "d"), value)


def _has(text: str, letter: str) -> bool:
    """Whether the text itself has characters that the respelled ones would be mixed up with."""
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
