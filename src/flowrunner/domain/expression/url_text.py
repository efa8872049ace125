"""URLs with values that lead nowhere else: each stays within its segment of the path, or its value of the query."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.expression.templates import (
    Code,
    Expression,
    ExpressionFailed,
    Path,
    Rendering,
    Text,
    shown,
)

# The scheme and the server of a URL, before its path.
_SERVER: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*://[^/?#\\]+", re.IGNORECASE)
# What ends a segment, or begins its parameters; in a query what ends a value. A `%` does not, because the value may be
# encoded already.
_ENDS_SEGMENTS: Final = re.compile(r"[^!-~]|[/\\?#@;]")
_ENDS_VALUES: Final = re.compile(r"[^!-~]|[&#+]")
# No URL of a request is longer.
_MOST_CHARACTERS: Final = 8192
# Servers that decode a segment before they look at it, some of them twice, take these for its end, too.
_BETWEEN_SEGMENTS: Final = re.compile(r"[/\\]")
_ENCODED_ASCII: Final = re.compile("%([0-7][0-9a-f])", re.IGNORECASE)
# Longer forms of ASCII, which no UTF-8 has and some servers decode: `%c0%ae` and `%u002e` for a dot; and
# those of full width, such as `%uff0e`.
_LONGER_FORM: Final = re.compile("%(?:c[01]%|e0%[89]|f0%8|f8%8|fc%8|u00[0-7]|uff[0-5])", re.IGNORECASE)
_MOST_DECODINGS: Final = 4


@dataclass(frozen=True, slots=True)
class UrlText(Text):
    """A URL, in which the values of the expressions that read ``root`` stay where they are.

    What would end a segment of the path, or a value of the query, is encoded. A value that begins the URL names the
    server, and may be anything. After text, no value names a part of it.
    """

    root: str

    def render(self, rendering: Rendering) -> str:
        """Raises: ExpressionFailed, `input.invalid` if a value would lead to another path or server."""
        url = ""
        ends: list[tuple[int, int, str]] = []
        for part in self.parts:
            text = self._text(part, rendering)
            if url.strip() and not isinstance(part, str) and _reads(part, self.root):
                _check_length(len(url) + len(text), part.text)
                text = (_ENDS_VALUES if "?" in url else _ENDS_SEGMENTS).sub(_encoded, text)
                ends.append((len(url), len(url) + len(text), part.text))
            url += text
        if ends:
            _check_length(len(url), ends[-1][2])
            _check(url, ends)
        return url


def _reads(expression: Expression, root: str) -> bool:
    if isinstance(expression, Code):
        return any(read.root == root for read in expression.references)
    return isinstance(expression, Path) and expression.root == root


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))


def _check_length(characters: int, text: str) -> None:
    if characters > _MOST_CHARACTERS:
        raise _refused(text, f"gives a URL of {characters} characters; the most is {_MOST_CHARACTERS}")


def _check(url: str, values: Sequence[tuple[int, int, str]]) -> None:
    """Args: values: The beginning, the end and the expression of each. Raises: ExpressionFailed."""
    server = _SERVER.match(url)
    if server is None:
        raise _refused(values[0][2], "is in a URL that does not begin with a scheme and a server")
    begin = server.end()
    end_of_path = min((place for place in map(url.find, "?#") if place >= 0), default=len(url))
    # Each segment once, however many values it has.
    segments: dict[int, tuple[int, str]] = {}
    for first, end, text in values:
        if first < begin and first < end:
            # It would name another one: https://example.com${…}.
            raise _refused(text, "would change the name of the server")
        if begin < first <= end_of_path:
            start = max(url.rfind("/", begin, first) + 1, begin)
            stop = url.find("/", end, end_of_path)
            segments.setdefault(start, (end_of_path if stop < 0 else stop, text))
    for start, (stop, text) in segments.items():
        segment = url[start:stop]
        if not segment or _leads_away(segment):
            raise _refused(text, f"gives the segment '{segment[:60]}', which leads to another path")


def _leads_away(segment: str) -> bool:
    """Return whether a server may take a segment for another directory, however often it decodes it."""
    for _ in range(_MOST_DECODINGS):
        # Some servers take parameters away first: `..;x=1`.
        if any(part.partition(";")[0] in (".", "..") for part in _BETWEEN_SEGMENTS.split(segment)):
            return True
        if _LONGER_FORM.search(segment):
            return True
        segment, before = _ENCODED_ASCII.sub(_decoded, segment), segment
        if segment == before:
            return False
    return True


def _decoded(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _refused(text: str, why: str) -> ExpressionFailed:
    return ExpressionFailed(f"{shown(text)} {why}", type="input.invalid")
