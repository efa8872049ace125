"""Rate limits: a client over the limit waits no longer than needed, and no other client waits."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.values import AccountId
from flowrunner.services import rates
from flowrunner.services.rates import Allowance, Buckets, Rates, SlidingWindow
from support.databases import MARA_ACCOUNT, NOON, OMAR_ACCOUNT
from support.dependencies import SteppingClock

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NOW = 10**18


def taken(buckets: Buckets[str], key: str, calls: int, *, now: int) -> int:
    return sum(buckets.take(key, now=now) == 0 for _ in range(calls))


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000, 120_000])
def test_a_minutes_worth_may_come_at_once_and_not_one_more(per_minute: int) -> None:
    buckets = Buckets[str](per_minute)

    assert taken(buckets, "a", per_minute + 10, now=NOW) == per_minute
    assert taken(buckets, "b", 1, now=NOW) == 1


def test_a_limit_may_be_higher_than_any_client_reaches() -> None:
    buckets = Buckets[str](10**18 - 1)

    assert taken(buckets, "a", 1000, now=NOW) == 1000
    assert buckets.left("a", now=NOW)[0] > 10**9


def test_a_limited_client_learns_how_long_to_wait_and_is_then_served() -> None:
    buckets = Buckets[str](60)
    taken(buckets, "a", 60, now=NOW)

    assert buckets.take("a", now=NOW) == SECOND
    assert buckets.take("a", now=NOW + SECOND - 1) == 1
    assert buckets.take("a", now=NOW + SECOND) == 0
    assert buckets.take("a", now=NOW + SECOND) == SECOND


def test_a_token_that_is_given_back_can_be_taken_again() -> None:
    buckets = Buckets[str](60)
    taken(buckets, "a", 60, now=NOW)

    buckets.give_back("a")
    buckets.give_back("nobody")

    assert taken(buckets, "a", 10, now=NOW) == 1
    assert taken(buckets, "nobody", 100, now=NOW) == 60


def test_a_bucket_may_take_longer_to_fill() -> None:
    buckets = Buckets[str](100, fills_in=timedelta(minutes=15))

    assert taken(buckets, "a", 200, now=NOW) == 100
    assert buckets.take("a", now=NOW) == 9 * SECOND
    assert taken(buckets, "a", 200, now=NOW + MINUTE) == 6
    assert taken(buckets, "a", 200, now=NOW + 16 * MINUTE) == 100


def test_a_minute_later_all_of_it_is_there_again_and_no_more() -> None:
    buckets = Buckets[str](50)
    taken(buckets, "a", 50, now=NOW)

    assert taken(buckets, "a", 100, now=NOW + MINUTE) == 50
    assert taken(buckets, "a", 100, now=NOW + 60 * MINUTE) == 50


def test_a_rejected_request_does_not_extend_the_wait() -> None:
    buckets = Buckets[str](60)
    taken(buckets, "a", 60, now=NOW)
    for _ in range(1000):
        buckets.take("a", now=NOW)

    assert buckets.take("a", now=NOW + SECOND) == 0


def test_a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_minute() -> None:
    buckets = Buckets[str](60)
    taken(buckets, "a", 30, now=NOW)

    day_before = NOW - 24 * 60 * MINUTE

    assert buckets.take("a", now=day_before) <= SECOND
    assert taken(buckets, "a", 100, now=day_before + MINUTE) == 60


@given(st.lists(st.integers(0, MINUTE // 2), min_size=1, max_size=200), st.integers(1, 50))
def test_in_no_minute_come_more_than_two_minutes_worth(gaps: list[int], per_minute: int) -> None:
    buckets, now = Buckets[str](per_minute), NOW
    served = []
    for gap in gaps:
        now += gap
        if buckets.take("a", now=now) == 0:
            served.append(now)

    for first in served:
        assert sum(first <= at <= first + MINUTE for at in served) <= 2 * per_minute


def test_many_different_keys_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_KEPT", 100)
    buckets = Buckets[str](10)
    for number in range(1000):
        buckets.take(f"key-{number}", now=NOW)

    assert len(buckets._full_at) == 100


def test_the_first_keys_are_forgotten_and_what_the_last_ones_took_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "_KEPT", 2)
    buckets = Buckets[str](1)
    for key in ("a", "b", "c", "d"):
        assert taken(buckets, key, 2, now=NOW) == 1

    assert [taken(buckets, key, 1, now=NOW) for key in ("d", "c", "a")] == [0, 0, 1]


def test_accounts_and_addresses_are_counted_apart_and_a_network_of_ipv6_as_one() -> None:
    limits = Rates(SteppingClock(), most=2, most_anonymous=2)
    for _ in range(2):
        limits.known(MARA_ACCOUNT)
        limits.anonymous("2001:db8::1")

    with pytest.raises(TooManyRequests, match="2 requests a minute") as refused:
        limits.known(MARA_ACCOUNT)
    assert timedelta(0) < refused.value.retry_after <= timedelta(seconds=30)
    with pytest.raises(TooManyRequests):
        limits.anonymous("2001:db8::ffff:2")
    limits.known(OMAR_ACCOUNT)
    limits.anonymous("2001:db8:0:1::1")


def test_requests_whose_token_turns_out_valid_take_nothing_from_their_address() -> None:
    rates = Rates(SteppingClock(), most=None, most_anonymous=2)
    for _ in range(10):
        rates.anonymous("2001:db8::1")
        rates.verified("2001:db8::2")

    rates.anonymous("2001:db8::1")
    rates.anonymous("2001:db8::1")
    with pytest.raises(TooManyRequests):
        rates.anonymous("2001:db8::1")


def test_without_a_limit_nothing_is_counted() -> None:
    limits = Rates(SteppingClock(), most=None, most_anonymous=None)
    for _ in range(1000):
        limits.known(AccountId("a"))
        limits.anonymous("192.0.2.1")


@pytest.mark.parametrize(
    "counted",
    [
        Allowance[str](2, limit="guesses", message="At most {most}", fills_in=timedelta(minutes=5)),
        SlidingWindow[str](2, limit="guesses", message="At most {most}", length=timedelta(minutes=5)),
    ],
    ids=["an allowance", "a window"],
)
def test_a_refusal_says_which_limit_was_reached_and_when_to_come_again(
    counted: Allowance[str] | SlidingWindow[str],
) -> None:
    now = SteppingClock().now()
    for _ in range(2):
        counted.take("a", at=now)

    with pytest.raises(TooManyRequests, match="At most 2") as refused:
        counted.take("a", at=now)

    told = refused.value
    assert (told.limit, told.most, told.seconds) == ("guesses", 2, 300)
    counted.take("b", at=now)
    counted.take("a", at=now + told.retry_after)


def test_what_is_older_than_a_clock_that_is_set_back_keeps_its_age() -> None:
    window = SlidingWindow[str](2, limit="x", message="{most}", length=timedelta(hours=1))
    window.add("a", at=NOON)
    window.add("a", at=NOON + timedelta(minutes=50))

    with pytest.raises(TooManyRequests) as refused:
        window.check("a", at=NOON + timedelta(minutes=10))

    assert refused.value.retry_after == timedelta(minutes=50)
    window.check("a", at=NOON + timedelta(minutes=61))
