"""Redaction of secrets in values that are stored, logged, sent or shown."""

import asyncio
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from operator import eq
from typing import Any, Final

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.values import JSON
from flowrunner.ports.secrets import LONG_BYTES
from flowrunner.security.canonical import BETWEEN
from flowrunner.security.needle_search import NeedleSearch
from flowrunner.security.needles import Needle, needles_of

MASK: Final = "***"
# Number of values that is quick to prepare. Larger sets grow by up to as many again before the search is rebuilt.
FEW: Final = 64
# What a needle takes in memory besides its text, and what a redactor takes that has none.
_NEEDLE_BYTES: Final = 768
_EMPTY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class PreparedNeedles:
    """Values with their needles and search. It is immutable, so threads can use it.

    Attributes:
        whole: The last completely built search, and the number of values that it covers, which are the first ones.
        weight: About how many bytes of memory it takes.
    """

    needles: Mapping[str, Sequence[Needle]]
    search: NeedleSearch | None
    whole: tuple[NeedleSearch | None, int]
    weight: int


class SecretRedactor:
    """A redactor of a set of values in their common encodings. Implements `ports.Redactor`."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._prepared = PreparedNeedles({}, None, (None, 0), 0)

    @property
    def values(self) -> Set[str]:
        """The values that are redacted."""
        return self._prepared.needles.keys()

    @property
    def weight(self) -> int:
        """About how many bytes of memory it takes."""
        return _EMPTY_BYTES + self._prepared.weight

    def add(self, values: Iterable[str]) -> None:
        self.use(self.prepare([*self.values, *values]))

    def prepare(self, values: Iterable[str]) -> PreparedNeedles:
        """Prepare the redaction of exactly these values, for `use`. This is slow, and can run on any thread.

        It is fastest if the values are those of the last call followed by a few more.
        """
        before = self._prepared
        needles = {value: before.needles.get(value) or needles_of(value) for value in values if value}
        weight = sum(len(needle.backwards) + _NEEDLE_BYTES for of in needles.values() for needle in of)
        whole, count = before.whole
        more = len(needles) - count
        # True if the previous values are a prefix of the new ones.
        is_longer = all(map(eq, itertools.islice(before.needles, count), needles))
        if whole is not None and count > FEW and 0 <= more <= FEW and is_longer:
            added = list(itertools.chain.from_iterable(list(needles.values())[count:]))
            return PreparedNeedles(needles, whole.with_more(added) if added else whole, before.whole, weight)
        every = list(itertools.chain.from_iterable(needles.values()))
        search = NeedleSearch(every) if every else None
        return PreparedNeedles(needles, search, (search, len(needles)), weight)

    def use(self, prepared: PreparedNeedles) -> None:
        self._prepared = prepared

    def found_in(self, encoded: bytes) -> bool:
        search = self._prepared.search
        return search is not None and search.is_in(_without_json_escapes(encoded))

    async def redact_soon(self, value: JSON) -> JSON:
        if self._prepared.search is None:
            return value
        if len(msgspec.json.encode(value)) <= LONG_BYTES:
            return self.redact(value)
        async with self.lock:
            return await asyncio.to_thread(self.redact, value)

    def redact(self, value: JSON) -> JSON:
        search = self._prepared.search
        if search is None:
            return value
        copy = decode_json(msgspec.json.encode(value))
        hidden = search.masked(list(_texts(copy)), MASK.encode())
        return _with(copy, hidden) if hidden else value


def _texts(value: JSON) -> Iterable[str]:
    """Return every text, number and key in the value once."""
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
    """Replace texts in the value by their redacted forms. Lists and objects are changed in place."""

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


# Ordered so that no replacement creates another escape. Encoders write other control characters differently.
_JSON_ESCAPES: Final = ((b'\\"', b'"'), (b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\t", b"\t"), (BETWEEN, b"\\"))


def _without_json_escapes(encoded: bytes) -> bytes:
    """Decode the escapes in a JSON text, so that its contents are searched exactly."""
    if b"\\" not in encoded:
        return encoded
    plain = encoded.replace(b"\\\\", BETWEEN)
    if b"\\u" in plain or b"\\b" in plain or b"\\f" in plain:
        return BETWEEN.join(text.encode("utf-8", "surrogatepass") for text in _texts(decode_json(encoded)))
    for escape, character in _JSON_ESCAPES:
        plain = plain.replace(escape, character)
    return plain
