"""The difference between two definitions."""

import difflib
import random
import re
import time
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.language.difference import MAX_TEXT_CHARACTERS, ChangeSummary, difference

NAMES: Final = ("revision 1", "revision 2")


def text_of(before: str, after: str) -> str:
    found = difference(before, after, names=NAMES)
    assert not found.is_truncated
    return found.text


def patched(before: str, diff: str) -> str:
    """Apply a diff to a text by the rules of `patch`; fail if the two do not fit."""
    old, new, at = re.findall(r"[^\n]*\n|[^\n]+", before), [], 0
    lines = diff.split("\n")[:-1]
    if lines:
        assert lines[:2] == [f"--- {NAMES[0]}", f"+++ {NAMES[1]}"]
    for index, line in enumerate(lines[2:], start=2):
        has_end = lines[index + 1 : index + 2] != ["\\ No newline at end of file"]
        written = line[1:] + ("\n" if has_end else "")
        if hunk := re.fullmatch(r"@@ -(\d+),(\d+) \+(\d+),(\d+) @@", line):
            start, length, new_start, new_length = map(int, hunk.groups())
            new += old[at : start - (length > 0)]
            at = start - (length > 0)
            assert len(new) == new_start - (new_length > 0)
        elif line[0] in " -":
            assert old[at] == written
            at += 1
            new += [written] if line[0] == " " else []
        elif line[0] == "+":
            new.append(written)
    return "".join(new + old[at:])


LINES: Final = st.lists(st.sampled_from(["", "a", "b", "  c: 1", "d\r", "e\u2028f", "--- x", "+", "\\"]), max_size=40)


@given(before=LINES, after=LINES, ends=st.tuples(st.booleans(), st.booleans()))
def test_a_text_becomes_the_other_by_its_difference(
    before: list[str], after: list[str], ends: tuple[bool, bool]
) -> None:
    old, new = ("\n".join(lines) + "\n" * end for lines, end in zip((before, after), ends, strict=True))

    diff = text_of(old, new)

    assert patched(old, diff) == new
    assert (diff == "") == (old == new)


@given(seed=st.integers(0, 10**9))
def test_a_few_edits_of_a_long_text_make_a_short_difference(seed: int) -> None:
    chance = random.Random(seed)
    old = [f"line {chance.randrange(60)}" for _ in range(300)]
    new = list(old)
    for _ in range(5):
        at = chance.randrange(len(new))
        new[at : at + chance.randrange(2)] = [f"new {chance.random()}"]
    before, after = "\n".join(old) + "\n", "\n".join(new) + "\n"

    diff = text_of(before, after)

    assert patched(before, diff) == after
    assert len([line for line in diff.split("\n")[2:] if line[:1] in ("+", "-")]) <= 10


def test_each_of_many_edits_of_a_long_text_is_shown_by_itself() -> None:
    old = [f"line {number}\n" for number in range(3000)]
    new = [line.replace("line", "new") if number % 3 == 0 else line for number, line in enumerate(old)]

    diff = text_of("".join(old), "".join(new))

    marked = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
    assert marked == [
        f"{mark}{word} {number}" for number in range(0, 3000, 3) for mark, word in (("-", "line"), ("+", "new"))
    ]


def test_it_reads_like_the_difference_of_other_tools() -> None:
    before = "".join(f"line {n}\n" for n in range(30))
    after = before.replace("line 3\n", "").replace("line 20\n", "line 20\nmore\n") + "end"

    expected = difflib.unified_diff(before.splitlines(True), after.splitlines(True), *NAMES)

    found = text_of(before, after)
    assert found == "".join(expected) + "\n\\ No newline at end of file\n"
    assert found.startswith("--- revision 1\n+++ revision 2\n@@ -1,7 +1,6 @@\n line 0\n line 1\n line 2\n-line 3\n")


MOST: Final = 1024 * 1024


def bits(seed: int) -> str:
    return "\n".join(f"{random.Random(seed).getrandbits(400_000):b}")


HOSTILE: Final[dict[str, Callable[[], tuple[str, str]]]] = {
    "nothing alike": lambda: ("#\n" * (MOST // 2), "!\n" * (MOST // 2)),
    "all alike but the ends": lambda: (
        "a\n" + "#\n" * (MOST // 2 - 2) + "b\n",
        "c\n" + "#\n" * (MOST // 2 - 2) + "d\n",
    ),
    "two lines in turn, and the other way round": lambda: ("a\nb\n" * (MOST // 4), "b\na\n" * (MOST // 4)),
    "a different rhythm": lambda: ("a\nb\n" * (MOST // 4), "a\na\nb\n" * (MOST // 6)),
    "the other way round": lambda: (
        "".join(f"{n:x}\n" for n in range(170_000)),
        "".join(f"{n:x}\n" for n in reversed(range(170_000))),
    ),
    "shuffled": lambda: (
        "".join(f"{n:x}\n" for n in range(170_000)),
        "".join(f"{n:x}\n" for n in random.Random(1).sample(range(170_000), 170_000)),
    ),
    "chance": lambda: (bits(1), bits(2)),
    "long lines": lambda: ("x" * MOST, "y" * MOST),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_pair_of_texts_takes_long_or_makes_much(name: str) -> None:
    before, after = HOSTILE[name]()
    began = time.process_time()

    found = difference(before, after, names=NAMES)

    assert time.process_time() - began < 20
    assert len(found.text) <= MAX_TEXT_CHARACTERS
    if not found.is_truncated:
        assert patched(before, found.text) == after


OLD: Final = """
metadata: {name: N, version: '1'}
vars: {a: 1}
nodes:
  a: {type: log, params: {message: x}, next: b}
  b: {type: log, params: {n: 1, deep: [{k: true}]}}
  c: {type: log}
"""


def test_nodes_and_keys_are_reported_by_name() -> None:
    new = OLD.replace("message: x", "message: y").replace("  c:", "  d:").replace("vars: {a: 1}", "start: a")

    assert difference(OLD, new, names=NAMES).summary == ChangeSummary(
        nodes_added=["d"], nodes_removed=["c"], nodes_changed=["a"], keys_changed=["start", "vars"]
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n: 1", "n: true"), ("n: 1", "n: 1.0"), ("k: true", "k: 1"), ("n: 1", "n: '1'"), ("[{", "[1, {"),
        ("true}]", "true}, 2]"), ("[{k: true}]", "[]"), ("k: true", "k: true, l: 1"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_or_length_is_a_change(old: str, new: str) -> None:
    summary = difference(OLD, OLD.replace(old, new), names=NAMES).summary

    assert summary is not None
    assert list(summary.nodes_changed) == ["b"]


def test_comments_layout_and_the_order_of_keys_change_no_node() -> None:
    new = OLD.replace("{type: log, params: {message: x}, next: b}", "{next: b, params: {message: 'x'}, type: log} # !")

    found = difference(OLD, new, names=NAMES)

    assert found.text
    assert found.summary == ChangeSummary(nodes_added=[], nodes_removed=[], nodes_changed=[], keys_changed=[])


def test_a_text_that_is_no_yaml_has_no_summary() -> None:
    found = difference(OLD, "nodes: [", names=NAMES)

    assert found.summary is None
    assert patched(OLD, found.text) == "nodes: ["


def test_the_first_definition_adds_all_there_is() -> None:
    found = difference("", OLD, names=NAMES)

    assert found.summary is not None
    assert list(found.summary.nodes_added) == ["a", "b", "c"]
    assert patched("", found.text) == OLD
