"""Guessing passwords is slowed down, and nobody is locked out by somebody else's guesses."""

from datetime import UTC, datetime, timedelta

import pytest

from flowrunner.domain.errors import TooManyRequests
from flowrunner.services.throttle import FAILURES, WINDOW, Throttle

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def guessed(throttle: Throttle, times: int, *, address: str = "192.0.2.1") -> None:
    for n in range(times):
        throttle.failed("ada@example.com", address, now=NOON + timedelta(seconds=n))


def test_the_allowed_failures_are_free() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES - 1)

    throttle.check("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))


def test_one_failure_more_has_to_wait_until_the_first_is_forgotten() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)

    with pytest.raises(TooManyRequests) as refused:
        throttle.check("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))

    assert refused.value.retry_after == WINDOW - timedelta(minutes=1)
    throttle.check("ada@example.com", "192.0.2.1", now=NOON + WINDOW)


def test_the_owner_comes_from_another_address_and_is_not_locked_out() -> None:
    throttle = Throttle()
    guessed(throttle, 10 * FAILURES)

    throttle.check("ada@example.com", "198.51.100.7", now=NOON + timedelta(minutes=1))


def test_a_success_forgets_the_failures_before_it() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)

    throttle.succeeded("ada@example.com", "192.0.2.1")

    throttle.check("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))


@pytest.mark.parametrize(
    ("address", "is_the_same"),
    [
        ("2001:db8:1:2::1", True),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1%eth0", True),
        ("2001:db8:1:3::1", False),
        ("192.0.2.1", False),
        ("", False),
        ("not an address", False),
    ],
)
def test_s03_all_addresses_of_an_ipv6_network_count_as_one(address: str, is_the_same: bool) -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES, address="2001:db8:1:2:aaaa::7")
    refused = False

    try:
        throttle.check("ada@example.com", address, now=NOON + timedelta(minutes=1))
    except TooManyRequests:
        refused = True

    assert refused == is_the_same


def test_an_ipv4_address_counts_the_same_in_ipv6_dress() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES, address="::ffff:192.0.2.1")

    with pytest.raises(TooManyRequests):
        throttle.check("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))
    throttle.check("ada@example.com", "::ffff:192.0.2.2", now=NOON + timedelta(minutes=1))
