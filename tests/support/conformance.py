"""How much is played of what can be played on every backend."""

import os
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar
from zlib import crc32

# Whether it is all of it, which takes half an hour, or a part.
WHOLE: Final = bool(os.environ.get("CONFORMANCE"))
# What is drawn at random is drawn from it. The tests set the number of the day, for all their processes.
SEED: Final = os.environ.get("CONFORMANCE_SEED", "1")
_PARTS: Final = 3
# So many of the examples of a property are drawn, new ones in each run.
SHARE: Final = 1.0 if WHOLE else 0.35
_T = TypeVar("_T")


def part_of(named: Iterable[tuple[str, _T]], parts: int = _PARTS) -> list[_T]:
    """Return all under `make conformance`, and otherwise one of so many parts: as many days have them all."""
    today = int(SEED) % parts
    return [value for name, value in named if WHOLE or crc32(name.encode()) % parts == today]


def some_of(places: int, parts: int = 20) -> Sequence[int]:
    """Return the numbers of the places, from 1: the first and last ones, and others of those between each day.

    Each place takes as long as all before it.
    """
    assert places > parts
    today = range(1 + int(SEED) % parts, places, parts)
    return range(1, places + 1) if WHOLE else sorted({1, 2, *today, places - 1, places})
