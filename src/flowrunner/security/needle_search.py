"""One search for many texts at once, in every form in which they may stand in another text.

One pass finds an anchor of each needle in the views of a text (`canonical`); where one is found, the longest needle
around it is looked up among those that have the same anchor. So the time depends on the text, and hardly on how many
needles there are, or how long they are.

Source: A. Aho and M. Corasick, "Efficient String Matching: An Aid to Bibliographic Search", CACM 1975: the time of
a search does not depend on how many words there are.
"""

import functools
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import ahocorasick

from flowrunner.domain.errors import RedactionLimit
from flowrunner.security.canonical import BETWEEN, Layer, fold_layer, folded, has_dropped, views

# So much of a needle is searched for. More would make the search tree large, and its search slow in texts that repeat
# themselves.
_ANCHOR: Final = 8
# It is taken from the end of a needle, as ends of secrets differ where beginnings are alike, and within so many bytes
# begins with the rarest: a search tree whose root has few branches is searched fastest.
_ANCHOR_WITHIN: Final = 32
_BY_RARITY: Final = "qzjxkvw~^`|@#$*!9876543210bfgpyucmdhlronistae"
_RANKS: Final = {character: rank for rank, character in enumerate(_BY_RARITY)}
# So much is searched in one go, during which no other thread runs.
_CHUNK: Final = 256 * 1024
# What the look-ups of one text may cost, in units of about 0.1 µs. 1,000 random secrets in 1 MB of text that
# consists of nothing else take a fifth of that; only secrets that are repetitions of the same characters take more.
MOST_COST: Final = 12_000_000
_COST: Final = 16
_BYTES_A_UNIT: Final = 1024


