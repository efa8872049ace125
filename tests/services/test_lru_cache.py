"""The cache that drops what has not been used for longest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.lru_cache import LruCache
from flowrunner.services import rates
from flowrunner.services.rates import Buckets


def test_the_value_that_was_not_used_for_longest_is_dropped() -> None:
    cache = LruCache[str, int](3)
    for value, key in enumerate("abc"):
        cache.keep(key, value)
    assert cache.get("a") == 0

    cache.keep("d", 3)

    assert list(cache) == [("c", 2), ("a", 0), ("d", 3)]
    assert cache.get("b") is None


def test_a_replaced_value_does_not_count_and_one_that_is_too_heavy_leaves_no_earlier_one() -> None:
    cache = LruCache[str, str](10)
    cache.keep("a", "first", 8)
    cache.keep("b", "other", 2)
    cache.keep("a", "second", 3)
    assert (cache.get("a"), cache.weight) == ("second", 5)

    cache.keep("a", "too heavy", 11)

    assert (cache.get("a"), cache.get("b"), cache.weight) == (None, "other", 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12), st.booleans())))
def test_the_weights_never_exceed_the_bound(calls: list[tuple[int, int, bool]]) -> None:
    cache, weights = LruCache[int, int](10), dict[int, int]()
    for key, weight, is_kept in calls:
        if is_kept:
            cache.keep(key, weight, weight)
            weights[key] = weight
        else:
            cache.forget(key)

        assert cache.weight == sum(weights[key] for key, _ in cache) <= 10


def test_who_has_used_up_a_limit_gets_no_new_one_when_many_others_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_KEPT", 3)
    buckets = Buckets[str](1)
    assert buckets.take("greedy", now=0) == 0

    for number in range(10):
        buckets.take(f"other {number}", now=0)
        assert buckets.take("greedy", now=0) > 0
