"""Text for terminals: escaped, coloured, and as wide as it looks."""

import json
import math
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final

# Characters that JSON leaves as they are and a terminal would obey, or that reorder what it shows.
UNSAFE: Final = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def plain(text: str) -> str:
    """Return the text with terminal control characters escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def json_text(value: Any, *, indent: int | None) -> str:
    """Return a value as JSON, with terminal control characters escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return (
        UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        .encode("utf-8", "surrogatepass")
        .decode("utf-8", "replace")
    )


def width(text: str) -> int:
    """Return the number of columns that the text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Return the text, cut with an ellipsis if it takes more columns."""
    used, end = 0, 0
    for place, character in enumerate(text):
        used += _columns_of(character)
        if used > columns:
            return f"{text[:end]}…"
        if used < columns:
            end = place + 1
    return text


def pad(text: str, columns: int) -> str:
    return text + " " * (columns - width(text))


def relative(moment: str, now: datetime) -> str:
    """Return an RFC 3339 time as the distance from now: `3 min ago`, `in 2 h`. Other text stays as it is.

    As in the web interface, seconds are rounded to whole ones, and longer units down.
    """
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    seconds = (now - at.replace(tzinfo=at.tzinfo or UTC)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    whole = math.floor(abs(seconds) + 0.5)
    name, size = next((name, size) for name, size in _UNITS if whole >= size)
    distance = f"{whole // size} {name}"
    return f"{distance} ago" if seconds > 0 else f"in {distance}"


def local_time(at: datetime) -> str:
    """Return the local time of a moment, with its date unless that is today."""
    local = at.astimezone()
    is_today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M:%S}"


def clock_time(at: datetime) -> str:
    """Return the local time of a moment with its milliseconds, for lines of what happens now."""
    return f"{at.astimezone():%H:%M:%S.%f}"[:-3]


def short_duration(seconds: float) -> str:
    """Return a duration with one unit that fits: `250 ms`, `3.2 s`, `5 min`, `2 h`, `40 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    name, size = next((name, size) for name, size in _UNITS if seconds >= size)
    return f"{seconds / size:.0f} {name}"


def short_size(size: float) -> str:
    """Return a number of bytes with one unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
