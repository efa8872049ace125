"""Decoding of JSON in a time that depends on its length alone.

msgspec keeps the interpreter's lock for up to 10 µs for each number with an exponent of three digits: a megabyte of
`1e-320` stops all threads for a second. `float` needs a twentieth of that, and twenty times as long as msgspec for
usual numbers.
"""

import math
import re
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")

# A shorter text takes at most a few milliseconds.
_LONG: Final = 8 * 1024
# One pattern for both letters would take three times as long.
_COSTLY_BYTES: Final = (re.compile(rb"e[-+]?[0-9]{3}"), re.compile(rb"E[-+]?[0-9]{3}"))
_COSTLY_TEXT: Final = (re.compile(r"e[-+]?[0-9]{3}"), re.compile(r"E[-+]?[0-9]{3}"))


class BoundedDecoder(Generic[T]):
    """A decoder of one type."""

    def __init__(self, type: Any) -> None:
        self._usual: msgspec.json.Decoder[T] = msgspec.json.Decoder(type)
        self._careful: msgspec.json.Decoder[T] = msgspec.json.Decoder(type, float_hook=_float)

    def decode(self, data: str | bytes) -> T:
        """Raises: msgspec.MsgspecError, UnicodeError, RecursionError."""
        if len(data) < _LONG or not _has_costly_numbers(data):
            return self._usual.decode(data)
        return self._careful.decode(data)


def _has_costly_numbers(data: str | bytes) -> bool:
    if isinstance(data, str):
        return any(pattern.search(data) for pattern in _COSTLY_TEXT)
    return any(pattern.search(data) for pattern in _COSTLY_BYTES)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise msgspec.ValidationError("Number out of range")
    return number


_ANY: Final[BoundedDecoder[Any]] = BoundedDecoder(Any)


def decode_json(data: str | bytes) -> Any:
    """Return the value of a JSON text. Raises: msgspec.MsgspecError, UnicodeError, RecursionError."""
    return _ANY.decode(data)


def canonical_json(value: Any) -> bytes:
    """Return the JSON text that all equal values have: keys in order, and whole numbers as integers, `1` for `1.0`.

    Numbers from 1e21 on keep their exponent, as in JavaScript: with all their digits they may be sixty times as long.
    """
    encoded = msgspec.json.encode(value)
    return msgspec.json.encode(_WITH_WHOLE_NUMBERS.decode(encoded), order="deterministic")


def canonical_text(text: str) -> str:
    """Return the same for the value of a JSON text. Raises: as `decode_json`."""
    return msgspec.json.encode(_WITH_WHOLE_NUMBERS.decode(text), order="deterministic").decode()


_WITH_EXPONENT: Final = 1e21


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _WITH_EXPONENT else number


_WITH_WHOLE_NUMBERS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(float_hook=_whole)
