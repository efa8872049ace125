"""Identifiers."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final

from flowrunner.ids import first_id, new_id, time_of

AT = datetime(2026, 11, 28, 12, 30, 15, 250_000, tzinfo=UTC)


def test_an_id_has_its_prefix_its_time_and_26_random_digits() -> None:
    id = new_id("exec", AT)

    assert time_of(id) == AT
    assert id.startswith(first_id("exec", AT))
    assert len(id) == len(first_id("exec", AT)) + 26


def test_ids_sort_by_time_and_none_is_made_twice() -> None:
    moments = [AT + timedelta(milliseconds=n) for n in range(1000)]
    ids = [new_id("exec", at) for at in moments]

    assert ids == sorted(ids)
    assert len({id[-26:] for id in ids}) == len(ids)


def test_every_digit_is_as_frequent_at_every_place() -> None:
    digits = Counter(digit for _ in range(2000) for digit in new_id("exec", AT)[-26:])

    assert len(digits) == 32
    assert max(digits.values()) < 1.4 * min(digits.values())


def test_a_forked_process_makes_other_ids() -> None:
    # In a process of its own: the one of the tests may have threads.
    made = subprocess.run([sys.executable, "-c", _IDS_OF_TWO_PROCESSES], capture_output=True, text=True, check=True)

    ids = made.stdout.split()
    assert len(ids) == len(set(ids)) == 6


_IDS_OF_TWO_PROCESSES: Final = """
import os
from datetime import UTC, datetime
from flowrunner.ids import new_id

new_id("exec", datetime.now(UTC))
child = os.fork()
if child:
    # One after the other, so that their lines do not mix.
    os.waitpid(child, 0)
for _ in range(3):
    print(new_id("exec", datetime.now(UTC))[-26:])
"""
