"""What a change makes of an entry of the store, and what may be stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowrunner.domain.duration import LONGEST_SECONDS
from flowrunner.domain.store import (
    LARGEST_NUMBER,
    MAX_KEY_CHARACTERS,
    MAX_NAMESPACE_CHARACTERS,
    EntryValue,
    NotChanged,
    StoreChange,
    StoreKey,
    changed,
    end_of,
    key_faults,
    ttl_ms_of,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
AT = StoreKey("default", "k")


def after(before: EntryValue | None, operation: Any, **settings: Any) -> Any:
    change = StoreChange(operation=operation, at=AT, **settings)
    return changed(change, before, now=NOON, canonical=str.lower)


def test_an_entry_expires_at_its_time_and_not_before() -> None:
    entry = EntryValue("1", NOON)

    assert [entry.has_expired(NOON + timedelta(milliseconds=step)) for step in (-1, 0, 1)] == [False, True, True]
    assert EntryValue("1", None).has_expired(NOON) is False


def test_set_and_delete_tell_whether_there_was_an_entry() -> None:
    old = EntryValue("1", LATER)

    assert after(None, "set", value="2") == (EntryValue("2", None), {"created": True})
    assert after(old, "set", value="2", ttl_ms=1500) == (
        EntryValue("2", NOON + timedelta(seconds=1.5)), {"created": False})  # fmt: skip
    assert after(old, "delete") == (None, {"deleted": True})
    assert after(None, "delete") == (None, {"deleted": False})


def test_an_increment_keeps_the_time_at_which_the_first_one_said_that_it_expires() -> None:
    assert after(None, "increment", amount=3, ttl_ms=1000) == (EntryValue("3", NOON + timedelta(seconds=1)), 3)
    assert after(EntryValue("4", LATER), "increment", amount=-5, ttl_ms=1000) == (EntryValue("-1", LATER), -1)
    assert after(EntryValue("4.0", None), "increment", amount=1) == (EntryValue("5", None), 5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_may_be_the_largest_one_and_no_larger(sign: int) -> None:
    before = EntryValue(str(sign * (LARGEST_NUMBER - 1)), None)

    assert after(before, "increment", amount=sign)[1] == sign * LARGEST_NUMBER
    with pytest.raises(NotChanged) as raised:
        after(before, "increment", amount=2 * sign)
    assert raised.value.type == "store.out_of_range"


@pytest.mark.parametrize("value", ['"1"', "1.5", "null", "[1]", "12345678901234567", "1.00"])
def test_only_a_whole_number_is_incremented(value: str) -> None:
    with pytest.raises(NotChanged) as raised:
        after(EntryValue(value, None), "increment", amount=1)
    assert raised.value.type == "store.not_a_number"


@pytest.mark.parametrize(
    ("stored", "expected", "is_changed"),
    [("A", "a", True), ("A", "A", False), (None, "null", True), (None, "a", False), ("NULL", "null", True)],
)
@pytest.mark.parametrize("operation", ["set", "delete"])
def test_an_expected_value_is_compared_as_canonical_json(
    operation: str, stored: str | None, expected: str, is_changed: bool
) -> None:
    before = None if stored is None else EntryValue(stored, None)
    if is_changed:
        after(before, operation, value="2", expected=expected)
    else:
        with pytest.raises(NotChanged) as raised:
            after(before, operation, value="2", expected=expected)
        assert raised.value.type == "store.changed"


@pytest.mark.parametrize(
    ("key", "has_fault"),
    [
        ("k", False), ("k" * 256, False), ("k" * 257, True), ("", True), ("a b/ü😀", False), ("a\tb", True),
        ("a\x7f", True),
        ("a\x9f", True), ("a\xa0", False), ("\x1f", True), (" ", False), ("\ud800", True), ("\ue000", False),
    ],
)  # fmt: skip
def test_a_key_has_a_length_and_no_control_characters(key: str, has_fault: bool) -> None:
    assert [fault.path for fault in key_faults(StoreKey("default", key))] == ["key"] * has_fault


def test_a_namespace_is_checked_by_its_own_length() -> None:
    assert key_faults(StoreKey("n" * 128, "k")) == []
    assert [fault.path for fault in key_faults(StoreKey("n" * 129, "k"))] == ["namespace"]
    assert [fault.path for fault in key_faults(StoreKey("", ""))] == ["namespace", "key"]


@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(1, 1000), (0.0001, 1), (1.2344, 1234), (LONGEST_SECONDS, LONGEST_SECONDS * 1000)]
)
def test_a_lifetime_is_counted_in_milliseconds_and_is_at_least_one(seconds: float, milliseconds: int) -> None:
    assert ttl_ms_of(seconds) == milliseconds


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_SECONDS + 0.001, float("nan")])
def test_a_lifetime_has_bounds(seconds: float) -> None:
    with pytest.raises(ValueError, match="ten years"):
        ttl_ms_of(seconds)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("ab", "ac"), ("a\U0010ffff", "b"), ("\U0010ffff", None), ("", None), ("a\ud7ff", "a\ue000"), ("é", "ê"),
        ("ab\U0010ffff\U0010ffff", "ac"),
    ],
)  # fmt: skip
def test_the_end_of_a_prefix_sorts_behind_all_that_begin_with_it(prefix: str, end: str | None) -> None:
    assert end_of(prefix) == end


@pytest.mark.parametrize(
    ("namespace", "key", "faulty"),
    [
        ("n" * MAX_NAMESPACE_CHARACTERS, "k" * MAX_KEY_CHARACTERS, []),
        ("n" * (MAX_NAMESPACE_CHARACTERS + 1), "k", ["namespace"]),
        ("n", "k" * (MAX_KEY_CHARACTERS + 1), ["key"]),
        ("", "", ["namespace", "key"]),
        ("n", "a b/é\U0001f600\x20\xa0~", []),
        *(("n", f"a{letter}", ["key"]) for letter in ("\0", "\n", "\x1f", "\x7f", "\x9f", "\ud800", "\udfff")),
    ],
)
def test_a_key_is_a_short_text_without_control_characters(namespace: str, key: str, faulty: list[str]) -> None:
    assert [fault.path for fault in key_faults(StoreKey(namespace, key))] == faulty
