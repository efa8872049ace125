"""Values of PostgreSQL as JSON, and back, by its own text forms."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.values import JSON, left_after
from flowrunner.plugin import NodeFailure

# Settings of the session by which the text forms are those that are read here.
SETTINGS: Final = {
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "3",
}
# What `json` calls them: pg_type.dat of PostgreSQL, whose numbers never change.
_BOOLEAN, _BYTEA, _JSON, _JSONB, _TIMESTAMP, _TIMESTAMPTZ = 16, 17, 114, 3802, 1114, 1184
_WHOLE: Final = (20, 21, 23, 26)
_FLOATS: Final = (700, 701)
_NAMES: Final = {
    _BOOLEAN: "boolean", _BYTEA: "bytea", 18: "char", 19: "name", 20: "bigint", 21: "smallint", 23: "integer",
    25: "text", 26: "oid", _JSON: "json", 142: "xml", 600: "point", 650: "cidr", 700: "real", 701: "double precision",
    790: "money", 829: "macaddr", 869: "inet", 1042: "char", 1043: "varchar", 1082: "date", 1083: "time",
    _TIMESTAMP: "timestamp", _TIMESTAMPTZ: "timestamptz", 1186: "interval", 1266: "timetz", 1560: "bit",
    1562: "varbit", 1700: "numeric", 2950: "uuid", 3614: "tsvector", _JSONB: "jsonb", 3904: "int4range",
    3906: "numrange", 3908: "tsrange", 3910: "tstzrange", 3912: "daterange", 3926: "int8range", 4072: "jsonpath",
}  # fmt: skip
_ELEMENTS: Final = {
    1000: _BOOLEAN, 1001: _BYTEA, 1002: 18, 1003: 19, 1005: 21, 1007: 23, 1009: 25, 1014: 1042, 1015: 1043, 1016: 20,
    1017: 600, 1021: 700, 1022: 701, 1028: 26, 1040: 829, 1041: 869, 1115: _TIMESTAMP, 1182: 1082, 1183: 1083,
    1185: _TIMESTAMPTZ, 1187: 1186, 1231: 1700, 1270: 1266, 1561: 1560, 1563: 1562, 143: 142, 199: _JSON, 651: 650,
    791: 790, 2951: 2950, 3643: 3614, 3807: _JSONB, 3905: 3904, 3907: 3906, 3909: 3908, 3911: 3910, 3913: 3912,
    3927: 3926, 4073: 4072,
}  # fmt: skip
# Types with a higher number are those of an installation and its extensions.
_LAST_BUILT_IN: Final = 16383
# Of the server.
_MOST_DIMENSIONS: Final = 6
_MOST_DIGITS: Final = 20
# The length of an answer is bounded.
_NO_LIMIT: Final = 2**62
_TIMESTAMP_TEXT: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?")
_PART: Final = re.compile(r'[{},]|"(?:[^"\\]|\\.)*+"|(?:[^{},"\\]|\\.)++', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_NESTED: Final = re.compile(r'[{}"\\]')
_BOUNDS: Final = re.compile(r"(?:\[-?\d+:-?\d+\]){1,6}+=")


def is_nested(oid: int) -> bool:
    """Return whether values of a type are lists or objects."""
    return oid in _ELEMENTS or oid in (_JSON, _JSONB)


def value_of(text: str, oid: int) -> JSON:
    """Return the value of a column.

    Args:
        oid: The number of its type. What cannot be read by its type stays text.
    """
    if oid in _ELEMENTS:
        return _list_of(text, _ELEMENTS[oid])
    read = _READERS.get(oid)
    if read is None:
        return text
    try:
        return read(text)
    except (ValueError, OverflowError, RecursionError, msgspec.DecodeError):
        return text


def _whole(text: str) -> JSON:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _float(text: str) -> JSON:
    number = float(text)
    return number if abs(number) < float("inf") else text


def _json(text: str) -> JSON:
    value: JSON = decode_json(text)
    left_after(value, _NO_LIMIT, bounds_levels=True)
    return value


def _bytes(text: str) -> JSON:
    return base64.b64encode(bytes.fromhex(text.removeprefix("\\x"))).decode()


def _timestamp(text: str) -> JSON:
    # Years before 1 and after 9999 have other forms.
    return text.replace(" ", "T", 1) if _TIMESTAMP_TEXT.fullmatch(text) else text


def _instant(text: str) -> JSON:
    # The session's own time zone is left as the server has it, because it decides what `now()::date` is.
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment.tzinfo else text


_READERS: Final[Mapping[int, Callable[[str], JSON]]] = {
    _BOOLEAN: lambda text: text == "t",
    **dict.fromkeys(_WHOLE, _whole),
    **dict.fromkeys(_FLOATS, _float),
    _JSON: _json,
    _JSONB: _json,
    _BYTEA: _bytes,
    _TIMESTAMP: _timestamp,
    _TIMESTAMPTZ: _instant,
}


def _list_of(text: str, element: int) -> JSON:
    """Return the list that an array's text is; the text itself if it is none."""
    whole: list[JSON] = []
    levels: list[list[JSON]] = [whole]
    bounds = _BOUNDS.match(text)
    at = bounds.end() if bounds else 0
    if text.startswith("{", at) and text.endswith("}") and not _NESTED.search(text, at + 1, len(text) - 1):
        # Most arrays, and the longest ones, in less than half of the time.
        parts = text[at + 1 : -1].split(",") if len(text) > at + 2 else ()
        return [None if part == "NULL" else value_of(part, element) for part in parts] if all(parts) else text
    for found in _PART.finditer(text, at):
        part = found[0]
        if found.start() != at or (part != "{" and len(levels) == 1):
            return text
        at = found.end()
        if part == "{":
            if len(levels) > _MOST_DIMENSIONS:
                return text
            inner: list[JSON] = []
            levels[-1].append(inner)
            levels.append(inner)
        elif part == "}":
            levels.pop()
        elif part != ",":
            is_quoted = part[0] == '"'
            plain = _ESCAPED.sub(r"\1", part[1:-1] if is_quoted else part)
            levels[-1].append(None if part == "NULL" else value_of(plain, element))
    return whole[0] if at == len(text) and len(levels) == 1 and len(whole) == 1 else text


