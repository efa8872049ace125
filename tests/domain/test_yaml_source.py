"""Reading of YAML into plain values with their places, within bounds."""

import re
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.errors import MOST_PATH_CHARACTERS, InvalidFlow
from flowrunner.language.yaml_source import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NODES,
    Position,
    dotted,
    read_leniently,
    read_yaml,
)
from support.lazy import Lazy


def value_of(text: str) -> Any:
    return read_yaml(text).value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("nUll", "nUll"),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("+7", 7),
        ("-7", -7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5e-3", -0.0015),
        ("1e", "1e"),
        ("12:30:45", "12:30:45"),
        ("2027-01-31", "2027-01-31"),
        ("=", "="),
        ('"12"', "12"),
        ("'true'", "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("${input.x}", "${input.x}"),
        ("", None),
        ("{a: , b: 1}", {"a": None, "b": 1}),
        ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ('{"<<": 1}', {"<<": 1}),
        ("[a, [b, {c: d}]]", ["a", ["b", {"c": "d"}]]),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("a: &x 5\nb: [*x, *x]", {"a": 5, "b": [5, 5]}),
        ("a: |\n  %TAG\nb: 50% of it\nc: '\n  %d'", {"a": "%TAG\n", "b": "50% of it", "c": " %d"}),
        ("--- 5\n...\n", 5),
        ("# nothing but this", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    result = value_of(text)

    assert result == value
    assert type(result) is type(value)


def test_only_the_text_of_a_literal_block_has_lines_of_its_own() -> None:
    source = read_yaml("a: |\n  x\n\n  y\nb: >\n  x\n\n  y\nc: 'x\n\n  y'\n")

    assert source.value == {"a": "x\n\ny\n", "b": "x\ny\n", "c": "x\ny"}
    assert [source.place((key,)).block_line for key in "abc"] == [2, None, None]


def test_every_value_and_key_remembers_its_place() -> None:
    source = read_yaml("nodes:\n  fetch:\n    urls: [a, bc]\n")

    assert source.place(("nodes", "fetch")) == Position(3, 5)
    assert source.key_places["nodes", "fetch"] == Position(2, 3)
    assert source.place(("nodes", "fetch", "urls", 1)) == Position(3, 15)
    assert source.place(("nodes", "fetch", "missing", "deeper")) == Position(3, 5)


def test_columns_count_characters_and_not_bytes() -> None:
    source = read_yaml("é😀: [ü, x]\n")

    assert source.place(("é😀", 1)) == Position(1, 9)


def test_the_path_of_a_value_is_written_with_dots_and_brackets() -> None:
    assert dotted(("nodes", "a", "items", 0, "x")) == "nodes.a.items[0].x"
    assert dotted(()) == ""


def test_the_path_of_a_value_that_is_deep_ends_after_a_whole_key() -> None:
    path = dotted(("nodes", "a" * 500, "b" * 490, "c" * 10, "d"))

    assert path == f"nodes.{'a' * 500}.{'b' * 490}…"
    assert dotted(("nodes", "s" * 1_000_000)) == "nodes…"
    assert dotted(("x" * 999,)) == "x" * 999


def test_the_deepest_document_allowed_is_read() -> None:
    assert value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None


def test_the_largest_document_allowed_is_read() -> None:
    text = "a: " + "x" * (MAX_BYTES - 3)

    assert value_of(text) == {"a": "x" * (MAX_BYTES - 3)}


def test_as_many_values_as_allowed_are_read() -> None:
    assert len(value_of("[" + "1," * (MAX_NODES - 1) + "]")) == MAX_NODES - 1


def many_tags() -> str:
    return "".join(f"%TAG !a{number}! b\n" for number in range(60_000))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("%YAML 1.2\n---\na: 1", 1),
        (Lazy(lambda: many_tags() + "---\na: 1"), 1),
        (Lazy(lambda: "\ufeff" + many_tags()), 1),
        (Lazy(lambda: "# one\n\n" + many_tags()), 3),
        (Lazy(lambda: "a: 1\n" + many_tags()), 2),
        (Lazy(lambda: "a: |\n  text\n" + many_tags()), 3),
        (Lazy(lambda: "a: 1\n...\n# two\n" + many_tags()), 4),
        (Lazy(lambda: "---\n" + many_tags()), 2),
        (Lazy(lambda: "a: 1\x85" + many_tags().replace("\n", "\x85")), 2),
        (Lazy(lambda: "a: 1\u2028" + many_tags()[:300_000].replace("\n", "\u2029")), 2),
        (Lazy(lambda: "{a: 1}\r\n" + many_tags().replace("\n", "\r")), 2),
    ],
)
def test_directives_are_rejected_before_they_are_parsed(text: str, line: int) -> None:
    started = time.process_time()

    with pytest.raises(InvalidFlow) as error:
        read_yaml(text)

    (fault,) = error.value.faults
    assert (fault.code, fault.line, fault.column) == ("yaml.directive", line, 1)
    assert time.process_time() - started < 0.5


def test_the_characters_of_a_document_are_counted_with_its_aliases_written_out() -> None:
    piece = "x" * (MAX_BYTES // 10)

    assert value_of(f"a: &a {piece}\nb: [{', '.join(['*a'] * 8)}]") is not None
    for text in (
        f"a: &a {piece}\nb: [{', '.join(['*a'] * 10)}]",
        f"a: &a [{piece}]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]",
        f"a: &a\n  ? {piece}\n  : 1\nb: [{', '.join(['*a'] * 10)}]",
    ):
        with pytest.raises(InvalidFlow, match="at most 1048576 characters, aliases written out"):
            read_yaml(text)


def is_within(text: str, line: int | None, column: int | None) -> bool:
    """Return whether the place is in the text, or directly after it."""
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    return line is not None and column is not None and 1 <= line <= len(lines) + 1 and 1 <= column <= len(text) + 1


@given(st.text(max_size=60) | st.text(" \n\t-:{}[]&*!|>'\"%@`,?#ab0~\x00\ufeff$", max_size=60))
def test_no_text_raises_anything_but_its_faults(text: str) -> None:
    try:
        read_yaml(text)
    except InvalidFlow as error:
        faults = error.faults
    else:
        return
    assert faults
    assert all(is_within(text, fault.line, fault.column) for fault in faults)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6), inner, max_size=3
        )
    ),
    max_leaves=15,
)


