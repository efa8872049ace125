"""Tokens in links that answer approvals, which are hidden in everything that is stored, logged, sent or shown.

A token is recognized by its prefix, in plain text, hexadecimal and base64, so that nothing has to know which links
there are. Its letters and digits stay as they are in every usual encoding; its punctuation may be escaped, and a mail
may break it, and its base64, into lines.
"""

import base64
import re
from collections.abc import Iterator
from typing import Final

LINK_TOKEN_PREFIX: Final = "fr_approve_"  # noqa: S105 # what all of them begin with
MASK: Final = "***"

# A line break of base64, and the one of quoted-printable, which is no part of the text.
_BREAK: Final = r"(?:\r?\n[ \t]*)?"
_SOFT_BREAK: Final = r"(?:=\r?\n)?"


def _escaped(character: str) -> str:
    """Return a pattern of a character in percent-encoding, quoted-printable, JSON, JavaScript and HTML."""
    code = ord(character)
    forms = (re.escape(character), f"%(?:25)*{code:x}", f"={code:x}", rf"\\+(?:u00|x){code:x}")
    return f"(?i:{'|'.join(forms)}|&(?:amp;)*#(?:0*{code}|x0*{code:x});)"


def _base64_parts() -> Iterator[str]:
    """Yield the part of the prefix that base64 always writes alike, for each of the places where it may begin."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + LINK_TOKEN_PREFIX.encode()).decode()
        # The first characters depend on what stands before, and the last ones on what follows.
        first, last = (0, 2, 3)[offset], (offset + len(LINK_TOKEN_PREFIX)) * 8 // 6
        yield encoded[first:last]


_HEX: Final = LINK_TOKEN_PREFIX.encode().hex()
# Found fast, and without any of them there is no token.
_TEXT_MARKS: Final = ("approve", _HEX, _HEX.upper(), *_base64_parts())
_MARKS: Final = tuple(mark.encode() for mark in _TEXT_MARKS)
_PUNCTUATION: Final = "|".join(map(_escaped, "_.-"))
_TOKEN: Final = re.compile(
    "|".join(
        (
            _SOFT_BREAK.join(_escaped(character) if character == "_" else character for character in LINK_TOKEN_PREFIX)
            + rf"(?:{_SOFT_BREAK}(?:\w|{_PUNCTUATION}))*",
            f"(?i:{_BREAK.join(_HEX)})(?:{_BREAK}[0-9A-Fa-f])*",
            f"[A-Za-z0-9+/_-]{{0,2}}(?:{'|'.join(_BREAK.join(map(re.escape, part)) for part in _base64_parts())})"
            f"(?:{_BREAK}[A-Za-z0-9+/_=-])*",
        )
    ),
    re.ASCII,
)
_BREAKS: Final = (b"=\\r\\n", b"=\\n", b"\\r\\n", b"\\n")


def may_have_link_token(encoded: bytes) -> bool:
    """Return whether a JSON text may contain a token."""
    if _has_mark(encoded):
        return True
    if encoded.find(b"\\n") < 0:
        return False
    for line_break in _BREAKS:
        encoded = encoded.replace(line_break, b"")
    return _has_mark(encoded)


def _has_mark(encoded: bytes) -> bool:
    # Each event is searched: `any` would take twice the time, and so does `in` on bytes, which first raises and drops
    # an exception because the mark is no number.
    for mark in _MARKS:  # noqa: SIM110
        if encoded.find(mark) >= 0:
            return True
    return False


def without_link_tokens(text: str) -> str:
    return _TOKEN.sub(MASK, text) if "\n" in text or any(mark in text for mark in _TEXT_MARKS) else text
