"""Whole numbers that clients, flows and operators write as text."""

import pytest

from flowrunner.domain.whole_numbers import is_whole_number, natural_number_of


@pytest.mark.parametrize("text", ["", "-", "1_0", "٣", "²", "+5", " 5", "5 ", "5\n", "--5", "- 5", "5.0", "1e3", "0x5"])
def test_another_text_is_no_whole_number(text: str) -> None:
    assert not is_whole_number(text)
    assert natural_number_of(text) is None


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_ascii_digits_are_a_number(text: str, number: int) -> None:
    assert is_whole_number(text)
    assert is_whole_number(f"-{text}")
    assert natural_number_of(text) == number
    assert natural_number_of(f"-{text}") is None


def test_a_number_with_more_digits_than_its_place_has_is_none() -> None:
    assert natural_number_of("9" * 19) is None
    assert natural_number_of("9" * 5000) is None
    assert natural_number_of("1234", 3) is None
