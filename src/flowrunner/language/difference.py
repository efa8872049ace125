"""Differences between two definitions of a flow, as text and as nodes.

The standard library's `difflib` takes hours for some pairs of definitions. Lines are therefore matched here, with a
bound on the work: lines that occur once on both sides are the anchors (B. Cohen's "patience diff"), and the lines
between them are aligned by E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.values import JSON
from flowrunner.language.yaml_source import read_yaml

MAX_TEXT_CHARACTERS: Final = 1024 * 1024
CONTEXT_LINES: Final = 3
# Line comparisons, in addition to those that every pair needs. Beyond that, a difference is correct but not minimal.
_MOST_WORK: Final = 2_000_000
# Limit on the length of an edit path: the stored steps grow with its square.
_MOST_EDITS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSummary:
    """Names of the changed nodes and keys, in the order of the documents.

    Attributes:
        keys_changed: Top-level keys of the document, except `nodes`.
    """

    nodes_added: Sequence[str]
    nodes_removed: Sequence[str]
    nodes_changed: Sequence[str]
    keys_changed: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Difference between two definitions.

    Attributes:
        text: A unified diff; empty if nothing changed.
        is_truncated: The text holds only the beginning of the difference.
        summary: None if one of the definitions cannot be read.
    """

    text: str
    is_truncated: bool
    summary: ChangeSummary | None


def difference(before: str, after: str, *, names: tuple[str, str]) -> Difference:
    """Return the difference between two definitions. Takes about a second at worst, for texts of a mebibyte."""
    pieces: list[str] = []
    size = 0
    for piece in _unified(_lines(before), _lines(after), names):
        size += len(piece)
        if size > MAX_TEXT_CHARACTERS:
            return Difference(text="".join(pieces), is_truncated=True, summary=_summary(before, after))
        pieces.append(piece)
    return Difference(text="".join(pieces), is_truncated=False, summary=_summary(before, after))


# As nodes


def _summary(before: str, after: str) -> ChangeSummary | None:
    try:
        old, new = _document(before), _document(after)
    except InvalidFlow:
        return None
    added, removed, changed = _changes(_map(old.get("nodes")), _map(new.get("nodes")))
    keys = [key for kind in _changes(old, new) for key in kind if key != "nodes"]
    return ChangeSummary(nodes_added=added, nodes_removed=removed, nodes_changed=changed, keys_changed=keys)


def _document(text: str) -> Mapping[str, JSON]:
    return _map(read_yaml(text).value)


def _map(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, dict) else {}


def _changes(old: Mapping[str, JSON], new: Mapping[str, JSON]) -> tuple[list[str], list[str], list[str]]:
    """Return the keys that were added, were removed, and have another value."""
    return (
        [key for key in new if key not in old],
        [key for key in old if key not in new],
        [key for key in new if key in old and not _is_same(old[key], new[key])],
    )


def _is_same(one: JSON, other: JSON) -> bool:
    # 1, 1.0 and true are equal in Python, but not in a flow.
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return one == other


# As text


@dataclass(frozen=True, slots=True)
class _Change:
    """Range of old lines that was replaced by a range of new lines. The ends are exclusive."""

    old: int
    old_end: int
    new: int
    new_end: int


def _lines(text: str) -> list[str]:
    """Return the lines with their ends. Only a line feed ends a line; YAML texts may hold other separators."""
    *lines, rest = text.split("\n")
    return [f"{line}\n" for line in lines] + ([rest] if rest else [])


def _unified(before: Sequence[str], after: Sequence[str], names: tuple[str, str]) -> Iterator[str]:
    hunks = list(_hunks(_line_changes(before, after)))
    if hunks:
        yield f"--- {names[0]}\n+++ {names[1]}\n"
    for hunk in hunks:
        lead = min(CONTEXT_LINES, hunk[0].old, hunk[0].new)
        tail = min(CONTEXT_LINES, len(before) - hunk[-1].old_end)
        old, new = hunk[0].old - lead, hunk[0].new - lead
        old_range = _range(old, hunk[-1].old_end + tail)
        yield f"@@ -{old_range} +{_range(new, hunk[-1].new_end + tail)} @@\n"
        for change in hunk:
            yield from _marked(" ", before[old : change.old])
            yield from _marked("-", before[change.old : change.old_end])
            yield from _marked("+", after[change.new : change.new_end])
            old = change.old_end
        yield from _marked(" ", before[old : old + tail])


