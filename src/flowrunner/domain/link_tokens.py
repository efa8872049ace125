"""Tokens in links that answer approvals, which are hidden in everything that is stored, logged, sent or shown.

A token is recognized by its prefix, in plain text (where percent-encoding and JSON leave it as it is), in hexadecimal
and in base64, so that nothing has to know which links there are.
"""

import base64
import re
from collections.abc import Iterator
from typing import Final

LINK_TOKEN_PREFIX: Final = "fr_approve_"  # noqa: S105 # what all of them begin with
MASK: Final = "***"


def _base64_parts() -> Iterator[str]:
    """Yield the part of the prefix that base64 always writes alike, for each of the places where it may begin."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + LINK_TOKEN_PREFIX.encode()).decode()
        # The first characters depend on what stands before, and the last ones on what follows.
        first, last = (0, 2, 3)[offset], (offset + len(LINK_TOKEN_PREFIX)) * 8 // 6
        yield encoded[first:last]


_HEX: Final = LINK_TOKEN_PREFIX.encode().hex()
_MARKS: Final = (LINK_TOKEN_PREFIX, _HEX, _HEX.upper(), *_base64_parts())
_MARKS_IN_BYTES: Final = tuple(mark.encode() for mark in _MARKS)
_TOKEN: Final = re.compile(
    "|".join(
        (
            re.escape(LINK_TOKEN_PREFIX) + r"[\w.-]*",
            f"(?i:{_HEX})[0-9A-Fa-f]*",
            f"[A-Za-z0-9+/_-]{{0,2}}(?:{'|'.join(_base64_parts())})[A-Za-z0-9+/_=-]*",
        )
    ),
    re.ASCII,
)


def may_have_link_token(encoded: bytes) -> bool:
    """Return whether a JSON text may contain a token."""
    return any(mark in encoded for mark in _MARKS_IN_BYTES)


def without_link_tokens(text: str) -> str:
    return _TOKEN.sub(MASK, text) if any(mark in text for mark in _MARKS) else text
