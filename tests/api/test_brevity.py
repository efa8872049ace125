"""Answers for agents that are cut to a number of bytes, and say so."""

from typing import Any

import msgspec
import pytest

from flowrunner.api.mcp.brevity import fitting, picked, plain, shortened, text_of

DEEP: Any = {"x" * 40: 1}
for _ in range(20):
    DEEP = {"in": [DEEP], "beside": 1}


def test_what_is_short_enough_is_left_as_it_is() -> None:
    value = {"a": "x" * 92}

    assert len(msgspec.json.encode(value)) == 100
    assert shortened(value, 100) is value
    assert shortened(value, 99)["is_shortened"] is True


@pytest.mark.parametrize(
    ("value", "member"),
    [
        ("ä" * 30_000, "ä" * 8000 + "… (22000 more characters)"),
        (["x" * 100] * 300, ["x" * 100] * 200 + ["… (100 more items)"]),
        ([1] * 20_001, [1] * 200 + ["… (19801 more items)"]),
        ({f"k{n}": n for n in range(9000)}, {f"k{n}": n for n in range(200)} | {"…": "8800 more members"}),
        (["x" * 3000] * 20, ["x" * 500 + "… (2500 more characters)"] * 20),
    ],
    ids=["text", "texts", "numbers", "members", "long texts"],
)
def test_what_is_left_out_is_counted(value: Any, member: Any) -> None:
    cut = shortened({"a": value, "id": "exec-1"})

    assert cut == {"a": member, "id": "exec-1", "is_shortened": True}


def test_what_is_deep_is_cut_below() -> None:
    cut = shortened({"a": DEEP, "b": ["y" * 3000] * 10})

    text = msgspec.json.encode(cut).decode()
    assert "… (2 members)" in text or "… (1 item)" in text
    assert text.count('"in"') == 6


def test_an_object_that_no_cut_makes_short_is_the_beginning_of_its_text() -> None:
    wide = {f"name-{n}-ä": n for n in range(9000)}

    for most in (1000, 1001, 1002, 1003, 1004):
        cut = shortened(wide, most)
        assert cut == {"text": msgspec.json.encode(wide)[: most // 4].decode(errors="ignore"), "is_shortened": True}
        assert len(msgspec.json.encode(cut)) <= most


def test_a_page_holds_the_entries_that_it_has_room_for() -> None:
    entries = [{"a": "x" * 92}] * 10

    # An entry takes 100 bytes and a comma, and 500 are left for what is around them.
    assert [fitting(entries, most) for most in (500, 600, 601, 701, 702, 1510, 10**6)] == [0, 0, 1, 1, 2, 10, 10]
    assert fitting([]) == 0


def test_texts_and_members_are_cut_where_they_are_longer() -> None:
    assert (text_of("abc", 3), text_of("abcd", 3)) == ("abc", "abc… (1 more character)")
    assert picked({"a": 1, "b": 2, "c": None}, "c", "a", "d") == {"c": None, "a": 1}
    assert plain("a\x00b\n\u202e c" + "d" * 5, 4) == "a b … (6 more characters)"
    assert plain("a b" + "\n " * 500, 4) == "a b"
    assert plain("word " * 1000, 9) == "word word… (4990 more characters)"
    assert plain("\x00 " * 20 + "word " * 200, 9) == "… (1021 more characters)"
