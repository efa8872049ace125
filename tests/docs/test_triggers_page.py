"""The table of the page about triggers that says what an outage leaves, compared with the decision."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

import pytest

from docs.pages import TRIGGERS, rows, section
from flowrunner.domain.schedules import step_at
from flowrunner.domain.triggers import Missed, Schedule, TriggerId

BACK: Final = datetime.fromisoformat("2027-01-31T12:30:00+00:00")
FIRST: Final = datetime.fromisoformat("2027-01-31T10:00:00+00:00")
TABLE: Final = list(rows(section(TRIGGERS, "After an outage")))


def started(missed: Missed, window: timedelta) -> Iterator[datetime]:
    """Yield what is started when the servers are back."""
    schedule = Schedule(cron="0 * * * *", missed=missed, missed_window_seconds=window.total_seconds())
    pending = FIRST
    while pending <= BACK:
        step = step_at(TriggerId("trigger-1"), schedule, pending, BACK)
        if step.due_at is not None:
            yield step.due_at
        assert step.next is not None
        pending = step.next.due_at
    assert f"{pending:%H:%M}   started" in section(TRIGGERS, "After an outage")


@pytest.mark.parametrize(("policy", "begun", "left_out"), TABLE, ids=[row[0] for row in TABLE])
def test_an_outage_leaves_what_the_table_says(policy: str, begun: str, left_out: str) -> None:
    missed, *window = re.findall(r"`(?:missed_window: )?(\w+)`", policy)
    hours = int(window[0].removesuffix("h")) if window else 24
    done = [f"{due:%H:%M}" for due in started(missed, timedelta(hours=hours))]

    assert done == begun.split(", ") if begun else done == []
    assert sorted(done + re.findall(r"\d\d:\d\d", left_out)) == ["10:00", "11:00", "12:00"]


def test_the_table_has_each_policy() -> None:
    assert {re.findall(r"`(\w+)`", row[0])[0] for row in TABLE} == {"none", "latest", "all"}
