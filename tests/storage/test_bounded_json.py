"""Numbers that take long to decode, in texts of any length."""

import json
from typing import Any, Final

import msgspec
import pytest

from flowrunner.bounded_json import BoundedDecoder, decode_json

_NUMBERS: Final = (
    "1e-320", "5E-324", "17976931348623158079e289", "1.7976931348623157e+308", "-2.5e-0310", "1e-400", "0e999", "1e22",
    "0.1", "-0.0", "12", "123456789012345678901234567890",
)  # fmt: skip


class _Struct(msgspec.Struct):
    kept: Any = None


@pytest.mark.parametrize("is_text", [True, False])
def test_numbers_in_a_long_text_are_those_that_a_short_one_has(is_text: bool) -> None:
    text = f"[{','.join(_NUMBERS)},{'1e-320,' * 5000}null]"

    values = decode_json(text if is_text else text.encode())

    assert repr(values[: len(_NUMBERS)]) == repr(json.loads(f"[{','.join(_NUMBERS)}]"))
    assert [type(value) for value in values[: len(_NUMBERS)]] == [type(decode_json(number)) for number in _NUMBERS]


def test_a_number_that_is_too_large_is_an_error_in_a_long_text_too() -> None:
    for text in ("[1e999]", f"[{'1e-320,' * 5000}-1e999]"):
        with pytest.raises(msgspec.DecodeError, match="Number out of range"):
            decode_json(text)


def test_fields_of_a_type_are_decoded_in_a_long_text_too() -> None:
    decoded = BoundedDecoder[_Struct](_Struct).decode(f'{{"kept": [{"1e-320," * 5000}1.5], "other": 1e-320}}')

    assert decoded.kept[-2:] == [1e-320, 1.5]
