"""A strict JSON parser that rejects input on which JSON parsers disagree."""

import json
import re
from typing import Any, Final, NoReturn

from flowrunner.domain.values import JSON

MAX_DEPTH: Final = 64
_TOO_DEEP: Final = f"the JSON is more than {MAX_DEPTH} levels deep"
# Strings, separators, and starts of lists and objects of a text of more than a mebibyte. Shorter ones cannot have more.
MOST_PARTS: Final = 700_000
_LONG_BYTES: Final = 2**20
_BYTES_AT_ONCE: Final = 2**18
# The rest of a string up to its end, or up to half of an escape. It looks at no character twice.
_REST_OF_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_QUOTE: Final = ord('"')
_MARKS: Final = (b",", b"[", b"{")


class InvalidJson(ValueError):
    """A text that is not JSON, or not JSON that every parser accepts."""


def loads(data: bytes) -> JSON:
    """Parse a JSON text.

    Also rejected are duplicate keys, NaN, infinities, numbers beyond 64 bits, lone surrogates,
    NUL characters, more than 64 levels, and more than `MOST_PARTS` in a text of more than a mebibyte.

    Raises:
        InvalidJson: Names the fault and, if known, its place.
    """
    if len(data) > _LONG_BYTES:
        _check_parts(data)
    try:
        value = _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidJson(f"the text is not UTF-8 (byte {error.start + 1})") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(
            f"the text is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise InvalidJson(_TOO_DEEP) from None
    _check(value, MAX_DEPTH)
    # NUL and lone surrogates can only come from escapes, so most texts need no second check.
    if b"\\u" in data:
        _check_text(value)
    return value  # type: ignore[no-any-return] # made of JSON only


def _check_parts(data: bytes) -> None:
    """Reject a text of which the parser would make so many values that it stopped all threads for long.

    It calls nothing of Python's for lists, and so keeps the interpreter's lock until it has made them all.
    """
    # Few texts need a look at what is inside of their strings.
    if sum(map(data.count, _MARKS)) + data.count(_QUOTE) // 2 <= MOST_PARTS:
        return
    place = count = 0
    while True:
        quote = data.find(_QUOTE, place)
        between = data[place : quote if quote >= 0 else len(data)]
        count += (quote >= 0) + sum(map(between.count, _MARKS))
        if count > MOST_PARTS:
            raise InvalidJson(f"the JSON has more than {MOST_PARTS} strings, commas, lists and objects")
        if quote < 0:
            return
        place = quote + 1
        while place < len(data) and data[place] != _QUOTE:
            rest = _REST_OF_STRING.match(data, place, place + _BYTES_AT_ONCE)
            if rest is None or rest.end() == place:
                # A backslash ends the text.
                return
            place = rest.end()
        place += 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJson(f"the key '{twice[:60]}' is given twice")
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**64:
        raise InvalidJson("a whole number does not fit 64 bits: send it as text")
    return number


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise InvalidJson("a number is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise InvalidJson(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _check(value: Any, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth == 0:
            raise InvalidJson(_TOO_DEEP)
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, dict | list):
                _check(item, depth - 1)


def _check_text(value: Any) -> None:
    match value:
        case str():
            if "\x00" in value:
                raise InvalidJson("text must not hold a NUL character")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidJson("text holds half of a surrogate pair") from None
        case dict():
            for key, item in value.items():
                _check_text(key)
                _check_text(item)
        case list():
            for item in value:
                _check_text(item)
