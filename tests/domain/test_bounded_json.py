"""Numbers that take long to decode, in texts of any length."""

import json
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

import flowrunner
from flowrunner.bounded_json import BoundedDecoder, canonical_json, decode_json

_NUMBERS: Final = (
    "1e-320", "5E-324", "17976931348623158079e289", "1.7976931348623157e+308", "-2.5e-0310", "1e-400", "0e999", "1e22",
    "0.1", "-0.0", "12", "123456789012345678901234567890",
)  # fmt: skip


_SOURCE: Final = Path(flowrunner.__file__).parent
# What these read has texts and numbers of fixed types, or is written by the server about itself.
_WITHOUT_VALUES_OF_OTHERS: Final = {
    "api/execution_answers.py", "api/mcp/errors.py", "bootstrap/test_process.py", "bounded_json.py",
    "flowtest/local_runner.py", "services/approvals.py", "services/callback_messages.py",
    "services/callback_secrets.py", "services/chains.py", "services/reruns.py", "storage/execution_search.py",
    "storage/flow_changes.py", "storage/flow_pages.py", "storage/jobs.py", "storage/request_keys.py",
}  # fmt: skip


class _Struct(msgspec.Struct):
    kept: Any = None


@pytest.mark.parametrize("is_text", [True, False])
def test_numbers_in_a_long_text_are_those_that_a_short_one_has(is_text: bool) -> None:
    text = f"[{','.join(_NUMBERS)},{'1e-320,' * 5000}null]"

    values = decode_json(text if is_text else text.encode())

    assert repr(values[: len(_NUMBERS)]) == repr(json.loads(f"[{','.join(_NUMBERS)}]"))
    assert [type(value) for value in values[: len(_NUMBERS)]] == [type(decode_json(number)) for number in _NUMBERS]


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize(
    ("number", "is_costly"),
    [("1e-320", True), ("1E-320", True), ("1e+320", True), ("1E320", True), ("1e-32", False), ("1.25", False)],
)
def test_only_a_long_text_with_long_exponents_is_decoded_number_by_number(
    monkeypatch: pytest.MonkeyPatch, number: str, is_text: bool, is_costly: bool
) -> None:
    slowly = []

    def decode(text: str) -> float:
        slowly.append(text)
        return 0.0

    monkeypatch.setattr("flowrunner.bounded_json._float", decode)
    decoder = BoundedDecoder[Any](Any)
    long = f"[{','.join([number] * 2000)}]"

    decoder.decode("[0.5]")
    decoder.decode(long if is_text else long.encode())

    assert slowly == ([number] * 2000 if is_costly else [])


def test_a_number_that_is_too_large_is_an_error_in_a_long_text_too() -> None:
    for text in ("[1e999]", f"[{'1e-320,' * 5000}-1e999]"):
        with pytest.raises(msgspec.DecodeError, match="Number out of range"):
            decode_json(text)


def test_fields_of_a_type_are_decoded_in_a_long_text_too() -> None:
    decoded = BoundedDecoder[_Struct](_Struct).decode(f'{{"kept": [{"1e-320," * 5000}1.5], "other": 1e-320}}')

    assert decoded.kept[-2:] == [1e-320, 1.5]


def test_only_these_modules_decode_json_that_is_not_bounded() -> None:
    found = {
        str(path.relative_to(_SOURCE))
        for path in _SOURCE.rglob("*.py")
        if re.search(r"msgspec\.json\.(decode|Decoder)\b", path.read_text())
    }

    assert found == _WITHOUT_VALUES_OF_OTHERS


def test_equal_values_have_one_canonical_text() -> None:
    one = {"b": [1.0, -0.0, 1e16, 1.5, True], "a": {"d": "1.0", "c": 2}}
    other = {"a": {"c": 2.0, "d": "1.0"}, "b": [1, 0, 10**16, 1.5, True]}

    assert canonical_json(one) == canonical_json(other)
    assert canonical_json(one) == b'{"a":{"c":2,"d":"1.0"},"b":[1,0,10000000000000000,1.5,true]}'


def test_a_canonical_text_is_little_longer_than_what_it_was_made_of() -> None:
    sent = b"[" + b",".join([b"1e300"] * 1000) + b"]"

    assert len(canonical_json(decode_json(sent))) < 1.5 * len(sent)
    assert canonical_json([1e21, -1e300, 1e20]) == b"[1e21,-1e300,100000000000000000000]"


def test_a_value_nested_deeper_than_calls_may_be_has_a_canonical_text() -> None:
    value: Any = 1.0
    for _ in range(2000):
        value = [value]

    assert canonical_json(value) == b"[" * 2000 + b"1" + b"]" * 2000
