"""Hides secrets in whatever is about to be stored, logged, sent or shown."""

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterable, Sequence
from typing import Any, Final

import ahocorasick
import msgspec

from flowrunner.domain.values import JSON

MASK: Final = "***"
# So much of the start of a form is searched for; a hit is then looked at more closely. Whole
# values, some of them kilobytes in dozens of forms, would make the search tree large.
_NEEDLE_BYTES: Final = 32
# The start of a value in which the starts of all its forms begin and end: no form has fewer
# characters than the value, but base64 within its four for three.
_START_CHARACTERS: Final = 64
# The forms of longer values are made when one is found, and kept of so many.
_SHORT_CHARACTERS: Final = 256
_LONG_ONES_KEPT: Final = 8


class SecretRedactor:
    """Hides a set of values, in the forms in which they commonly travel. Fills `ports.Redactor`.

    The set only grows: a value that was replaced may still be on its way through an execution.

    Source: A. Aho and M. Corasick, "Efficient String Matching: An Aid to Bibliographic Search", CACM
    1975: the time of a search does not depend on how many forms there are.
    """

    def __init__(self) -> None:
        # Every value, with its forms if it is short.
        self._values: dict[str, Sequence[str]] = {}
        # The forms of long values that were found lately.
        self._long: dict[str, Sequence[str]] = {}
        # By the start of a form, as it stands in JSON: the values, and which of their forms it is.
        self._starts: dict[str, set[tuple[str, int]]] = {}
        self._search: Any = None

    def add(self, values: Iterable[str]) -> None:
        new = {value for value in values if value} - self._values.keys()
        if not new:
            return
        for value in new:
            self._values[value] = forms_of(value) if len(value) <= _SHORT_CHARACTERS else ()
            for number, form in enumerate(forms_of(value[:_START_CHARACTERS])):
                for written in _in_json(form):
                    start = written[:_NEEDLE_BYTES].decode("latin-1")
                    if start:
                        self._starts.setdefault(start, set()).add((value, number))
        search = ahocorasick.Automaton()
        for start, forms in self._starts.items():
            search.add_word(start, forms)
        search.make_automaton()
        self._search = search

    def found_in(self, encoded: bytes) -> bool:
        return self._search is not None and next(self._search.iter(encoded.decode("latin-1")), None) is not None

    def redact(self, value: JSON) -> JSON:
        if self._search is None:
            return value
        encoded = msgspec.json.encode(value)
        hits = {hit for _, starts in self._search.iter(encoded.decode("latin-1")) for hit in starts}
        if not hits:
            return value
        forms = {self._forms_of(secret)[number] for secret, number in hits}
        return _redact(msgspec.json.decode(encoded), _Hiding(forms))

    def _forms_of(self, value: str) -> Sequence[str]:
        forms = self._values[value] or self._long.get(value)
        if forms is None:
            forms = self._long[value] = forms_of(value)
            if len(self._long) > _LONG_ONES_KEPT:
                del self._long[next(iter(self._long))]
        return forms


class _Hiding:
    """What puts the mask in the place of forms."""

    def __init__(self, forms: Iterable[str]) -> None:
        # The longest first, so that no form is hidden by a shorter one within it.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        # To compile a pattern takes a microsecond a character.
        self._long = [form for form in ordered if len(form) > _SHORT_CHARACTERS]
        short = [re.escape(form) for form in ordered if len(form) <= _SHORT_CHARACTERS]
        self._short = re.compile("|".join(short)) if short else None

    def hide(self, text: str) -> str:
        for form in self._long:
            if len(form) <= len(text):
                text = text.replace(form, MASK)
        return text if self._short is None else self._short.sub(MASK, text)


def _redact(value: Any, hiding: _Hiding) -> JSON:
    """``value`` without what is to be hidden. Changes its lists and objects, at any depth."""

    def hidden(item: Any) -> Any:
        if isinstance(item, str):
            return hiding.hide(item)
        if isinstance(item, int | float) and not isinstance(item, bool):
            written = json.dumps(item)
            return item if hiding.hide(written) == written else MASK
        return item

    whole = [value]
    todo: list[list[Any] | dict[str, Any]] = [whole]
    while todo:
        within = todo.pop()
        if isinstance(within, dict):
            items = [(hiding.hide(key), hidden(item)) for key, item in within.items()]
            within.clear()
            within.update(items)
            todo += [item for _, item in items if isinstance(item, list | dict)]
        else:
            within[:] = map(hidden, within)
            todo += [item for item in within if isinstance(item, list | dict)]
    redacted: JSON = whole[0]
    return redacted


def forms_of(secret: str) -> Sequence[str]:
    """A secret as it is, and as encoders commonly write it: the same number of forms for each, in one order.

    A form may come twice, or be empty where a short secret has too little of it.
    """
    raw = secret.encode("utf-8", "surrogatepass")
    percent = urllib.parse.quote(raw, safe="")
    strictly = "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"%{byte:02X}" for byte in raw)
    escaped = json.dumps(secret)[1:-1]
    # As Python writes it within a text that holds both kinds of quotes.
    python = repr(f"'\"{secret}")[4:-1]
    return (
        secret,
        *_both_cases(percent),
        *_both_cases(strictly),
        *_both_cases("".join(f"%{byte:02X}" for byte in raw)),
        urllib.parse.quote_plus(raw),
        # What `encodeURIComponent`, `encodeURI`, paths and web forms leave as it is.
        urllib.parse.quote(raw, safe="!'()*"),
        urllib.parse.quote(raw, safe=";/?:@&=+$,#!'()*"),
        urllib.parse.quote(raw, safe="/"),
        urllib.parse.quote_plus(raw, safe="*").replace("~", "%7E"),
        urllib.parse.quote(percent, safe=""),
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        "".join(f"\\u{unit:04x}" for unit in _utf16_units(secret)),
        python,
        python.replace("\\'", "'"),
        repr(b"'\"" + raw)[5:-1],
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
    )


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
            yield middle if len(middle) >= 6 else ""


def _utf16_units(text: str) -> list[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _in_json(form: str) -> Iterable[bytes]:
    yield json.dumps(form, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    yield json.dumps(form)[1:-1].encode()
