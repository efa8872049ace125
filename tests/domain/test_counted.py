"""Numbers with their nouns."""

import pytest

from flowrunner.domain.counted import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1 second"),
        (0, "0 seconds"),
        (1.0, "1 second"),
        (0.05, "0.05 seconds"),
        (1.5, "1.5 seconds"),
        (0.9996, "1 second"),
        # 30 days, and the longest time.
        (2_592_000.0, "2592000 seconds"),
        (315_360_000.0, "315360000 seconds"),
    ],
)
def test_numbers_are_written_in_full(number: float, text: str) -> None:
    assert counted(number, "second") == text


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert [counted(number, "entry", "entries") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