@given(json_values, st.booleans())
def test_a_written_value_reads_back(value: Any, flow_style: bool) -> None:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=flow_style, allow_unicode=True, sort_keys=False)

    assert value_of(text) == value


class _Dumper(yaml.SafeDumper):
    """A dumper that quotes every text, because PyYAML's rules for plain texts are those of YAML 1.1."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


def _decimal(dumper: _Dumper, value: float) -> yaml.Node:
    # YAML 1.1, which PyYAML follows, requires a point in every float.
    text = repr(value) if "." in repr(value) else repr(value).replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(str, _quoted)
_Dumper.add_representer(float, _decimal)


@pytest.mark.parametrize("depth", [1, 40])
def test_faults_within_long_keys_do_not_repeat_them(depth: int) -> None:
    keys = "".join(f'{" " * n}? "{"k" * (40_000 // depth)}"\n{" " * n}:\n' for n in range(depth))

    _, faults = read_leniently(keys + " " * depth + "[" + ", ".join(["!a b"] * 2000) + "]\n")

    assert len(faults) == 2000
    assert sum(len(fault.path) for fault in faults) <= 2000 * MOST_PATH_CHARACTERS


@pytest.mark.parametrize("others", ["", "\ue83d\uee00", "\ue83d\uee00\ua83d\uae00", "\ue83d\ua83d\ub83d"])
def test_a_pair_of_escapes_is_a_character_beside_any_others(others: str) -> None:
    source = read_yaml(f'{{"a": "\\ud83d\\ude00{others}", b: \'\\ud83d\\ude00\'}}')

    assert source.value == {"a": f"\U0001f600{others}", "b": "\\ud83d\\ude00"}
