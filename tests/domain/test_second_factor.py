"""Codes of second factors, as people write them."""

import pytest

from flowrunner.domain.second_factor import normal_recovery_code, normal_totp, shown_recovery_code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("123456", "123456"), ("123 456", "123456"), (" 12-34-56 ", "123456"), ("012345", "012345"), ("12345", None),
        ("1234567", None), ("12345a", None), ("", None), ("١٢٣٤٥٦", None), ("12345６", None), ("123456.", None),
    ],
)  # fmt: skip
def test_a_one_time_code_is_six_digits_in_any_groups(text: str, code: str | None) -> None:
    assert normal_totp(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("abcd-efgh-2345-67xy", "abcdefgh234567xy"), ("ABCD EFGH 2345 67XY", "abcdefgh234567xy"),
        ("abcdefgh234567xy", "abcdefgh234567xy"), ("abcd-efgh-2345-67x", None), ("abcd-efgh-2345-67xyz", None),
        ("abcd-efgh-2345-678y", None), ("abcd-efgh-2345-617y", None), ("abcd-efgh-2345-67xк", None), ("", None),
    ],
)  # fmt: skip
def test_a_recovery_code_is_sixteen_characters_in_any_groups_and_case(text: str, code: str | None) -> None:
    assert normal_recovery_code(text) == code


def test_a_recovery_code_is_shown_in_groups_of_four_and_read_back() -> None:
    shown = shown_recovery_code("abcdefgh234567xy")

    assert shown == "abcd-efgh-2345-67xy"
    assert normal_recovery_code(shown) == "abcdefgh234567xy"
