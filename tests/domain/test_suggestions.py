"""Suggestions of similar names, but not of names that only share letters."""

import pytest

from flowrunner.domain.suggestions import nearest
from flowrunner.nodes import built_in

TYPES = sorted(built_in())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("retrun", "return"), ("swich", "switch"), ("paralel", "parallel"), ("htp.request", "http.request"),
        ("http.get", "http.request"), ("Transform", "transform"), ("approve", "approval"), ("lgo", "log"),
        ("foreach_item", "foreach"), ("web-hook", "webhook"),
    ],
)  # fmt: skip
def test_a_slip_and_another_form_of_a_word_are_recognized(written: str, meant: str) -> None:
    assert nearest(written, TYPES) == meant


@pytest.mark.parametrize(("written", "meant"), [("bb", "b"), ("b", "bb"), ("b2", "b"), ("c", None), ("cb", None)])
def test_a_letter_more_or_less_is_recognized_in_the_shortest_words(written: str, meant: str | None) -> None:
    assert nearest(written, [meant or "b", "a"]) == meant


@pytest.mark.parametrize("written", ["mail", "delete", "weather", "wolf", "flaw.x", "trailing"])
def test_a_word_that_only_shares_letters_is_not_suggested(written: str) -> None:
    assert nearest(written, TYPES) is None
