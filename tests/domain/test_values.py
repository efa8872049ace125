"""The size of a value."""

import json
import sys
from typing import Any

import pytest

from flowrunner.domain.values import JSON, MOST_LEVELS, NestedTooDeep, left_after, memory_of, memory_of_json


@pytest.mark.parametrize("value", [10**1000, -(10**1000), [10**1000], {"a": -(10**1000)}, [[1, 10**1000]]])
def test_the_digits_of_a_long_whole_number_count(value: JSON) -> None:
    assert left_after(value, 1000) < 0


def test_a_long_whole_number_is_an_element_beside_its_digits() -> None:
    # 91 bits; a list is an element, too.
    assert left_after(2**90, 1000) == 1000 - 4 - 30
    assert left_after([2**90], 1000) == 1000 - 8 - 30


@pytest.mark.parametrize(
    ("value", "size"), [(7, 4), (-(2**62), 4), ([1, 2**62, True, 0.5], 20), ("abc", 3), (["abc"], 11)]
)
def test_a_number_of_usual_length_counts_as_any_value(value: JSON, size: int) -> None:
    assert left_after(value, 100) == 100 - size


def taken(value: Any) -> int:
    """Return the bytes of memory that Python takes for a value, without those of keys."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(taken, value.values()))
    return size + sum(map(taken, value)) if isinstance(value, list) else size


MANY: list[JSON] = [
    [n + 0.5 for n in range(1000)],
    [n + 10**6 for n in range(1000)],
    [f"a text of {n}" for n in range(1000)],
    [chr(0x4E00 + n) * 100 for n in range(1000)],
    [{} for _ in range(1000)],
    [[] for _ in range(1000)],
    [[[n + 0.5]] for n in range(1000)],
    [{"a": n + 0.5, "b": {"c": f"text {n}"}} for n in range(1000)],
    {f"key {n}": n + 0.5 for n in range(1000)},
    "a" * 10_000,
]


@pytest.mark.parametrize("value", MANY)
def test_the_memory_of_a_value_is_about_what_python_takes(value: JSON) -> None:
    assert 0.8 < memory_of(value) / taken(value) < 3


@pytest.mark.parametrize("value", MANY)
@pytest.mark.parametrize("is_encoded", [True, False])
def test_the_memory_of_a_json_text_covers_what_python_takes_for_its_value(value: JSON, *, is_encoded: bool) -> None:
    text = json.dumps(value)

    assert memory_of_json(text.encode() if is_encoded else text) > 0.8 * taken(json.loads(text))


@pytest.mark.parametrize("kind", ["lists", "objects", "both"])
def test_more_levels_than_may_be_are_found_in_a_value_that_fits(kind: str) -> None:
    def nested(levels: int) -> JSON:
        value: JSON = [7] if kind == "lists" else {"a": 7}
        for level in range(1, levels):
            value = {"a": value} if kind == "objects" or (kind == "both" and level % 2) else ["wide", value, {}]
        return value

    deepest, deeper = nested(MOST_LEVELS), nested(MOST_LEVELS + 1)

    assert left_after(deepest, 10**6, bounds_levels=True) == left_after(deepest, 10**6) > 0
    assert left_after(deeper, 10**6) > 0
    with pytest.raises(NestedTooDeep):
        left_after(deeper, 10**6, bounds_levels=True)
    # It is too large before anybody counts its levels.
    assert left_after(deeper, 100, bounds_levels=True) < 0