def _hunks(changes: Sequence[_Change]) -> Iterator[Sequence[_Change]]:
    """Group the changes whose context lines touch."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change.old - hunk[-1].old_end > 2 * CONTEXT_LINES:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _range(start: int, end: int) -> str:
    length = end - start
    return f"{start + 1 if length else start},{length}"


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _line_changes(before: Sequence[str], after: Sequence[str]) -> Sequence[_Change]:
    numbers: dict[str, int] = {}
    old = [numbers.setdefault(line, len(numbers)) for line in before]
    new = [numbers.setdefault(line, len(numbers)) for line in after]
    changes: list[_Change] = []
    i = j = 0
    # An empty block at the end closes the last change.
    for same_i, same_j, length in [*_Matching(old, new).blocks(), (len(old), len(new), 0)]:
        if (i, j) != (same_i, same_j):
            changes.append(_Change(i, same_i, j, same_j))
        i, j = same_i + length, same_j + length
    return changes


_Region = tuple[int, int, int, int]


class _Matching:
    """Matching of lines, given as numbers. Once the budget of work is used up, few further lines are matched."""

    def __init__(self, old: Sequence[int], new: Sequence[int]) -> None:
        self.old = old
        self.new = new
        self.work_left = _MOST_WORK + 4 * (len(old) + len(new))

    def blocks(self) -> list[tuple[int, int, int]]:
        """Return the equal blocks in order: start in the old text, start in the new text, and length."""
        found: list[tuple[int, int, int]] = []
        regions: list[_Region] = [(0, len(self.old), 0, len(self.new))]
        while regions:
            i, i_end, j, j_end = regions.pop()
            start = i
            while i < i_end and j < j_end and self.old[i] == self.new[j]:
                i, j = i + 1, j + 1
            found.append((start, j - (i - start), i - start))
            end = i_end
            while i < i_end and j < j_end and self.old[i_end - 1] == self.new[j_end - 1]:
                i_end, j_end = i_end - 1, j_end - 1
            found.append((i_end, j_end, end - i_end))
            self.work_left -= i_end - i + j_end - j
            if i < i_end and j < j_end and self.work_left > 0:
                matched = self.anchors((i, i_end, j, j_end))
                if matched:
                    regions.extend(_between((i, i_end, j, j_end), matched))
                else:
                    matched = self.shortest((i, i_end, j, j_end))
                found.extend((a, b, 1) for a, b in matched)
        return sorted(block for block in found if block[2])

    def anchors(self, region: _Region) -> list[tuple[int, int]]:
        """Return the longest ascending sequence of the lines that occur once on both sides."""
        i, i_end, j, j_end = region
        old, new = self.old[i:i_end], self.new[j:j_end]
        once = {line for line, count in Counter(old).items() if count == 1}
        once &= {line for line, count in Counter(new).items() if count == 1}
        if not once:
            return []
        place = {line: j + offset for offset, line in enumerate(new) if line in once}
        pairs = [(i + offset, place[line]) for offset, line in enumerate(old) if line in once]
        # For each length, the sequence with the lowest end; and for each pair, its predecessor in the sequence.
        lowest: list[int] = []
        last: list[int] = []
        previous: list[int | None] = []
        for index, (_, b) in enumerate(pairs):
            length = bisect_left(lowest, b)
            previous.append(last[length - 1] if length else None)
            lowest[length : length + 1] = [b]
            last[length : length + 1] = [index]
        chosen: list[tuple[int, int]] = []
        at: int | None = last[-1]
        while at is not None:
            chosen.append(pairs[at])
            at = previous[at]
        return chosen[::-1]

    def shortest(self, region: _Region) -> list[tuple[int, int]]:
        """Return the equal lines on the path with the fewest edits, or none if the path is too long."""
        i, i_end, j, j_end = region
        width, height = i_end - i, j_end - j
        # For each diagonal, the farthest point with the current number of edits; and the same before each edit.
        farthest = {1: 0}
        history: list[dict[int, int]] = []
        for edits in range(min(width + height, _MOST_EDITS) + 1):
            history.append(farthest.copy())
            for k in range(-edits, edits + 1, 2):
                x = start = _step(farthest, k, edits)
                while x < width and x - k < height and self.old[i + x] == self.new[j + x - k]:
                    x += 1
                farthest[k] = x
                self.work_left -= 1 + x - start
                if x >= width and x - k >= height:
                    return [(i + a, j + b) for a, b in _backtrack(history, width, height)]
            if self.work_left <= 0:
                break
        return []


def _between(region: _Region, anchors: Sequence[tuple[int, int]]) -> Iterator[_Region]:
    i, i_end, j, j_end = region
    for a, b in anchors:
        yield (i, a, j, b)
        i, j = a + 1, b + 1
    yield (i, i_end, j, j_end)


def _step(farthest: Mapping[int, int], k: int, edits: int) -> int:
    """Return the point where the path enters diagonal ``k``, by an added or a removed line."""
    return farthest[k + 1] if _is_added(farthest, k, edits) else farthest[k - 1] + 1


def _is_added(farthest: Mapping[int, int], k: int, edits: int) -> bool:
    return k == -edits or (k != edits and farthest[k - 1] < farthest[k + 1])


def _backtrack(history: Sequence[Mapping[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    same: list[tuple[int, int]] = []
    for edits in range(len(history) - 1, -1, -1):
        farthest, k = history[edits], x - y
        start = _step(farthest, k, edits)
        while x > start:
            x, y = x - 1, y - 1
            same.append((x, y))
        if edits:
            x, y = (start, start - k - 1) if _is_added(farthest, k, edits) else (start - 1, start - k)
    return same
