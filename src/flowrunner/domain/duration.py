"""Durations in flow documents."""

import re
from typing import Final

from flowrunner.domain.errors import quoted

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SHORT: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
# Other spellings of the units, for hints.
_LOOSE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)
_LOOSE_UNITS: Final = {
    **dict.fromkeys(("", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **{unit: unit for unit in _UNITS},
}
_ISO: Final = re.compile(r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII)

LONGEST_SECONDS: Final = 10 * 366 * 86400.0
# Digits without a unit take quadratic time to read.
_MOST_CHARACTERS: Final = 500

HINT: Final = "write a duration as 500ms, 10s, 5m, 2h, 1d or PT10S"


def parse_duration(text: str) -> float:
    """Return the seconds of a duration: `500ms`, `10s`, `1h30m`, `1d`, or ISO 8601 (`PT10S`, `P1DT2H`).

    Raises:
        ValueError: If it is no duration, is longer than ten years, or has more than 500 characters.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"{quoted(text)} is not a duration: {HINT}")
    seconds = _parse_short(text)
    if seconds is None:
        seconds = _parse_iso(text)
    if seconds is None:
        raise ValueError(f"{quoted(text)} is not a duration: {hint_for(text)}")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{quoted(text)} is longer than ten years")
    return seconds


def hint_for(written: object) -> str:
    """Return the hint for a value that is not a duration.

    >>> hint_for(30)
    'did you mean 30s?'
    """
    loose = _LOOSE.fullmatch(str(written)[:40].lower())
    if isinstance(written, bool) or loose is None or loose[2] not in _LOOSE_UNITS:
        return HINT
    return f"did you mean {loose[1]}{_LOOSE_UNITS[loose[2]]}?"


def _parse_short(text: str) -> float | None:
    total, end = 0.0, 0
    for part in _SHORT.finditer(text):
        if part.start() != end:
            return None
        total += float(part[1]) * _UNITS[part[2]]
        end = part.end()
    return total if end == len(text) and end > 0 else None


def _parse_iso(text: str) -> float | None:
    match = _ISO.fullmatch(text)
    if match is None or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