class _Cost:
    """What has been spent on look-ups in one text."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = MOST_COST

    def spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise RedactionLimit(self._size)


class _Alike:
    """Needles, written backwards, that have the same anchor at the same place; finds the longest at a place of a text.

    Attributes:
        back: How far the end of the anchor is from the beginning of the needles.
        cost: Of a look-up.

    Source: E. Myers, "An applicative random-access stack", Information Processing Letters 1983: jumps to
    ancestors, with which a needle is found in logarithmic time among those that begin with one another.
    """

    def __init__(self, back: int, needles: Iterable[str]) -> None:
        self.back = back
        self._needles = sorted(needles)
        self._longest = max(map(len, self._needles))
        self.cost = _COST + self._longest * len(self._needles).bit_length() // _BYTES_A_UNIT
        # Of each needle: the longest other one that it begins with, and a farther one of that kind; -1 for none.
        self._parents: list[int] = []
        self._jumps: list[int] = []
        depths: list[int] = []
        path: list[int] = []
        for number, needle in enumerate(self._needles):
            while path and not needle.startswith(self._needles[path[-1]]):
                path.pop()
            parent = path[-1] if path else -1
            jump = parent
            if parent >= 0:
                near = self._jumps[parent]
                if near >= 0:
                    far = self._jumps[near]
                    if depths[parent] - depths[near] == depths[near] - (depths[far] if far >= 0 else -1):
                        jump = far
            self._parents.append(parent)
            self._jumps.append(jump)
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
            path.append(number)

    def longest_at(self, text: str, start: int) -> int:
        """Return how long it is; 0 if the text goes on with none."""
        needles = self._needles
        if len(needles) == 1:
            return len(needles[0]) if text.startswith(needles[0], start) else 0
        # All needles that the text begins with are ancestors of the one before it in the order.
        number = bisect_right(needles, text[start : start + self._longest]) - 1
        while number >= 0 and not text.startswith(needles[number], start):
            jump = self._jumps[number]
            is_too_far = jump < 0 or text.startswith(needles[jump], start)
            number = self._parents[number] if is_too_far else jump
        return len(needles[number]) if number >= 0 else 0


def _anchor_of(needle: str) -> int:
    """Where in a needle its anchor begins."""
    starts = range(min(max(len(needle) - _ANCHOR, 0), _ANCHOR_WITHIN) + 1)
    return min(starts, key=lambda start: (_RANKS.get(needle[start], len(_RANKS)), start))


def backwards(needle: bytes) -> str:
    return needle[::-1].decode("latin-1")


class NeedleSearch:
    """Finds needles in texts.

    Args:
        needles: Written backwards, as `backwards` does.
    """

    def __init__(self, needles: Collection[str]) -> None:
        every = set(needles)
        groups: dict[str, dict[int, list[str]]] = {}
        for needle in every:
            offset = _anchor_of(needle)
            groups.setdefault(needle[offset : offset + _ANCHOR], {}).setdefault(offset, []).append(needle)
        automaton: Any = ahocorasick.Automaton()
        for anchor, by_offset in groups.items():
            alike = [_Alike(len(anchor) - 1 + offset, needles) for offset, needles in by_offset.items()]
            automaton.add_word(anchor, alike)
        automaton.make_automaton()
        self._automatons = [automaton]
        self._longest = max(map(len, every))
        self._quotes = any("'" in needle or '"' in needle for needle in every)

    def with_more(self, needles: Collection[str]) -> "NeedleSearch":
        """Return a search for these needles too. It takes longer by a little; to make it takes no longer than for
        these alone."""
        more = NeedleSearch(needles)
        more._automatons += self._automatons
        more._longest = max(more._longest, self._longest)
        more._quotes = more._quotes or self._quotes
        return more

    def is_in(self, text: bytes) -> bool:
        cost = _Cost(len(text))
        return any(self._spans(folded(view), cost) for view, _ in self._views(text))

    def masked(self, texts: Sequence[str], mask: bytes) -> dict[str, str]:
        """Return the texts that hold a needle, each with the mask in place of every needle."""
        pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
        whole = BETWEEN.join(pieces)
        spans = _merged(self._spans_in_views(whole))
        masked: dict[str, str] = {}
        begin = number = 0
        for text, piece in zip(texts, pieces, strict=True):
            if number == len(spans):
                break
            done, end = begin, begin + len(piece)
            shown: list[bytes] = []
            while number < len(spans) and spans[number][0] < end:
                shown += (whole[done : spans[number][0]], mask)
                done = spans[number][1]
                number += 1
            if shown:
                shown.append(whole[done:end])
                masked[text] = b"".join(shown).decode("utf-8", "surrogatepass")
            begin = end + len(BETWEEN)
        return masked

    def _views(self, text: bytes) -> Iterator[tuple[bytes, Sequence[Layer]]]:
        # What is left out of needles may stand between their bytes: in lines of base64, or as UTF-16.
        around = 3 * self._longest if has_dropped(text) else self._longest
        return views(text, around=around, quotes=self._quotes)

    def _spans_in_views(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Where secrets stand in a text, in whatever form."""
        cost = _Cost(len(text))
        for view, layers in self._views(text):
            spans = self._spans(folded(view), cost)
            if spans:
                made_of = (fold_layer(view), *reversed(layers))
                for span in spans:
                    yield functools.reduce(lambda span, layer: layer.before(*span), made_of, span)

    def _spans(self, text: bytes, cost: _Cost) -> list[tuple[int, int]]:
        """Where secrets stand in a folded text."""
        size = len(text)
        reverse = backwards(text)
        found: list[tuple[int, int]] = []
        # The one that was found last, backwards: many that follow overlap it.
        begun = ended = size
        for alike, last in self._hits(reverse):
            cost.spend(alike.cost)
            start = last - alike.back
            length = alike.longest_at(reverse, start) if start >= 0 else 0
            if not length:
                continue
            if begun <= start < ended:
                ended = max(ended, start + length)
            else:
                found.append((size - ended, size - begun))
                begun, ended = start, start + length
        found.append((size - ended, size - begun))
        return _merged(span for span in found if span[1] > span[0])

    def _hits(self, text: str) -> Iterator[tuple[_Alike, int]]:
        """Where an anchor ends in a text."""
        for automaton in self._automatons:
            for first in range(0, len(text), _CHUNK):
                hits = automaton.iter(text, max(0, first - _ANCHOR + 1), min(len(text), first + _CHUNK))
                for last, groups in hits:
                    for alike in groups:
                        yield alike, last


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged
