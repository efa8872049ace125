"""The size of a value."""

import pytest

from flowrunner.domain.values import JSON, left_after


@pytest.mark.parametrize("value", [10**1000, -(10**1000), [10**1000], {"a": -(10**1000)}, [[1, 10**1000]]])
def test_the_digits_of_a_long_whole_number_count(value: JSON) -> None:
    assert left_after(value, 1000) < 0


def test_a_long_whole_number_is_an_element_beside_its_digits() -> None:
    # 91 bits; a list is an element, too.
    assert left_after(2**90, 1000) == 1000 - 4 - 30
    assert left_after([2**90], 1000) == 1000 - 8 - 30


@pytest.mark.parametrize(("value", "size"), [(7, 4), (-(2**62), 4), ([1, 2**62, True, 0.5], 20), ("abc", 7)])
def test_a_number_of_usual_length_counts_as_any_value(value: JSON, size: int) -> None:
    assert left_after(value, 100) == 100 - size
