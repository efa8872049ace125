"""A search for many needles at once, in every encoding in which they may appear in a text.

One pass finds an anchor of each needle in the views of a text (`canonical`). At each anchor, the longest needle is
looked up among those with the same anchor. So the time depends on the length of the text, and little on the number
and the length of the needles.

Source: A. Aho and M. Corasick, "Efficient String Matching: An Aid to Bibliographic Search", CACM 1975: the time of
a search does not depend on the number of words.
"""

import functools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import ahocorasick

from flowrunner.domain.errors import RedactionLimit
from flowrunner.security.canonical import BETWEEN, Layer, fold_layer, folded, follows_escape, has_dropped, views
from flowrunner.security.needles import Needle, backwards

# Length of an anchor. Longer ones would make the search tree large, and the search slow in repetitive texts.
_ANCHOR: Final = 8
# The anchor is taken from the last bytes of a needle, because secrets often start alike but end differently. It
# starts with the rarest of these bytes, because a search tree with few branches at its root is fastest.
_ANCHOR_WITHIN: Final = 32
_BY_RARITY: Final = "qzjxkvw~^`|@#$*!9876543210bfgpyucmdhlronistae"
_RANKS: Final = {character: rank for rank, character in enumerate(_BY_RARITY)}
_BETWEEN: Final = BETWEEN.decode("latin-1")
# Bytes per call of the search, during which no other thread runs.
_CHUNK: Final = 256 * 1024
# Cost limit for the look-ups in one text, in units of about 0.1 µs. A text of 1 MB that consists only of 1,000 random
# secrets costs a fifth of it. Only secrets that repeat the same characters cost more.
MOST_COST: Final = 12_000_000
_COST: Final = 16
_BYTES_A_UNIT: Final = 1024


class _Cost:
    """The cost of look-ups in one text so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = MOST_COST

    def spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise RedactionLimit(self._size)


class _Alike:
    """Reversed needles that have the same anchor at the same offset, with a look-up of the longest at a position.

    Attributes:
        back: The distance from the start of the needles to the end of the anchor.
        cost: The cost of a look-up.

    Source: E. Myers, "An applicative random-access stack", Information Processing Letters 1983: jumps to
    ancestors, which find a needle in logarithmic time among those that are prefixes of each other.
    """

    def __init__(self, back: int, needles: Iterable[Needle]) -> None:
        self.back = back
        every = sorted(needles)
        self._needles = [needle.backwards for needle in every]
        self._is_rest = [needle.is_rest for needle in every]
        self._longest = max(map(len, self._needles))
        self.cost = _COST + self._longest * len(self._needles).bit_length() // _BYTES_A_UNIT
        # For each needle: its longest proper prefix among the needles, and a farther one; -1 for none.
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

    def longest_at(self, text: str, start: int, is_after_escape: Callable[[int], bool]) -> int:
        """Return the length of the longest needle at this position; 0 if there is none.

        Args:
            is_after_escape: Tells for a position in the text whether what ends there follows a decoded escape.
        """
        needles = self._needles
        # All needles that are prefixes of the text are ancestors of its predecessor in the order.
        number = bisect_right(needles, text[start : start + self._longest]) - 1
        while number >= 0 and not text.startswith(needles[number], start):
            jump = self._jumps[number]
            is_too_far = jump < 0 or text.startswith(needles[jump], start)
            number = self._parents[number] if is_too_far else jump
        while number >= 0 and self._is_rest[number]:
            length = len(needles[number])
            if is_after_escape(start + length):
                # With the escape, which contains the start of the secret, but never with what was left out.
                return length + (text[start + length : start + length + 1] not in ("", _BETWEEN))
            number = self._parents[number]
        return len(needles[number]) if number >= 0 else 0


def _anchor_of(needle: str) -> int:
    """Return the offset of the anchor in a needle."""
    starts = range(min(max(len(needle) - _ANCHOR, 0), _ANCHOR_WITHIN) + 1)
    return min(starts, key=lambda start: (_RANKS.get(needle[start], len(_RANKS)), start))


class NeedleSearch:
    """A search for needles in texts."""

    def __init__(self, needles: Iterable[Needle]) -> None:
        every: dict[str, bool] = {}
        for text, is_rest in needles:
            every[text] = is_rest and every.get(text, True)
        groups: dict[str, dict[int, list[Needle]]] = {}
        for text, is_rest in every.items():
            offset = _anchor_of(text)
            alike = groups.setdefault(text[offset : offset + _ANCHOR], {})
            alike.setdefault(offset, []).append(Needle(text, is_rest))
        automaton: Any = ahocorasick.Automaton()
        for anchor, by_offset in groups.items():
            automaton.add_word(anchor, [_Alike(len(anchor) - 1 + offset, alike) for offset, alike in by_offset.items()])
        automaton.make_automaton()
        self._automatons = [automaton]
        self._longest = max(map(len, every))
        self._quotes = any("'" in needle or '"' in needle for needle in every)

    def with_more(self, needles: Iterable[Needle]) -> "NeedleSearch":
        """Return a search that also finds these needles. It is slightly slower, but quick to build."""
        more = NeedleSearch(needles)
        more._automatons += self._automatons
        more._longest = max(more._longest, self._longest)
        more._quotes = more._quotes or self._quotes
        return more

    def is_in(self, text: bytes) -> bool:
        cost = _Cost(len(text))
        return any(self._spans(view, layers, cost) for view, layers in self._views(text))

    def masked(self, texts: Sequence[str], mask: bytes) -> dict[str, str]:
        """Return the texts that contain a needle, with the mask in place of every needle."""
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
        # Bytes that folding removes may stand between those of a needle: line breaks of base64, or NULs of UTF-16.
        around = 3 * self._longest if has_dropped(text) else self._longest
        return views(text, around=around, quotes=self._quotes)

    def _spans_in_views(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the ranges of secrets in a text, in every form."""
        cost = _Cost(len(text))
        for view, layers in self._views(text):
            spans = self._spans(view, layers, cost)
            if spans:
                made_of = (fold_layer(view), *reversed(layers))
                for span in spans:
                    yield functools.reduce(lambda span, layer: layer.before(*span), made_of, span)

    def _spans(self, view: bytes, layers: Sequence[Layer], cost: _Cost) -> list[tuple[int, int]]:
        """Return the ranges of secrets in a view after folding."""
        reverse = backwards(folded(view))
        size = len(reverse)

        made_of: list[Layer] = []

        def is_after_escape(end: int) -> bool:
            if not layers:
                return False
            cost.spend(_COST)
            if not made_of:
                made_of.extend((fold_layer(view), *reversed(layers)))
            begin = made_of[0].before(size - end, size - end + 1)[0]
            return follows_escape(begin, made_of[1:])

        found: list[tuple[int, int]] = []
        # The range found last; the search runs backwards, and many following ranges overlap it.
        begun = ended = size
        for alike, last in self._hits(reverse):
            cost.spend(alike.cost)
            start = last - alike.back
            length = alike.longest_at(reverse, start, is_after_escape) if start >= 0 else 0
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
        """Yield the positions at which anchors end in a text."""
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
