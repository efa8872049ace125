"""The formatter of documents: what it changes, and what it never changes."""

import json
import random
import re
import time
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from docs.pages import ROOT, all_pages, blocks
from flowrunner.cli import templates
from flowrunner.domain.errors import InvalidFlow
from flowrunner.language.yaml_format import CannotFormat, format_yaml
from flowrunner.language.yaml_source import read_yaml

SAMPLES: Final = {
    **{str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("tests/**/*.yaml")},
    **{str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("demo/*.yaml")},
    **{name: templates.template(name) for name in templates.NAMES},
    **{
        f"{page.relative_to(ROOT)} {number}": text
        for page in all_pages()
        for number, text in enumerate([*blocks(page, "yaml"), *blocks(page, "json")])
    },
}


def meaning(text: str) -> str:
    return json.dumps(read_yaml(text).value)


def comments(text: str) -> list[str]:
    """Return all that looks like a comment: what is inside of texts is the same if their values are."""
    return [comment.rstrip() for comment in re.findall(r"(?:^|(?<=\s))#.*$", text.replace("\r\n", "\n"), re.MULTILINE)]


def readable() -> list[tuple[str, str]]:
    found = []
    for name, text in SAMPLES.items():
        try:
            read_yaml(text)
        except InvalidFlow:
            continue
        found.append((name, text))
    return found


def assert_formats(text: str, name: str = "") -> str:
    formatted = format_yaml(text)
    assert meaning(formatted) == meaning(text), name
    assert comments(formatted) == comments(text), name
    assert format_yaml(formatted) == formatted, name
    return formatted


def test_every_sample_keeps_its_meaning_and_its_comments() -> None:
    samples = readable()
    for name, text in samples:
        assert_formats(text, name)
    assert len(samples) > 500


def test_samples_that_are_written_otherwise_are_formatted_as_before() -> None:
    """Blanks at the ends of lines, blank lines and wider indentation do not survive."""
    chance = random.Random(7)
    written = 0
    for name, text in readable():
        if "|" in text or ">" in text or re.search(r"[\"'{\[][^\"'}\]\n]*\n", text):
            # Blank lines may be a part of the text, and line breaks in collections stay.
            continue
        if re.search(r"^ *- ", text, re.MULTILINE):
            # What follows the dash stands at a column that is no indentation.
            continue
        other = "".join(
            f"{' ' * 2 * (len(line) - len(line.lstrip(' ')))}{line.lstrip(' ')}{' ' * chance.randrange(3)}\n"
            for line in text.splitlines()
        )
        other = re.sub(r"\n\n", "\n" * chance.randrange(3, 5), f"\n{other}\n")
        assert assert_formats(other, name) == format_yaml(text), name
        written += 1
    assert written > 40


leaves = st.one_of(
    st.text(alphabet="ab #:-{}[],\"'\\\n\t é|>&*!%@`?😀", max_size=30),
    st.integers(-99, 99), st.booleans(), st.none(), st.sampled_from([1.5, "1.5", "no", "~", "- x", "a: b", "", " x "]),
)  # fmt: skip
keys = st.sampled_from(["a", "b c", "#d", "é", "1"])
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner))


styles = st.fixed_dictionaries({
    "indent": st.integers(2, 9), "width": st.integers(10, 200),
    "default_flow_style": st.sampled_from([True, False, None]),
    "default_style": st.sampled_from([None, '"', "'", "|", ">"]),
})  # fmt: skip


