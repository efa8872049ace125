"""Canonical forms of text, with the escapes of URLs, JSON, HTML and programming languages decoded.

Secrets and the texts that may contain them are converted to the same form, so a secret is found however its
characters are escaped, and in upper or lower case.
"""

import html.entities
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence, Set
from functools import cached_property, lru_cache
from typing import Final

# Never part of UTF-8, so no match spans it.
BETWEEN: Final = b"\xff"
# Maximum depth of nested escapes that are decoded.
ROUNDS: Final = 4

_H: Final = rb"[0-9A-Fa-f]"
_NEXT: Final = rb"[89ABab]" + _H


def _characters(prefix: bytes) -> Sequence[bytes]:
    """Return patterns of a character that is written as its UTF-8 bytes, each after ``prefix``."""
    following = prefix + _NEXT
    return (
        prefix + rb"[CDcd]" + _H + following,
        prefix + rb"[Ee]" + _H + following * 2,
        prefix + rb"[Ff][0-7]" + following * 3,
        prefix + _H * 2,
    )


def _units(prefix: bytes) -> Sequence[bytes]:
    """Return patterns of a character that is written as its UTF-16 code units."""
    return (
        prefix + rb"[Dd][89ABab]" + _H * 2 + prefix + rb"[Dd][C-Fc-f]" + _H * 2,
        prefix + _H * 4,
    )


# Each alternative starts with a literal byte, which makes the search fast.
_ESCAPES: Final = (
    *_characters(b"%"),
    *_units(b"%u"),
    *_units(rb"\\u"),
    *_characters(rb"\\x"),
    rb"\\u\{" + _H + rb"{1,6}\}",
    rb"\\U" + _H + rb"{8}",
    rb"\\[0-3][0-7]{2}",
    rb"\\[abefnrtv0]",
    rb"\\[!-/:-@\[-`{-~]",
    rb"&#[Xx]0*" + _H + rb"{1,6};?",
    rb"&#0*[0-9]{1,7};?",
    rb"&[A-Za-z][A-Za-z0-9]{1,31};",
    # Replaces undecodable bytes of UTF-16 that was decoded as UTF-8.
    "\ufffd".encode(),
)
ESCAPE: Final = re.compile(b"|".join(_ESCAPES))
# Escaped backslashes in a row are one piece: a text of nothing else would have half a million.
_ROW: Final = rb"(?:\\\\){4,}+"
_BYTES_OF_ROW: Final = 8
_ESCAPE_OR_ROW: Final = re.compile(b"|".join((_ROW, *_ESCAPES)))
_FIRST_OF_ESCAPES: Final = (b"%", b"\\", b"&", b"\xef")
# Quotes within quotes in shells, SQL and CSV.
_DOUBLED: Final = (b"''", b'""', b"'\"'")
_ESCAPE_OR_QUOTES: Final = re.compile(b"|".join((b"'\"'\"'", b"'{2,}", b'"{2,}', _ROW, *_ESCAPES)))
_CONTROLS: Final = {
    ord(letter): bytes([code]) for letter, code in zip("abefnrtv0", (7, 8, 27, 12, 10, 13, 9, 11, 0), strict=True)
}
_KEPT_ESCAPE_BYTES: Final = 12

# Lines may be wrapped anywhere, and UTF-16 adds a NUL to each ASCII character.
_DROPPED: Final = b"\x00\r\n"
_DROPPED_ONES: Final = (b"\x00", b"\n", b"\r")
_DROPPED_RUN: Final = re.compile(b"[%s]+" % _DROPPED)
# Host names and hexadecimal digits are case-insensitive; forms encode a space as "+".
_FOLDED: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ+", b"abcdefghijklmnopqrstuvwxyz ")


class Layer:
    """A mapping from positions in a decoded text to positions in its source text.

    Args:
        edits: Start, end and replacement length of each replaced piece, in order.
        omitted: The indexes of pieces that were left out, and not decoded.
        rows: The indexes of pieces in which every two bytes became one.
    """

    def __init__(
        self,
        edits: Sequence[tuple[int, int, int]],
        omitted: Set[int] = frozenset(),
        rows: Set[int] = frozenset(),
    ) -> None:
        self._edits = edits
        self._omitted = omitted
        self._rows = rows

    @cached_property
    def _starts(self) -> Sequence[int]:
        """Return the start of each replaced piece in the new text."""
        starts = []
        shift = 0
        for start, end, length in self._edits:
            starts.append(start + shift)
            shift += length - (end - start)
        return starts

    def before(self, start: int, end: int) -> tuple[int, int]:
        """Return the source range of the bytes from ``start`` to ``end``, extended to whole escapes."""
        return self._byte(start)[0], self._byte(end - 1)[1]

    def is_decoded_before(self, at: int) -> bool:
        """Return True if a decoded piece ends directly before this position of the new text."""
        starts = self._starts
        for piece in (bisect_left(starts, at) - 1, bisect_right(starts, at) - 1):
            if piece < 0:
                continue
            length = at - starts[piece]
            if length == self._edits[piece][2]:
                return piece not in self._omitted
            if piece in self._rows and 0 < length < self._edits[piece][2]:
                return True
        return False

    def _byte(self, at: int) -> tuple[int, int]:
        piece = bisect_right(self._starts, at) - 1
        if piece < 0:
            return at, at + 1
        start_before, end_before, length = self._edits[piece]
        behind = at - self._starts[piece] - length
        if behind < 0 and piece in self._rows:
            return end_before + 2 * behind, end_before + 2 * behind + 2
        return (start_before, end_before) if behind < 0 else (end_before + behind, end_before + behind + 1)


def views(text: bytes, *, around: int, quotes: bool) -> Iterator[tuple[bytes, Sequence[Layer]]]:
    """Yield the text itself and then its decoded forms, one level of escapes at a time, until none is left.

    Args:
        around: Bytes farther than this from an escape are omitted from a decoded view, because they are the same as
            in the previous view.
        quotes: Decode doubled quotes too.
    """
    layers: tuple[Layer, ...] = ()
    yield text, layers
    for _ in range(ROUNDS):
        decoded = _decoded(text, around, quotes)
        if decoded is None:
            return
        text, layer = decoded
        layers += (layer,)
        yield text, layers


def folded(text: bytes) -> bytes:
    """Return the text in lower case, without line breaks and NULs, and with spaces for "+"."""
    return text.translate(_FOLDED, _DROPPED) if has_dropped(text) else text.translate(_FOLDED)


def has_dropped(text: bytes) -> bool:
    """Return True if `folded` removes bytes of the text."""
    return any(byte in text for byte in _DROPPED_ONES)


def fold_layer(text: bytes) -> Layer:
    """Return the mapping from positions in `folded` to positions in the text."""
    return Layer([(*found.span(), 0) for found in _DROPPED_RUN.finditer(text)])


def follows_escape(at: int, layers: Sequence[Layer]) -> bool:
    """Return True if what one of the layers decoded ends directly before a position.

    Args:
        layers: From that of the text with this position to that of the source.
    """
    for layer in layers:
        if layer.is_decoded_before(at):
            return True
        at = layer.before(at, at + 1)[0]
    return False


def _decoded(text: bytes, around: int, quotes: bool) -> tuple[bytes, Layer] | None:
    """Decode one level of escapes in linear time; return None if there are none."""
    quotes = quotes and any(doubled in text for doubled in _DOUBLED)
    if not quotes and not any(first in text for first in _FIRST_OF_ESCAPES):
        return None
    pieces: list[bytes] = []
    edits: list[tuple[int, int, int]] = []
    omitted: set[int] = set()
    rows: set[int] = set()
    done = 0
    for found in (_ESCAPE_OR_QUOTES if quotes else _ESCAPE_OR_ROW).finditer(text):
        escape = found[0]
        is_row = len(escape) >= _BYTES_OF_ROW and escape.startswith(b"\\\\")
        plain = escape[::2] if is_row else _known(escape) if len(escape) <= _KEPT_ESCAPE_BYTES else _plain(escape)
        if plain is None:
            continue
        start, end = found.span()
        if start - done > 2 * around:
            left_out = done + around if pieces else 0, start - around
            pieces += (text[done : left_out[0]], BETWEEN)
            omitted.add(len(edits))
            edits.append((*left_out, len(BETWEEN)))
            done = left_out[1]
        pieces += (text[done:start], plain)
        if is_row:
            rows.add(len(edits))
        edits.append((start, end, len(plain)))
        done = end
    if not pieces:
        return None
    pieces.append(text[done : done + around])
    return b"".join(pieces), Layer(edits, omitted, rows)


def _plain(escape: bytes) -> bytes | None:
    """Return the bytes that an escape represents; None if it is not a valid escape."""
    kind = escape[:1]
    if kind == b"&":
        return _entity(escape.decode())
    if kind in (b"'", b'"'):
        return kind
    if kind == b"\xef":
        return b""
    if escape[1:2] in (b"u", b"U"):
        digits = re.findall(rb"[0-9A-Fa-f]+", escape)
        return _utf8(*(int(number, 16) for number in digits))
    if kind == b"%" or escape[1:2] == b"x":
        raw = bytes.fromhex(re.sub(rb"%|\\x", b"", escape).decode())
        # Some programs write single bytes as Latin-1.
        return raw if len(raw) > 1 or raw < b"\x80" else raw.decode("latin-1").encode()
    if len(escape) == 4:
        return _utf8(int(escape[1:], 8))
    return _CONTROLS.get(escape[1], escape[1:])


_known: Final = lru_cache(maxsize=4096)(_plain)


def _entity(entity: str) -> bytes | None:
    if entity[1] != "#":
        named = html.entities.html5.get(entity[1:])
        return None if named is None else named.encode()
    digits = entity[2:].rstrip(";")
    is_hex = digits[0] in "xX"
    return _utf8(int(digits.lstrip("xX0") or "0", 16 if is_hex else 10))


def _utf8(*units: int) -> bytes | None:
    if len(units) == 2:
        return b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be").encode()
    return chr(units[0]).encode("utf-8", "surrogatepass") if units[0] <= 0x10FFFF else None
