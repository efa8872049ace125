"""Values of PostgreSQL from servers that send what no PostgreSQL writes."""

import tracemalloc

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


def test_bounds_of_six_dimensions_are_read() -> None:
    assert value_of("[2:3]={5,6}", 1007) == [5, 6]
    assert value_of("[1:1]" * 5 + "[-1:0]={{{{{{1,2}}}}}}", 1007) == [[[[[[1, 2]]]]]]
