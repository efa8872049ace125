"""Hides secrets in whatever is about to be stored, logged, sent or shown."""

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flowrunner.domain.values import JSON

MASK: Final = "***"


class SecretRedactor:
    """Hides a set of values, in the forms in which they commonly travel. Fills `ports.Redactor`.

    The set only grows: a value that was replaced may still be on its way through an execution.
    """

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._plain: re.Pattern[str] | None = None
        self._encoded: re.Pattern[bytes] | None = None

    def add(self, values: Iterable[str]) -> None:
        new = {value for value in values if value} - self._values
        if not new:
            return
        self._values |= new
        forms = {form for value in self._values for form in forms_of(value)}
        # The longest first, so that no form is hidden by a shorter one within it.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._plain = re.compile("|".join(map(re.escape, ordered)))
        in_json = {json_form for form in ordered for json_form in _in_json(form)}
        self._encoded = re.compile(b"|".join(re.escape(form.encode()) for form in sorted(in_json)))

    def found_in(self, encoded: bytes) -> bool:
        return self._encoded is not None and self._encoded.search(encoded) is not None

    def redact(self, value: JSON) -> JSON:
        return value if self._plain is None else _redact(value, self._plain)


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
    percent = urllib.parse.quote(raw, safe="")
    escaped = json.dumps(secret)[1:-1]
    forms = {
        secret,
        percent,
        re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), percent),
        urllib.parse.quote_plus(raw),
        urllib.parse.quote(percent, safe=""),
        escaped,
        json.dumps(secret, ensure_ascii=False)[1:-1],
        "".join(f"\\u{unit:04x}" for unit in _utf16_units(secret)),
        html.escape(secret),
        raw.hex(),
        raw.hex().upper(),
        secret.replace("'", "''"),
        secret.replace("'", "'\\''"),
        "\x00".join(secret) + "\x00",
        *_base64_forms(raw),
    }
    return {form for form in forms if form}


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


def _in_json(form: str) -> Iterable[str]:
    yield json.dumps(form, ensure_ascii=False)[1:-1]
    yield json.dumps(form)[1:-1]
