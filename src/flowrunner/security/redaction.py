"""Hides secrets in whatever is about to be stored, logged, sent or shown."""

import asyncio
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from flowrunner.domain.values import JSON
from flowrunner.security.canonical import BETWEEN
from flowrunner.security.needle_search import NeedleSearch, backwards
from flowrunner.security.needles import needles_of

MASK: Final = "***"


class SecretRedactor:
    """Hides a set of values, in the forms in which they commonly travel. Fills `ports.Redactor`."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self._needles: dict[str, Sequence[str]] = {}
        # Replaced as a whole, so that a search on another thread keeps what it began with.
        self._search: NeedleSearch | None = None

    def add(self, values: Iterable[str]) -> None:
        self.replace(self._needles.keys() | {value for value in values if value})

    def replace(self, values: Iterable[str]) -> None:
        """Hide these values, and no others."""
        wanted = {value for value in values if value}
        if wanted == self._needles.keys():
            return
        self._needles = {
            value: self._needles.get(value) or [backwards(needle) for needle in needles_of(value)] for value in wanted
        }
        self._search = NeedleSearch(list(itertools.chain.from_iterable(self._needles.values()))) if wanted else None

    def found_in(self, encoded: bytes) -> bool:
        return self._search is not None and self._search.is_in(_without_json_escapes(encoded))

    def redact(self, value: JSON) -> JSON:
        if self._search is None:
            return value
        copy = msgspec.json.decode(msgspec.json.encode(value))
        hidden = self._search.masked(list(_texts(copy)), MASK.encode())
        return _with(copy, hidden) if hidden else value


def _texts(value: JSON) -> Iterable[str]:
    """Every text and number in the value, and every key, once each."""
    found: dict[str, None] = {}
    todo = [value]
    while todo:
        match todo.pop():
            case str() as text:
                found[text] = None
            case dict() as members:
                found |= dict.fromkeys(members)
                todo += members.values()
            case list() as items:
                todo += items
            case bool() | None:
                pass
            case number:
                found[json.dumps(number)] = None
    return found


def _with(value: Any, hidden: dict[str, str]) -> JSON:
    """The value with hidden texts in their places. Changes its lists and objects, at any depth."""

    def shown(item: Any) -> Any:
        if isinstance(item, str):
            return hidden.get(item, item)
        if isinstance(item, int | float) and not isinstance(item, bool):
            return MASK if json.dumps(item) in hidden else item
        return item

    whole = [value]
    todo: list[list[Any] | dict[str, Any]] = [whole]
    while todo:
        within = todo.pop()
        if isinstance(within, dict):
            items = [(hidden.get(key, key), shown(item)) for key, item in within.items()]
            within.clear()
            within.update(items)
            todo += [item for _, item in items if isinstance(item, list | dict)]
        else:
            within[:] = map(shown, within)
            todo += [item for item in within if isinstance(item, list | dict)]
    redacted: JSON = whole[0]
    return redacted


# In an order in which none makes another. An encoder writes the other control characters in another way.
_JSON_ESCAPES: Final = ((b'\\"', b'"'), (b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\t", b"\t"), (BETWEEN, b"\\"))


def _without_json_escapes(encoded: bytes) -> bytes:
    """The texts in a JSON text as they are, so that what they hold is searched for exactly."""
    if b"\\" not in encoded:
        return encoded
    plain = encoded.replace(b"\\\\", BETWEEN)
    if b"\\u" in plain or b"\\b" in plain or b"\\f" in plain:
        return BETWEEN.join(text.encode("utf-8", "surrogatepass") for text in _texts(msgspec.json.decode(encoded)))
    for escape, character in _JSON_ESCAPES:
        plain = plain.replace(escape, character)
    return plain
