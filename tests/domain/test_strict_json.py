"""Strict JSON: the number of parts of a long text is bounded before anything is made of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain import strict_json
from flowrunner.domain.strict_json import MOST_PARTS, InvalidJson

VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('a\\"/,[{\n\u00e9'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a\\",'), inner),
)


def parts_of(value: Any) -> int:
    """Return the strings, the commas, and the lists and objects of a value."""
    if isinstance(value, str):
        return 1
    if not isinstance(value, list | dict):
        return 0
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(parts_of(each) for each in inner)


@given(value=VALUES, bytes_at_once=st.integers(2, 8))
def test_parts_are_counted_outside_of_strings_alone(value: Any, bytes_at_once: int) -> None:
    parts, text = parts_of(value), json.dumps(value, ensure_ascii=False).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_LONG_BYTES", 0)
        patch.setattr(strict_json, "_BYTES_AT_ONCE", bytes_at_once)
        patch.setattr(strict_json, "MOST_PARTS", parts)
        assert strict_json.loads(text) == value
        patch.setattr(strict_json, "MOST_PARTS", parts - 1)
        with pytest.raises(InvalidJson, match="commas"):
            strict_json.loads(text)


def test_a_text_of_a_mebibyte_never_has_too_many_parts() -> None:
    densest = [b"[" + b"[]," * (2**20 // 3 - 1) + b"[]]", b"[" + b'"",' * (2**20 // 3 - 1) + b'""]']

    assert all(len(text) <= 2**20 and text.count(b",") * 2 < MOST_PARTS for text in densest)
    assert [len(strict_json.loads(text)) for text in densest] == [2**20 // 3, 2**20 // 3]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [b'["\\', b'["' + b"a" * 9 + b"\\", b'["a'])
def test_a_text_that_ends_in_a_string_is_rejected(text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "_LONG_BYTES", 0)

    with pytest.raises(InvalidJson, match="not valid JSON"):
        strict_json.loads(text)
