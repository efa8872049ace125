"""Values of PostgreSQL from servers that send what no PostgreSQL writes."""

import tracemalloc

import pytest

from flowrunner.postgres.values import value_of


def test_bounds_of_an_array_without_end_take_no_memory() -> None:
    text = "[1:1]" * 200_000
    tracemalloc.start()
    try:
        found = value_of(text, 1007)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert found == text
    assert peak < 10 * len(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2027-01-31 04:30:00", "2027-01-31T04:30:00"),
        ("2027-01-31 04:30:00.25", "2027-01-31T04:30:00.25"),
        ("0044-03-15 12:00:00 BC", "0044-03-15 12:00:00 BC"),
        ("12027-01-31 04:30:00", "12027-01-31 04:30:00"),
        ("infinity", "infinity"),
    ],
)
def test_a_timestamp_that_iso_8601_cannot_write_stays_as_the_server_writes_it(text: str, value: str) -> None:
    assert value_of(text, 1114) == value


def test_bounds_of_six_dimensions_are_read() -> None:
    assert value_of("[2:3]={5,6}", 1007) == [5, 6]
    assert value_of("[1:1]" * 5 + "[-1:0]={{{{{{1,2}}}}}}", 1007) == [[[[[[1, 2]]]]]]
