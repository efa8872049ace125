"""JavaScript semantics of JSON values: properties, truthiness and text."""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from flowrunner.domain.values import JSON

_MOST_DIGITS: Final = 15


def is_true(value: JSON) -> bool:
    """Return whether the value is truthy in JavaScript: an empty list is, an empty text is not."""
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return True
    return bool(value) and value == value  # noqa: PLR0124 # NaN is not


def own_property(value: JSON, key: str | int, utf16: Callable[[str], bytes]) -> JSON:
    """Return an own property of a JSON value, as JavaScript reads it; None if there is none.

    Args:
        utf16: Encodes a text; may cache the result.
    """
    # Comparing the type itself is faster than isinstance, and almost every step of a path leads through a dictionary.
    if type(value) is dict:
        return value.get(key if type(key) is str else str(key))
    if isinstance(value, Mapping):
        return value.get(str(key))
    if isinstance(value, str):
        # JavaScript counts UTF-16 units, which are equal to the characters of an ASCII text.
        if key == "length":
            return len(value) if value.isascii() else len(utf16(value)) // 2
        index = _index(key)
        if index is None or value.isascii():
            return value[index] if index is not None and index < len(value) else None
        # Half of a surrogate pair cannot be stored as text and becomes U+FFFD.
        return utf16(value)[2 * index : 2 * index + 2].decode("utf-16-le", "replace") or None
    if isinstance(value, Sequence):
        if key == "length":
            return len(value)
        index = _index(key)
        return value[index] if index is not None and index < len(value) else None
    return None


def _index(key: str | int) -> int | None:
    if isinstance(key, int):
        return key
    # No value has indexes with more digits, and Python does not convert arbitrarily long ones.
    is_index = len(key) <= _MOST_DIGITS and key.isascii() and key.isdigit() and (key == "0" or key[0] != "0")
    return int(key) if is_index else None


def text_of(value: JSON) -> str:
    """Return the value as part of a text: text unchanged, everything else as `json_text`."""
    return value if isinstance(value, str) else json_text(value)


_SCALARS: Final = frozenset({str, bool, int, float, type(None)})


class _Written(str):
    """A text that is JSON already."""

    __slots__ = ()


_COMMA: Final = _Written(",")


def json_text(value: JSON) -> str:
    """Return the value as JavaScript's `JSON.stringify` writes it, however deep it is nested."""
    texts: list[str] = []
    # Not recursive: scripts return values that are nested deeper than Python's calls may be.
    todo = [value]
    while todo:
        match todo.pop():
            case _Written() as text:
                texts.append(text)
            case Mapping() as members if _SCALARS.issuperset(map(type, members.values())):
                pairs = (f"{_scalar_text(key)}:{_scalar_text(item)}" for key, item in members.items())
                texts.append(f"{{{','.join(pairs)}}}")
            case Mapping() as members:
                texts.append("{")
                todo.append(_Written("}"))
                for key, item in reversed(tuple(members.items())):
                    todo += (item, _Written(f"{_scalar_text(key)}:"), _COMMA)
                todo.pop()
            case (str() | bool() | None | int() | float()) as scalar:
                texts.append(_scalar_text(scalar))
            case Sequence() as items if _SCALARS.issuperset(map(type, items)):
                texts.append(f"[{','.join(map(_scalar_text, items))}]")
            case Sequence() as items:
                texts.append("[")
                todo.append(_Written("]"))
                for item in reversed(items):
                    todo += (item, _COMMA)
                todo.pop()
    return "".join(texts)


def _scalar_text(value: str | bool | int | float | None) -> str:
    match value:
        case str() | bool() | None:
            return json.dumps(value, ensure_ascii=False)
        case float():
            return _number_text(value)
        case _:
            return str(value)


def _number_text(value: float) -> str:
    if value.is_integer() and abs(value) < 1e21:
        # From the shortest digits: JavaScript pads them with zeros.
        return str(int(Decimal(repr(value))))
    digits, mark, exponent = repr(value).partition("e")
    if not mark:
        return digits
    # JavaScript writes zeros out down to a millionth, and an exponent without leading zeros.
    return f"{Decimal(repr(value)):f}" if -7 < int(exponent) < 0 else f"{digits}e{int(exponent):+d}"
