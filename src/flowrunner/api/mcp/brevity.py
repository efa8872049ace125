"""Answers that do not fill an agent's context: values that are too long are cut, and say so."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from flowrunner.domain.counted import counted

# Bytes of an answer as JSON.
MOST_BYTES: Final = 24 * 1024
MOST_BYTES_IN_FULL: Final = 96 * 1024
# Lengths of texts and of lists, tried one after the other until the answer is short enough.
_LIMITS: Final = ((8000, 200), (2000, 100), (500, 50), (200, 20), (80, 5), (40, 1))
_DEPTH: Final = 12
# Of a page: the name of its list, and the cursor.
_BYTES_AROUND_ENTRIES: Final = 500


def shortened(value: Any, most: int = MOST_BYTES) -> Any:
    """Return an object that has at most ``most`` bytes as JSON, with `is_shortened` if something was left out.

    Its own members are all kept: only what they hold is cut.

    Long: call it on a thread for values that may be large.
    """
    if len(msgspec.json.encode(value)) <= most:
        return value
    for characters, items in _LIMITS:
        members = {name: _cut(member, characters, items, _DEPTH) for name, member in value.items()}
        cut = {**members, "is_shortened": True}
        if len(msgspec.json.encode(cut)) <= most:
            return cut
    text = msgspec.json.encode(value)[: most // 4].decode(errors="ignore")
    return {"text": text, "is_shortened": True}


def fitting(entries: Sequence[Any], most: int = MOST_BYTES) -> int:
    """Return how many of the first entries a page of at most ``most`` bytes has room for. As long as `shortened`."""
    left = most - _BYTES_AROUND_ENTRIES
    for count, entry in enumerate(entries):
        left -= len(msgspec.json.encode(entry)) + 1
        if left < 0:
            return count
    return len(entries)


def _cut(value: Any, characters: int, items: int, depth: int) -> Any:
    if isinstance(value, str):
        return text_of(value, characters)
    if isinstance(value, list):
        if depth == 0:
            return f"… ({counted(len(value), 'item')})"
        kept = [_cut(one, characters, items, depth - 1) for one in value[:items]]
        return kept if len(value) <= items else [*kept, f"… ({counted(len(value) - items, 'more item')})"]
    if isinstance(value, dict):
        if depth == 0:
            return f"… ({counted(len(value), 'member')})"
        names = list(value)[:items]
        kept_members = {text_of(name, characters): _cut(value[name], characters, items, depth - 1) for name in names}
        return (
            kept_members if len(value) <= items else {**kept_members, "…": counted(len(value) - items, "more member")}
        )
    return value


def text_of(text: str, most: int) -> str:
    """Return a text, or its beginning with the number of characters left out."""
    return text if len(text) <= most else f"{text[:most]}… ({counted(len(text) - most, 'more character')})"


def picked(value: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return these members of an object, as far as it has them."""
    return {name: value[name] for name in names if name in value}


# False for characters that move the cursor, end the line, or change the direction of the text.
_IS_SHOWN: Final[Callable[[str], bool]] = str.isprintable


def plain(text: str, most: int) -> str:
    """Return a text of a user for one line of a description, without control characters."""
    text = " ".join(text.split())
    # Each character of a long text would be looked at for nothing.
    beginning = "".join(character if _IS_SHOWN(character) else " " for character in text[: 2 * most])
    shown, rest = " ".join(beginning.split()), len(text[2 * most :])
    if not rest:
        return text_of(shown, most)
    return f"{shown[:most]}… ({counted(max(len(shown) - most, 0) + rest, 'more character')})"