@given(value=values, style=styles, chance=st.randoms(use_true_random=False))
def test_any_document_is_formatted_with_its_comments(value: Any, style: Any, chance: random.Random) -> None:
    text = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False, **style)
    # The dumper makes tags of what a style does not suit.
    text = re.sub(r"!!(?:int|float|bool|null) ", "", text)
    for _ in range(3):
        lines = text.split("\n")
        lines.insert(chance.randrange(len(lines)), f"{' ' * chance.randrange(8)}# note {chance.randrange(9)}")
        with_comment = "\n".join(lines)
        try:
            # In the middle of a text it is a part of that, or a fault.
            if meaning(with_comment) == meaning(text):
                text = with_comment
        except InvalidFlow:
            pass
    try:
        before = meaning(text)
    except InvalidFlow:
        return
    formatted = format_yaml(text)
    assert meaning(formatted) == before
    assert format_yaml(formatted) == formatted
    assert sorted(re.findall(r"# note \d", formatted)) == sorted(re.findall(r"# note \d", text))


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("", ""),
        ("\n\n# only\n\n", "# only\n"),
        ("\ufeffa: 1", "a: 1\n"),
        ("a:\r\n    b: |\r\n       x\r\n", "a:\n  b: |\n    x\n"),
        ("a :   1  # x\n", "a: 1 # x\n"),
        ("{ a : 1,b: [ ],c: { } ,d: }", "{a: 1, b: [], c: {}, d: }\n"),
        ('{"a":"\\ud83d\\ude00"}', '{"a": "\\ud83d\\ude00"}\n'),
        ("a:\n- b\n-\n  - c\n  # of c\n# of d\n- d\n", "a:\n  - b\n  -\n    - c\n    # of c\n  # of d\n  - d\n"),
        ("-   - a\n    - b\n-   c: 1\n    d: 2\n", "- - a\n  - b\n- c: 1\n  d: 2\n"),
        ("a: &x\n    b: 1\nc:   *x\n", "a: &x\n  b: 1\nc: *x\n"),
        ("? a\n:   b\n", "? a\n: b\n"),
        ("--- # x\na:   1\n...\n", "--- # x\na: 1\n...\n"),
        ("a: |2-\n    two\n   one\n\n\nb: 1\n", "a: |-2\n    two\n   one\n\nb: 1\n"),
        ("a: |+   # kept\n     x\n\n\nb: 1\n", "a: |+ # kept\n  x\n\n\nb: 1\n"),
        ("a: >\n     x\n       y\n\n     z\n", "a: >\n  x\n    y\n\n  z\n"),
        ("a: |\n\n    x\n   \n# end\nb: |\n\nc: 1\n", "a: |\n\n  x\n\n# end\nb: |\n\nc: 1\n"),
        # Its last line has no end, which the parser does not add.
        ("a: |\n    x", "a: |-\n  x\n"),
        ('a: "x   \n   y\\   \n\n      z\\\n   w"\n', 'a: "x\n  y\\   \n\n  z\\\n  w"\n'),
        ("a: x\n      y\n\n      z\n", "a: x\n  y\n\n  z\n"),
        ("a: {b: 1,\n\n\n # c\n     d: [\n  1,\n ]}\n", "a: {b: 1,\n\n  # c\n  d: [\n    1,\n  ]}\n"),
        ("a:\n      # deep\n    b: 1\n      # deeper\n", "a:\n  # deep\n  b: 1\n  # deeper\n"),
        ("a:\n    b: 1\n   # between\n # odd\nc: 1\n", "a:\n  b: 1\n# between\n# odd\nc: 1\n"),
    ],
)  # fmt: skip
def test_white_space_is_what_changes(text: str, formatted: str) -> None:
    assert assert_formats(text) == formatted


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2\n", "%YAML 1.2\n---\na: 1\n", "a: 1\n---\nb: 2\n", "a: !x 1\n"])
def test_what_is_no_flow_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidFlow):
        format_yaml(text)


def test_a_text_that_would_be_the_end_of_the_document_in_another_column_is_left_as_it_is() -> None:
    with pytest.raises(CannotFormat):
        format_yaml(" ...\n}")


def test_the_largest_documents_take_a_moment() -> None:
    rows = "".join(f"  - {{id: {n}, text: 'x'}} # {n}\n" for n in range(1900))
    texts = [f"nodes:\n{rows}", f"a: |\n{' x' * 200_000}\n", f"a:\n{'  # c' * 4}\n" + "# c\n" * 100_000]
    before = time.process_time()
    for text in texts:
        assert_formats(text)

    assert time.process_time() - before < 20
