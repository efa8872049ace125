"""Hides secrets in whatever is about to be stored, logged, sent or shown."""

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import ahocorasick
import msgspec

from flowrunner.domain.values import JSON

MASK: Final = "***"
# So much of the start of a form is searched for; a hit is then looked at more closely. Whole
# values, some of them kilobytes in dozens of forms, would make the search tree large.
_NEEDLE_BYTES: Final = 32
# Long values travel as files do: whole, within JSON, or as base64.
_LONG_BYTES: Final = 256


class SecretRedactor:
    """Hides a set of values, in the forms in which they commonly travel. Fills `ports.Redactor`.

    The set only grows: a value that was replaced may still be on its way through an execution.

    Source: A. Aho and M. Corasick, "Efficient String Matching: An Aid to Bibliographic Search", CACM
    1975: the time of a search does not depend on how many forms there are.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        # Each form by the starts under which it is found within JSON.
        self._forms: dict[str, set[str]] = {}
        self._search: Any = None

    def add(self, values: Iterable[str]) -> None:
        new = {value for value in values if value} - self._values
        if not new:
            return
        self._values |= new
        for value in new:
            for form in forms_of(value):
                for needle in _in_json(form):
                    self._forms.setdefault(needle[:_NEEDLE_BYTES].decode("latin-1"), set()).add(form)
        search = ahocorasick.Automaton()
        for start, forms in self._forms.items():
            search.add_word(start, forms)
        search.make_automaton()
        self._search = search

    def found_in(self, encoded: bytes) -> bool:
        return self._search is not None and next(self._search.iter(encoded.decode("latin-1")), None) is not None

    def redact(self, value: JSON) -> JSON:
        if self._search is None:
            return value
        text = msgspec.json.encode(value).decode("latin-1")
        found = {form for _, forms in self._search.iter(text) for form in forms}
        # The longest first, so that no form is hidden by a shorter one within it.
        ordered = sorted(found, key=lambda form: (-len(form), form))
        return _redact(value, re.compile("|".join(map(re.escape, ordered)))) if ordered else value


def _redact(value: JSON, pattern: re.Pattern[str]) -> JSON:
    match value:
        case str():
            return pattern.sub(MASK, value)
        case Mapping():
            return {pattern.sub(MASK, key): _redact(item, pattern) for key, item in value.items()}
        case Sequence():
            return [_redact(item, pattern) for item in value]
        case int() | float() if not isinstance(value, bool) and pattern.search(json.dumps(value)):
            return MASK
        case _:
            return value


def forms_of(secret: str) -> set[str]:
    """A secret as it is, and as encoders commonly write it."""
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) > _LONG_BYTES:
        return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], *_base64_forms(raw)}
    percent = urllib.parse.quote(raw, safe="")
    strictly = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"%{byte:02X}" for byte in raw)
    escaped = json.dumps(secret)[1:-1]
    forms = {
        secret,
        *_both_cases(percent),
        *_both_cases(strictly),
        *_both_cases("".join(f"%{byte:02X}" for byte in raw)),
        urllib.parse.quote_plus(raw),
        urllib.parse.quote(percent, safe=""),
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        "".join(f"\\u{unit:04x}" for unit in _utf16_units(secret)),
        html.escape(secret),
        "".join(f"&#{ord(character)};" for character in secret),
        "".join(f"&#x{ord(character):x};" for character in secret),
        raw.hex(),
        raw.hex().upper(),
        secret.replace("'", "''"),
        secret.replace("'", "'\\''"),
        secret.replace("'", "'\"'\"'"),
        # UTF-16 read as bytes, and as the text that is kept of it.
        "\x00".join(secret),
        "\ufffd".join(secret),
        *_base64_forms(raw),
    }
    return {form for form in forms if form}


def _both_cases(percent: str) -> Iterable[str]:
    yield percent
    yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), percent)


def _base64_forms(raw: bytes) -> Iterable[str]:
    """The characters that a value gives within base64, at each of the three alignments."""
    for offset in range(3):
        padded = b"\x00" * offset + raw
        # Characters that also depend on the bytes around the value are left off at both ends.
        skip = (0, 2, 3)[offset]
        whole = len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            middle = encode(padded).decode()[skip:whole]
            if len(middle) >= 6:
                yield middle


def _utf16_units(text: str) -> list[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _in_json(form: str) -> Iterable[bytes]:
    yield json.dumps(form, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    yield json.dumps(form)[1:-1].encode()
