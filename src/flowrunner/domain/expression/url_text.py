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

# Of a URL so far: the name of the server, and the path after it.
_SERVER: Final = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#\\]*)", re.IGNORECASE)
# What ends a segment, or in a query a value. A `%` does not, because the value may be encoded already.
_ENDS_SEGMENTS: Final = re.compile(r"[^!-~]|[/\\?#@]")
_ENDS_VALUES: Final = re.compile(r"[^!-~]|[&#+]")
# No URL of a request is longer.
_MOST_CHARACTERS: Final = 8192
# Servers that decode a segment before they look at it take these for its end, too.
_BETWEEN_SEGMENTS: Final = re.compile(r"[/\\]|%2f|%5c", re.IGNORECASE)
_DOT: Final = re.compile("%2e", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class UrlText(Text):
    """A URL, in which the values of the expressions that read ``root`` stay where they are.

    What would end a segment of the path, or a value of the query, is encoded. A value that begins the URL names the
    server, and may be anything.
    """

    root: str

    def render(self, rendering: Rendering) -> str:
        """Raises: ExpressionFailed, `input.invalid` if a value would lead to another path or server."""
        url = ""
        ends: list[tuple[int, int, str]] = []
        for part in self.parts:
            text = self._text(part, rendering)
            if url and not isinstance(part, str) and _reads(part, self.root):
                if len(text) > _MOST_CHARACTERS:
                    raise _refused(part.text, f"has {len(text)} characters, too many for a URL")
                text = (_ENDS_VALUES if "?" in url else _ENDS_SEGMENTS).sub(_encoded, text)
                ends.append((len(url), len(url) + len(text), part.text))
            url += text
        if ends:
            _check(url, ends)
        return url


def _reads(expression: Expression, root: str) -> bool:
    if isinstance(expression, Code):
        return any(read.root == root for read in expression.references)
    return isinstance(expression, Path) and expression.root == root


def _encoded(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))


def _check(url: str, values: Sequence[tuple[int, int, str]]) -> None:
    """Args: values: The beginning, the end and the expression of each. Raises: ExpressionFailed."""
    server = _SERVER.match(url)
    begin = 0 if server is None else server.end()
    for first, end, text in values:
        if server is not None and server.start(1) < first < end == begin:
            # It would name another one: https://example.com${…}.
            raise _refused(text, "would change the name of the server")
    end_of_path = min((place for place in map(url.find, "?#") if place >= 0), default=len(url))
    # Before the first slash is the server.
    for segment in url[begin:end_of_path].split("/")[1:]:
        begin = url.index("/", begin) + 1
        inside = [text for first, end, text in values if begin <= first and end <= begin + len(segment)]
        leads_away = not {".", ".."}.isdisjoint(_BETWEEN_SEGMENTS.split(_DOT.sub(".", segment)))
        if inside and (leads_away or not segment):
            raise _refused(inside[0], f"gives the segment '{segment[:60]}', which leads to another path")


def _refused(text: str, why: str) -> ExpressionFailed:
    return ExpressionFailed(f"{shown(text)} {why}", type="input.invalid")