def parameters(values: Sequence[JSON], oids: Sequence[int], name: Callable[[int], str]) -> Sequence[bytes | None]:
    """Return values as the texts of a query's parameters. The server reads them by their types.

    Args:
        oids: Numbers of the parameters' types.
        name: Returns how a value is called, by its index.

    Raises:
        NodeFailure: `input.invalid`.
    """
    texts: list[bytes | None] = []
    for index, (value, oid) in enumerate(zip(values, oids, strict=True)):
        try:
            text = _text_of(value, oid)
            texts.append(None if text is None else text.encode())
        except ValueError as error:
            reason = "it is not Unicode text" if isinstance(error, UnicodeEncodeError) else error
            message = f"{name(index)} cannot be a value of the type {_name_of(oid)}: {reason}"
            raise NodeFailure("input.invalid", message) from None
    return texts


def _name_of(oid: int) -> str:
    if oid in _ELEMENTS:
        return f"{_name_of(_ELEMENTS[oid])}[]"
    return _NAMES.get(oid, f"with the OID {oid}")


def _text_of(value: JSON, oid: int) -> str | None:
    """Return the text form of a value. Raises: ValueError."""
    if value is None:
        return None
    if oid in (_JSON, _JSONB):
        return msgspec.json.encode(value).decode()
    if isinstance(value, Mapping):
        if oid <= _LAST_BUILT_IN:
            raise ValueError("it is an object, which only json and jsonb take")
        return msgspec.json.encode(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, str):
        return _hex(value) if oid == _BYTEA else value
    if oid in _ELEMENTS or oid > _LAST_BUILT_IN:
        return _array(value, _ELEMENTS.get(oid, oid), _MOST_DIMENSIONS)
    raise ValueError("it is a list, which only arrays, json and jsonb take")


def _hex(text: str) -> str:
    try:
        return f"\\x{base64.b64decode(text, validate=True).hex()}"
    except (binascii.Error, ValueError):
        raise ValueError("it is not base64") from None


def _array(values: Sequence[JSON], element: int, levels: int) -> str:
    if levels == 0:
        raise ValueError(f"it has more than {_MOST_DIMENSIONS} dimensions")
    parts = []
    for value in values:
        if isinstance(value, list | tuple) and element not in (_JSON, _JSONB):
            parts.append(_array(value, element, levels - 1))
            continue
        text = _text_of(value, element)
        parts.append("NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
    return "{" + ",".join(parts) + "}"
