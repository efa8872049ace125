"""The documentation that is installed with the program: its sections, and a search by words."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import flowrunner

PAGES: Final = Path(flowrunner.__file__).parent / "docs"
MOST_WORDS: Final = 12
_HEADING: Final = re.compile(r"(#{1,4}) +(.+)")
_FENCE: Final = re.compile(r"\s*(```|~~~)")
_WORD: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_PARTS: Final = re.compile(r"[._-]")
_LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# Okapi BM25 (Robertson and Zaragoza 2009) with its usual parameters; a word of the heading counts this many times.
_K1: Final = 1.2
_B: Final = 0.75
_IN_HEADING: Final = 5
# Words of questions that say nothing about what is asked for.
_FILLERS: Final = frozenset(
    "a an and are be can do does for how i in is it my of on or the to what when where why with".split()
)
_MOST_OF_EXCERPT: Final = 700


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page below a heading.

    Attributes:
        topic: The page and the anchor, such as `triggers#schedules`; of the first one, the page alone.
    """

    topic: str
    page: str
    heading: str
    text: str


class _Posting(NamedTuple):
    section: int
    times: int


class Manual:
    """The pages of the documentation. Reading them takes some 50 ms, so it is made on a thread."""

    def __init__(self, directory: Path = PAGES) -> None:
        self.pages: Mapping[str, str] = {
            path.stem.lower(): path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.md"))
        }
        self._sections = [section for page, text in self.pages.items() for section in _sections_of(page, text)]
        self._by_topic = {section.topic: section for section in self._sections}
        self._postings: dict[str, list[_Posting]] = defaultdict(list)
        lengths = []
        for number, section in enumerate(self._sections):
            counts = Counter(_words_of(section.text)) + Counter(
                _words_of(f"{section.page} {section.heading}") * _IN_HEADING
            )
            lengths.append(counts.total())
            for word, times in counts.items():
                self._postings[word].append(_Posting(number, times))
        mean = sum(lengths) / len(lengths)
        self._norms = [_K1 * (1 - _B + _B * length / mean) for length in lengths]

    def find(self, topic: str) -> str | None:
        """Return the text of a page, or of one of its sections; None if there is none."""
        page = self.pages.get(topic)
        if page is not None:
            return page
        section = self._by_topic.get(topic)
        return None if section is None else section.text

    def title_of(self, page: str) -> str:
        return self._by_topic[page].heading

    def search(self, query: str, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return the sections that fit the words of a query best, the best first."""
        words = list(dict.fromkeys(_words_of(query)))[:MOST_WORDS]
        scores: Counter[int] = Counter()
        for word in words:
            postings = self._postings.get(word, [])
            rarity = math.log(1 + (len(self._sections) - len(postings) + 0.5) / (len(postings) + 0.5))
            for section, times in postings:
                scores[section] += rarity * times * (_K1 + 1) / (times + self._norms[section])  # type: ignore[assignment] # a score is no whole number
        return [_shown(self._sections[number], words) for number, _ in scores.most_common(limit)]


def _shown(section: Section, words: Sequence[str]) -> Mapping[str, Any]:
    return {"topic": section.topic, "heading": section.heading, "excerpt": _excerpt(section.text, words)}


def _excerpt(text: str, words: Sequence[str]) -> str:
    """Return the part of a section with the first of the words, from the beginning of its paragraph."""
    lowered = text.lower()
    first = min((at for word in words if (at := lowered.find(word)) >= 0), default=0)
    start = text.rfind("\n\n", 0, first) + 2 if first > _MOST_OF_EXCERPT // 2 else 0
    part = text[max(start, 0) : start + _MOST_OF_EXCERPT].strip()
    return part if start + _MOST_OF_EXCERPT >= len(text) else f"{part}…"


def _sections_of(page: str, text: str) -> Iterator[Section]:
    heading, lines, anchors, is_code = page, list[str](), Counter[str](), False
    topic = page
    for line in text.splitlines():
        found = None if is_code else _HEADING.fullmatch(line)
        if _FENCE.match(line):
            is_code = not is_code
        if found is None:
            lines.append(line)
            continue
        title = _LINK.sub(r"\1", found[2]).replace("`", "")
        if found[1] != "#":
            yield Section(topic, page, heading, "\n".join(lines).strip())
            anchor = anchor_of(title)
            anchors[anchor] += 1
            # As GitHub names a heading that comes again.
            topic = f"{page}#{anchor}" if anchors[anchor] == 1 else f"{page}#{anchor}-{anchors[anchor] - 1}"
            lines = []
        heading = title
        lines.append(line)
    yield Section(topic, page, heading, "\n".join(lines).strip())


def anchor_of(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _words_of(text: str) -> list[str]:
    """Return the words of a text, and the parts of those that are joined, such as `http.request`."""
    found = []
    for word in _WORD.findall(text.lower()):
        if word in _FILLERS:
            continue
        found.append(_stem(word))
        parts = _PARTS.split(word)
        if len(parts) > 1:
            found += [_stem(part) for part in parts]
    return found


def _stem(word: str) -> str:
    """Return a word without the ending of a plural or of a verb, so that all forms are found."""
    if len(word) > 5 and word.endswith("ing"):
        return word[:-3]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
