"""Durations in flow documents."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.duration import LONGEST_SECONDS, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1h30m", 5400.0),
        ("0s", 0.0),
        ("PT10S", 10.0),
        ("PT0.5S", 0.5),
        ("P1D", 86400.0),
        ("P1DT2H", 93600.0),
        ("PT1H30M5S", 5405.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "10 s", "-1s", "1e3s", "10S", "1w", "PT", "P", "P1DT", "T10S", "PT10", "P1M", "1s\n", "1.s",
     ".5s", "10s,5m", "٣s", "NaNs", "infs"],
)  # fmt: skip
def test_an_invalid_duration_is_rejected_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a duration as 500ms, 10s, 5m, 2h, 1d or PT10S|did you mean 10?s\?"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("30", "30s"), ("1.5", "1.5s"), ("30 seconds", "30s"), ("5min", "5m"), ("2 Hours", "2h"), ("1 day", "1d"),
     ("250 millis", "250ms"), ("10S", "10s")],
)  # fmt: skip
def test_a_duration_with_another_spelling_of_its_unit_gets_a_hint(written: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}\\?"):
        parse_duration(written)
    assert parse_duration(meant) > 0


@pytest.mark.parametrize("text", ["3661d", "P99999D", "9" * 400 + "s"])
def test_more_than_ten_years_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="longer than ten years"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1" * 100_000, "1ms" * 200, "P" + "1" * 100_000, "1." + "1" * 100_000])
def test_a_duration_of_many_characters_is_rejected_before_it_is_read(text: str) -> None:
    started = time.thread_time()

    with pytest.raises(ValueError, match=f"a text of {len(text)} characters is not a duration"):
        parse_duration(text)

    assert time.thread_time() - started < 1.0


@given(st.text(max_size=30))
def test_no_text_breaks_the_reader_of_durations(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= LONGEST_SECONDS


@given(st.integers(0, 3659), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_both_spellings_mean_the_same(days: int, hours: int, minutes: int, seconds: int) -> None:
    short = parse_duration(f"{days}d{hours}h{minutes}m{seconds}s")

    assert parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}S") == short
