"""Values in the responses of IMAP servers, and in commands."""

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, Union

from flowrunner.bounded_socket import InvalidAnswer

# A string or an atom, a list, or NIL.
Value: TypeAlias = Union[bytes, "list[Value]", None]

_MOST_LEVELS: Final = 100
# The key of a section has blanks and brackets of its own: BODY[HEADER.FIELDS (SUBJECT)]<0>.
_TOKEN: Final = re.compile(
    rb'[ \t]*(?:([()])|"((?:[^"\\]|\\.)*)"|(BODY\[[^\]]{0,2000}\](?:<\d+>)?|[^\s()"]+))', re.DOTALL | re.IGNORECASE
)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
# RFC 3501, 5.1.3: what is not printable ASCII.
_SHIFTED: Final = re.compile(r"[^\x20-\x7e]+")


def values_of(parts: Sequence[bytes]) -> list[Value]:
    """Return the values of a response, of which every second part is a literal. Raises: InvalidAnswer."""
    outermost: list[Value] = []
    open_lists = [outermost]
    for token in _tokens(parts):
        if token == b"(":
            inner: list[Value] = []
            open_lists[-1].append(inner)
            open_lists.append(inner)
            if len(open_lists) > _MOST_LEVELS:
                raise InvalidAnswer
        elif token == b")":
            open_lists.pop()
            if not open_lists:
                raise InvalidAnswer
        else:
            open_lists[-1].append(token[1] if isinstance(token, tuple) else None)
    if len(open_lists) != 1:
        raise InvalidAnswer
    return outermost


def _tokens(parts: Sequence[bytes]) -> Iterator[bytes | tuple[str, bytes] | None]:
    """Yield the brackets as bytes, and each other value in a tuple; None for NIL."""
    for index, part in enumerate(parts):
        if index % 2:
            yield "literal", part
            continue
        position, end = 0, len(part.rstrip(b" \t"))
        while position < end:
            found = _TOKEN.match(part, position)
            if found is None:
                raise InvalidAnswer
            position = found.end()
            bracket, text, atom = found.groups()
            if bracket is not None:
                yield bracket
            elif text is not None:
                yield "quoted", _ESCAPED.sub(rb"\1", text) if b"\\" in text else text
            elif atom.upper() == b"NIL":
                yield None
            else:
                yield "atom", atom


def quoted(text: str) -> bytes:
    """Return a text of ASCII without control characters, as commands have it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode("ascii")


def folder_name(name: str) -> str:
    """Return the name of a folder in modified UTF-7 (RFC 3501, 5.1.3)."""

    def shifted(found: re.Match[str]) -> str:
        coded = base64.b64encode(found[0].encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
        return f"&{coded}-"

    return _SHIFTED.sub(shifted, name.replace("&", "&-"))
