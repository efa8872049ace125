"""Errors that recur, of which the log has one."""

from flowrunner.storage.repeated_errors import RepeatedErrors, as_field


def test_an_error_is_logged_again_after_a_while_with_the_number_of_its_repeats() -> None:
    errors = RepeatedErrors()

    counts = [errors.count("disk full", at=100.0 + seconds) for seconds in (0.0, 1.0, 9.9, 10.0, 10.1, 30.0)]

    assert counts == [0, None, None, 2, None, 1]
    assert [as_field(count) for count in (0, 2)] == [{}, {"repeats": 2}]


def test_each_error_is_told_apart_and_no_more_than_a_hundred_of_them() -> None:
    errors = RepeatedErrors()
    assert [errors.count(f"error {number}", at=5.0) for number in range(100)] == [0] * 100
    assert [errors.count(f"error {number}", at=6.0) for number in range(100)] == [None] * 100

    assert errors.count("one more", at=6.0) == 0
    assert [errors.count(each, at=7.0) for each in ("error 0", "one more")] == [0, None]
