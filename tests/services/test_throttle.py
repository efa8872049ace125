"""The throttle of failed logins, which never locks out the owner of an account."""

from datetime import UTC, datetime, timedelta

import pytest

from flowrunner.domain.errors import TooManyRequests
from flowrunner.services.throttle import FAILURES, LOGINS, WINDOW, Throttle

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def guessed(throttle: Throttle, times: int, *, name: str = "ada@example.com", address: str = "192.0.2.1") -> None:
    for n in range(times):
        throttle.attempt(name, address, now=NOON + timedelta(seconds=n))


def test_the_allowed_failures_are_free() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES - 1)

    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))


def test_one_failure_more_has_to_wait_until_the_first_is_forgotten() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)

    with pytest.raises(TooManyRequests) as refused:
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))

    assert refused.value.retry_after == WINDOW - timedelta(minutes=1)
    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + WINDOW)


def test_a_rejected_request_does_not_extend_the_wait() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)
    for n in range(100):
        with pytest.raises(TooManyRequests):
            throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1, seconds=n))

    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + WINDOW)


def test_the_owner_comes_from_another_address_and_is_not_locked_out() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)

    throttle.attempt("ada@example.com", "198.51.100.7", now=NOON + timedelta(minutes=1))


def test_a_success_forgets_the_failures_before_it() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)

    throttle.succeeded("ada@example.com", "192.0.2.1")

    # All of them: as many others are free.
    guessed(throttle, FAILURES)


@pytest.mark.parametrize("failed", [0, FAILURES - 1])
def test_an_attempt_whose_password_was_never_checked_takes_nothing(failed: int) -> None:
    throttle = Throttle(most_of_address=FAILURES)
    guessed(throttle, failed)
    for _ in range(LOGINS + 1):
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(seconds=30))
        throttle.give_back("ada@example.com", "192.0.2.1")

    # What has failed before it still counts.
    for _ in range(FAILURES - failed):
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(seconds=40))
    with pytest.raises(TooManyRequests):
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))


def test_logins_that_succeed_take_nothing_from_their_address() -> None:
    throttle = Throttle(most_of_address=2)
    for n in range(10):
        throttle.attempt(f"name-{n}@example.com", "192.0.2.1", now=NOON)
        throttle.succeeded(f"name-{n}@example.com", "192.0.2.1")

    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)


def test_many_different_names_from_one_address_wait_and_those_from_another_do_not() -> None:
    throttle = Throttle(most_of_address=100)
    for n in range(100):
        throttle.attempt(f"name-{n}@example.com", "192.0.2.1", now=NOON)

    with pytest.raises(TooManyRequests, match="100 logins from this address") as refused:
        throttle.attempt("another@example.com", "192.0.2.1", now=NOON)

    assert (refused.value.limit, refused.value.most) == ("anonymous_logins", 100)
    assert refused.value.retry_after == WINDOW / 100
    throttle.attempt("another@example.com", "192.0.2.2", now=NOON)
    throttle.attempt("another@example.com", "192.0.2.1", now=NOON + WINDOW / 100)


def test_a_login_that_its_address_refuses_takes_nothing_from_its_account() -> None:
    throttle = Throttle(most_of_address=1)
    throttle.attempt("grace@example.com", "192.0.2.1", now=NOON)
    for _ in range(LOGINS):
        with pytest.raises(TooManyRequests, match="from this address"):
            throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)

    throttle.succeeded("grace@example.com", "192.0.2.1")
    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)


def test_a_program_that_repeats_one_wrong_password_leaves_logins_to_the_others_behind_its_address() -> None:
    throttle = Throttle(most_of_address=FAILURES + 1)
    guessed(throttle, FAILURES)
    for _ in range(1000):
        with pytest.raises(TooManyRequests):
            throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)

    throttle.attempt("grace@example.com", "192.0.2.1", now=NOON)


def test_an_account_that_logs_in_without_end_waits_where_it_does_and_nowhere_else() -> None:
    throttle = Throttle(most_of_address=2)
    for _ in range(LOGINS):
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)
        throttle.succeeded("ada@example.com", "192.0.2.1")

    with pytest.raises(TooManyRequests) as refused:
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)

    assert (refused.value.limit, refused.value.most) == ("account_logins", LOGINS)
    throttle.attempt("ada@example.com", "192.0.2.2", now=NOON)
    throttle.attempt("grace@example.com", "192.0.2.1", now=NOON)
    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(seconds=1))


def test_a_successful_login_uses_up_no_failure_of_its_address() -> None:
    throttle = Throttle(most_of_address=2)
    for n in range(100):
        throttle.attempt(f"name-{n}@example.com", "192.0.2.1", now=NOON)
        throttle.succeeded(f"name-{n}@example.com", "192.0.2.1")

    throttle.attempt("ada@example.com", "192.0.2.1", now=NOON)
    throttle.attempt("grace@example.com", "192.0.2.1", now=NOON)
    with pytest.raises(TooManyRequests):
        throttle.attempt("alan@example.com", "192.0.2.1", now=NOON)


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
        throttle.attempt("ada@example.com", address, now=NOON + timedelta(minutes=1))
    except TooManyRequests:
        refused = True

    assert refused == is_the_same


def test_an_ipv4_address_counts_the_same_when_it_is_mapped_to_ipv6() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES, address="::ffff:192.0.2.1")

    with pytest.raises(TooManyRequests):
        throttle.attempt("ada@example.com", "192.0.2.1", now=NOON + timedelta(minutes=1))
    throttle.attempt("ada@example.com", "::ffff:192.0.2.2", now=NOON + timedelta(minutes=1))


def test_failures_from_before_the_clock_was_set_back_count_from_then_on_for_one_window() -> None:
    throttle = Throttle()
    guessed(throttle, FAILURES)
    yesterday = NOON - timedelta(days=1)

    with pytest.raises(TooManyRequests) as refused:
        throttle.attempt("ada@example.com", "192.0.2.1", now=yesterday)
    assert refused.value.retry_after == WINDOW

    throttle.attempt("ada@example.com", "192.0.2.1", now=yesterday + WINDOW)
