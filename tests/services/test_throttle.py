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
