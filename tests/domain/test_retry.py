"""Retries: their number, their delays, and the errors that are retried."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.retry import RetryPolicy, bounded_delay, error_patterns, matches_error, seconds_asked_for

policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 1000),
    first_delay=st.floats(0, 1e6),
    backoff=st.floats(1, 100),
    longest_delay=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    max_elapsed=st.none() | st.floats(0, 1e6),
)
draws = st.floats(0, 1, exclude_max=True)


@given(policies, st.integers(1, 2000), draws)
def test_no_wait_exceeds_the_longest_or_is_negative(policy: RetryPolicy, failure: int, draw: float) -> None:
    wait = policy.delay_after(failure, draw=draw)

    assert wait is None or 0 <= wait <= policy.longest_delay


@given(policies, st.integers(1, 2000), draws)
def test_there_are_as_many_retries_as_the_policy_says(policy: RetryPolicy, failure: int, draw: float) -> None:
    wait = policy.delay_after(failure, draw=draw)

    if failure > policy.max_retries:
        assert wait is None
    elif policy.max_elapsed is None:
        assert wait is not None


@given(policies, st.integers(1, 2000), draws, st.floats(0, 1e6))
def test_a_delay_is_at_least_as_long_as_the_server_asked_for(
    policy: RetryPolicy, failure: int, draw: float, asked: float
) -> None:
    wait = policy.delay_after(failure, draw=draw, at_least=asked)

    assert wait is None or wait >= asked


@given(policies, st.integers(1, 1000), draws, st.floats(0, 1e6))
def test_no_attempt_starts_after_the_maximum_elapsed_time(
    policy: RetryPolicy, failure: int, draw: float, elapsed: float
) -> None:
    wait = policy.delay_after(failure, draw=draw, elapsed=elapsed)

    if wait is not None and policy.max_elapsed is not None:
        assert elapsed + wait <= policy.max_elapsed


@given(policies, st.integers(1, 999))
def test_without_jitter_no_wait_is_shorter_than_the_one_before(policy: RetryPolicy, failure: int) -> None:
    first, second = policy.delay_after(failure, draw=0.0), policy.delay_after(failure + 1, draw=0.0)

    assert first is None or second is None or second >= first


def test_waits_double_up_to_the_longest() -> None:
    policy = RetryPolicy(max_retries=9, first_delay=1.0, backoff=2.0, longest_delay=10.0, jitter=0.0)

    assert [policy.delay_after(n, draw=0.5) for n in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 10.0]


def test_an_attempt_may_start_when_the_maximum_elapsed_time_ends() -> None:
    policy = RetryPolicy(max_retries=9, first_delay=10.0, jitter=0.0, max_elapsed=30.0)

    assert policy.delay_after(1, draw=0.0, elapsed=20.0) == 10.0
    assert policy.delay_after(1, draw=0.0, elapsed=20.1) is None


def test_jitter_takes_its_share_of_the_wait() -> None:
    policy = RetryPolicy(max_retries=1, first_delay=10.0, jitter=0.2)

    assert policy.delay_after(1, draw=0.0) == 10.0
    assert policy.delay_after(1, draw=0.5) == pytest.approx(9.0)
    assert policy.delay_after(1, draw=0.999999) == pytest.approx(8.0, abs=0.001)


def test_a_huge_number_of_failures_overflows_nothing() -> None:
    policy = RetryPolicy(max_retries=10**9, backoff=100.0, longest_delay=60.0, jitter=0.0)

    assert policy.delay_after(10**9, draw=0.0) == 60.0


@pytest.mark.parametrize("failure", [0, -1])
def test_failures_are_counted_from_one(failure: int) -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        RetryPolicy(max_retries=1).delay_after(failure, draw=0.0)


@pytest.mark.parametrize(
    ("pattern", "error", "covered"),
    [
        ("http", "http.404", True),
        ("http.4xx", "http.404", True),
        ("http.404", "http.404", True),
        ("http.4xx", "http.404.gone", True),
        ("http.5xx", "http.404.gone", False),
        ("http.5xx", "http.404", False),
        ("http.40", "http.404", False),
        ("htt", "http.404", False),
        ("connection", "connection.refused", True),
        ("connection.refused", "connection", False),
        ("connection", "connectionless", False),
        ("node", "node.sql.syntax", True),
        ("node.sql", "node.sql.syntax", True),
        ("*", "anything.at.all", True),
        ("timeout", "timeout", True),
        ("4xx", "404", False),
        ("node.1xx", "node.１２３", False),
        ("node.oxx", "node.out", False),
    ],
)
def test_a_pattern_covers_an_error_and_its_family(pattern: str, error: str, covered: bool) -> None:
    assert matches_error(pattern, error) is covered


@given(st.lists(st.from_regex(r"[a-z]{1,5}|[0-9]{3}", fullmatch=True), min_size=1, max_size=5))
def test_the_patterns_of_an_error_go_from_exact_to_general(parts: list[str]) -> None:
    patterns = error_patterns(".".join(parts))

    assert patterns[0] == ".".join(parts)
    assert len(set(patterns)) == len(patterns)
    assert [p.count(".") for p in patterns] == sorted((p.count(".") for p in patterns), reverse=True)


def test_transient_errors_are_retried_and_errors_of_the_request_are_not() -> None:
    policy = RetryPolicy(max_retries=1)

    assert all(map(policy.covers, ("timeout", "connection.refused", "http.408", "http.429", "http.500", "http.599")))
    assert not any(map(policy.covers, ("http.400", "http.404", "http.too_large", "expression", "egress.forbidden")))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("soon", None), ("-5", None), ("1.5", None), ("", None), ("٣", None), ("Wed, 99 Foo 2027", None),
        ("0", 0.0), ("120", 120.0), (" 7 ", 7.0), ("999999999", 86400.0), ("9" * 400, 86400.0),
        ("Mon, 01 Jun 2026 12:01:00 GMT", 60.0), ("Mon, 01 Jun 2026 14:01:00 +0200", 60.0),
        ("Mon, 01 Jun 2026 12:01:00 -0000", 60.0), ("Mon, 01 Jun 2026 11:59:00 GMT", 0.0),
        ("Tue, 01 Jun 2027 12:00:00 GMT", 86400.0),
        # Dates that no calendar has, one of which no integer of C holds.
        ("Mon, 01 Jan 10000 00:00:00 GMT", None), (f"Mon, 01 Jan {'9' * 20} 00:00:00 GMT", None),
    ],
)  # fmt: skip
def test_a_server_asks_to_wait_by_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_asked_for(header, datetime(2026, 6, 1, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        (5, 5),
        (0.5, 0.5),
        (-5, 0),
        (1e18, 86_400),
        pytest.param(10**400, 86_400, id="no float"),
        pytest.param(-(10**400), 0, id="no float below zero"),
        (float("inf"), 86_400),
        (float("nan"), None),
        ("5", None),
        (None, None),
    ],
)
def test_a_delay_that_a_node_type_asks_for_is_at_most_a_day(asked: object, seconds: float | None) -> None:
    assert bounded_delay(asked) == seconds
