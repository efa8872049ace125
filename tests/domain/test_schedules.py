"""Due times, compared with calculations of another kind: every minute of a time zone, and systemd's calendar."""

import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.schedules import (
    MOST_MISSED,
    ON_TIME,
    DueStep,
    check_cron,
    last_due,
    next_due,
    next_start,
    starts_at,
    step_at,
)
from flowrunner.domain.triggers import Missed, Schedule, TriggerId
from flowrunner.language.triggers import MIN_EVERY_SECONDS
from support.conformance import part_of

ID: Final = TriggerId("trig-1")
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
# Daylight-saving time begins and ends, at an hour or a half, at midnight, south of the equator, and never.
ZONES: Final = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Cairo",
    "America/Santiago", "Asia/Tokyo", "America/Havana", "Pacific/Chatham", "Atlantic/Azores",
)  # fmt: skip
EXPRESSIONS: Final = (
    "0 2 * * *", "30 2 * * *", "15 3 * * *", "0 0 * * *", "30 0 * * *", "59 23 * * *", "0 12 * * MON", "0 9 * * 1-5",
    "0 0 1 * *", "0 0 29 2 *", "15 14 1,15 * *", "0 22 * * 7", "5 4 * JAN-MAR SUN", "0 0 1 1 *", "45 1 * * *",
    "*/15 * * * *", "0 * * * *", "*/7 * * * *", "30 * * * 6", "* 2 * * *", "0 */3 * * *", "20,50 1-3 * * *",
    "@daily", "@hourly", "@weekly", "@monthly", "@yearly", "0 2 13 * 5", "0 2 */2 * *",
)  # fmt: skip


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def times(schedule: Schedule, after: datetime, count: int) -> Sequence[datetime]:
    found: list[datetime] = []
    while len(found) < count and (due := next_due(schedule, found[-1] if found else after)) is not None:
        found.append(due)
    return found


# A calculation of its own: it looks at each minute of the time zone.

_NAMES: Final = {name: number for number, name in enumerate("SUN MON TUE WED THU FRI SAT".split())}
_MONTHS: Final = {n: i for i, n in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), 1)}
_MACROS: Final = {
    "@daily": "0 0 * * *", "@hourly": "0 * * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}  # fmt: skip


def values(field: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        if body == "*":
            first, last = low, high
        else:
            first_text, dash, last_text = body.partition("-")
            first = names[first_text] if first_text in names else int(first_text)
            last = (names[last_text] if last_text in names else int(last_text)) if dash else (high if step else first)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


class MinuteByMinute:
    """Due times by the rules of Debian's cron.

    A job at fixed hours and minutes that falls into the hour that is left out runs at once after it, and one that falls
    into the hour that is there twice runs the first time. Other jobs follow the clock on the wall.
    """

    def __init__(self, expression: str, zone: str) -> None:
        fields = _MACROS.get(expression, expression).split()
        self.zone = ZoneInfo(zone)
        self.minutes = values(fields[0], 0, 59, {})
        self.hours = values(fields[1], 0, 23, {})
        self.days = values(fields[2], 1, 31, {})
        self.months = values(fields[3], 1, 12, _MONTHS)
        self.weekdays = {day % 7 for day in values(fields[4], 0, 7, _NAMES)}
        self.needs_both = fields[2].startswith("*") or fields[4].startswith("*")
        self.is_fixed = zone != "UTC" and not fields[0].startswith("*") and not fields[1].startswith("*")

    def fits(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (
            local.minute in self.minutes
            and local.hour in self.hours
            and local.month in self.months
            and ((day and weekday) if self.needs_both else (day or weekday))
        )

    def between(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Yield the due times from ``first`` to ``last``, at whole minutes."""
        before = (first - MINUTE).astimezone(self.zone)
        at = first
        while at <= last:
            local = at.astimezone(self.zone)
            if not self.is_fixed:
                is_due = self.fits(local)
            else:
                is_due = local.fold == 0 and self.fits(local)
                # Minutes of the wall that were left out just before.
                naive, previous = local.replace(tzinfo=None), before.replace(tzinfo=None)
                left_out = int((naive - previous) / MINUTE) - 1
                is_due = is_due or any(self.fits(previous + n * MINUTE) for n in range(1, left_out + 1))
            if is_due:
                yield at
            before, at = local, at + MINUTE


WINDOWS: Final = (
    # Around both changes of most zones, and around those of Cairo, Santiago, Havana and Lord Howe.
    ("2026-03-27T20:00Z", 60), ("2026-10-23T20:00Z", 60), ("2026-03-07T00:00Z", 50), ("2026-10-31T00:00Z", 50),
    ("2026-04-03T10:00Z", 60), ("2026-10-02T10:00Z", 60), ("2026-09-04T12:00Z", 60), ("2026-04-22T12:00Z", 60),
    ("2026-10-28T12:00Z", 60),
)  # fmt: skip


@pytest.mark.parametrize("zone", ZONES)
def test_every_due_time_is_that_of_a_count_of_all_minutes(zone: str) -> None:
    cases, chosen = 0, part_of((f"{zone} {expression}", expression) for expression in EXPRESSIONS)
    for expression, (start, hours) in itertools.product(chosen, WINDOWS):
        schedule, first = Schedule(cron=expression, timezone=zone), moment(start)
        last = first + hours * HOUR
        wanted = list(MinuteByMinute(expression, zone).between(first, last))

        found = list(itertools.takewhile(last.__ge__, iterate(schedule, first - MINUTE)))

        assert found == wanted, (expression, zone, start)
        cases += 1
    assert cases == len(chosen) * len(WINDOWS) > 20


def iterate(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    due = next_due(schedule, after)
    while due is not None:
        yield due
        due = next_due(schedule, due)


SYSTEMD: Final = {
    "0 2 * * *": "*-*-* 02:00:00",
    "*/15 * * * *": "*-*-* *:00/15:00",
    "0 9 * * 1-5": "Mon..Fri *-*-* 09:00:00",
    "0 0 1 * *": "*-*-01 00:00:00",
    "30 4 1,15 * *": "*-*-01,15 04:30:00",
    "0 0 29 2 *": "*-02-29 00:00:00",
    "0 22 * * 7": "Sun *-*-* 22:00:00",
    "0 * * * *": "*-*-* *:00:00",
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"])
def test_due_times_are_those_of_systemd(zone: str) -> None:
    # Systemd leaves out a job of an hour that is left out.
    base = moment("2026-06-27T12:34:00Z")
    for expression, calendar in SYSTEMD.items():
        command = ["systemd-analyze", "calendar", f"{calendar} {zone}", "--iterations=8"]
        told = subprocess.run(
            [*command, f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC"],
            capture_output=True, text=True, check=False, env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
        if told.returncode != 0:
            pytest.skip(f"systemd-analyze does not know how: {told.stderr}")
        wanted = [
            datetime.strptime(line.split(": ", 1)[1].strip(), "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
            for line in told.stdout.splitlines()
            if ("Next elapse" in line or "Iteration" in line) and line.strip().endswith("UTC")
        ]
        # In the time zone of the process, both lines are the same.
        assert len(wanted) >= 8, told.stdout
        assert times(Schedule(cron=expression, timezone=zone), base, 8) == wanted[:8], (expression, zone)


def test_the_night_that_has_an_hour_less_loses_no_job() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")

    assert times(nightly, moment("2026-03-28T12:00Z"), 2) == [moment("2026-03-29T01:00Z"), moment("2026-03-30T00:30Z")]


def test_the_night_that_has_an_hour_more_repeats_no_job() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")

    assert times(nightly, moment("2026-10-24T12:00Z"), 2) == [moment("2026-10-25T00:30Z"), moment("2026-10-26T01:30Z")]
    # From within the hour that is there twice, too.
    assert next_due(nightly, moment("2026-10-25T01:10Z")) == moment("2026-10-26T01:30Z")


def test_an_interval_is_counted_from_its_anchor() -> None:
    after = moment("2026-11-27T12:00:01Z")

    assert times(Schedule(every_seconds=900), after, 2) == [
        moment("2026-11-27T12:15Z"),
        moment("2026-11-27T12:30Z"),
    ]
    assert next_due(Schedule(every_seconds=900, start=moment("2026-11-27T10:07Z")), after) == moment(
        "2026-11-27T12:07Z"
    )
    assert next_due(Schedule(every_seconds=900, start=moment("2027-01-01T10:07Z")), after) == moment(
        "2027-01-01T10:07Z"
    )


def test_a_window_bounds_the_due_times() -> None:
    daily = Schedule(cron="0 2 * * *", start=moment("2026-12-01T02:00Z"), end=moment("2026-12-02T02:00Z"))

    assert times(daily, moment("2026-01-01T00:00Z"), 9) == [moment("2026-12-01T02:00Z"), moment("2026-12-02T02:00Z")]


def test_a_moment_is_due_once() -> None:
    at = moment("2026-12-24T18:00:00+01:00")

    assert times(Schedule(at=at), moment("2026-01-01T00:00Z"), 9) == [at]
    assert next_due(Schedule(at=at), at) is None


SCHEDULES: Final = st.sampled_from(
    [
        *(Schedule(cron=text, timezone=zone) for text in EXPRESSIONS[:24:3] for zone in ZONES[:8:2]),
        *(Schedule(every_seconds=seconds) for seconds in (1, 60, 900, 86_400)),
        Schedule(every_seconds=3600, start=moment("2026-05-05T05:05:05Z")),
    ]
)
MOMENTS: Final = st.integers(0, 2 * 365 * 86_400).map(lambda s: moment("2026-01-01T00:00Z") + timedelta(seconds=s))


@given(schedule=SCHEDULES, after=MOMENTS, minutes=st.integers(0, 3000))
def test_the_last_due_time_is_the_one_that_none_follows(schedule: Schedule, after: datetime, minutes: int) -> None:
    since = next_due(schedule, after)
    assert since is not None
    until = since + minutes * MINUTE

    last = last_due(schedule, until, since=since)
    following = next_due(schedule, last)

    assert since <= last <= until
    assert following is None or following > until


@given(schedule=SCHEDULES, after=MOMENTS)
def test_the_next_due_time_is_later_and_nothing_is_between(schedule: Schedule, after: datetime) -> None:
    due = next_due(schedule, after)

    assert due is not None
    assert due > after
    between = after + (due - after) / 2
    assert next_due(schedule, between) == due


@given(jitter=st.integers(0, 3600), after=MOMENTS)
def test_the_jitter_is_the_same_on_every_server(jitter: int, after: datetime) -> None:
    schedule = Schedule(every_seconds=7200, jitter_seconds=jitter)
    due = next_due(schedule, after)
    assert due is not None

    at = starts_at(ID, schedule, due)

    assert at == starts_at(ID, schedule, due)
    assert timedelta(0) <= at - due <= timedelta(seconds=jitter)


def test_the_jitter_spreads_the_triggers() -> None:
    schedule, due = Schedule(every_seconds=7200, jitter_seconds=600), moment("2026-11-27T12:00Z")
    delays = {starts_at(TriggerId(f"trig-{n}"), schedule, due) - due for n in range(200)}

    assert len(delays) > 190
    assert min(delays) < timedelta(seconds=60)
    assert max(delays) > timedelta(seconds=540)


# After an outage


def steps(schedule: Schedule, pending: datetime, now: datetime) -> tuple[list[datetime], int, datetime | None]:
    """Return the due times that are started at a moment, the number of those left out, and the next one."""
    started: list[datetime] = []
    missed = 0
    due: datetime | None = pending
    while due is not None and starts_at(ID, schedule, due) <= now:
        step = step_at(ID, schedule, due, now)
        missed += step.missed
        if step.due_at is not None:
            started.append(step.due_at)
        due = None if step.next is None else step.next.due_at
    return started, missed, due


def quarterly(missed: Missed, **keys: float) -> Schedule:
    return Schedule(every_seconds=900, missed=missed, **keys)  # type: ignore[arg-type] # only numbers


NOON: Final = moment("2026-11-27T12:00Z")


def test_a_start_that_is_a_little_late_is_on_time() -> None:
    for missed in ("none", "latest", "all"):
        assert steps(quarterly(missed), NOON, NOON + ON_TIME) == ([NOON], 0, NOON + timedelta(minutes=15))


def test_the_policy_decides_what_an_outage_leaves() -> None:
    now = NOON + HOUR + timedelta(minutes=5)
    all_times = [NOON + n * timedelta(minutes=15) for n in range(5)]

    assert steps(quarterly("none"), NOON, now) == ([], 5, all_times[-1] + timedelta(minutes=15))
    assert steps(quarterly("latest"), NOON, now) == (all_times[-1:], 4, all_times[-1] + timedelta(minutes=15))
    assert steps(quarterly("all"), NOON, now) == (all_times, 0, all_times[-1] + timedelta(minutes=15))
    assert steps(quarterly("all", missed_window_seconds=1800), NOON, now)[:2] == (all_times[3:], 3)
    assert steps(quarterly("latest", missed_window_seconds=120), NOON, now)[:2] == ([], 5)


def test_an_outage_leaves_nothing_after_the_end_of_a_schedule() -> None:
    due = [NOON, NOON + HOUR / 4, NOON + HOUR / 2]
    kept: dict[Missed, list[datetime]] = {"none": [], "latest": due[-1:], "all": due}
    for missed, started in kept.items():
        schedule = Schedule(every_seconds=900, missed=missed, end=due[-1])

        assert steps(schedule, NOON, NOON + 2 * HOUR) == (started, 3 - len(started), None)


def test_what_is_due_at_the_end_of_an_outage_is_not_missed() -> None:
    now = NOON + HOUR + timedelta(seconds=20)

    assert steps(quarterly("none"), NOON, now)[:2] == ([NOON + HOUR], 4)


def test_a_due_time_as_old_as_the_window_is_started() -> None:
    now = NOON + HOUR

    assert steps(quarterly("all", missed_window_seconds=1800), NOON, now)[:2] == (
        [now - HOUR / 2, now - HOUR / 4, now],
        2,
    )
    assert steps(quarterly("latest", missed_window_seconds=300), NOON, now + 5 * MINUTE)[:2] == ([now], 4)


@pytest.mark.parametrize(
    ("keys", "length", "outage"),
    [
        ({"cron": "* * * * *"}, MINUTE, timedelta(days=10)),
        ({"every_seconds": 60}, MINUTE, timedelta(days=10)),
        ({"every_seconds": MIN_EVERY_SECONDS}, timedelta(seconds=MIN_EVERY_SECONDS), 2 * HOUR),
    ],
)
def test_a_long_outage_leaves_a_bounded_number_of_starts(
    keys: dict[str, Any], length: timedelta, outage: timedelta
) -> None:
    schedule = Schedule(**keys, missed="all", missed_window_seconds=31 * 86_400)

    step = step_at(ID, schedule, NOON, NOON + outage)

    assert step.due_at == NOON + outage - MOST_MISSED * length
    assert step.missed == min(MOST_MISSED, outage // length - MOST_MISSED)


@given(
    schedule=SCHEDULES,
    missed=st.sampled_from(["none", "latest", "all"]),
    jitter=st.sampled_from([0, 0, 30, 600]),
    window=st.sampled_from([60, 1800, 7200]),
    after=MOMENTS,
    late=st.integers(0, 200),
)
def test_each_due_time_is_started_once_or_left_out_as_the_policy_says(  # noqa: PLR0917 # hypothesis gives them by name
    schedule: Schedule, missed: Missed, jitter: int, window: int, after: datetime, late: int
) -> None:
    if schedule.every_seconds is not None and schedule.every_seconds < 60:
        return
    schedule = Schedule(
        cron=schedule.cron, every_seconds=schedule.every_seconds, timezone=schedule.timezone, start=schedule.start,
        missed=missed, jitter_seconds=min(jitter, 59), missed_window_seconds=window,
    )  # fmt: skip
    first = next_start(ID, schedule, after)
    assert first is not None
    now = first.starts_at + late * MINUTE
    due: list[datetime] = list(
        itertools.takewhile(lambda at: starts_at(ID, schedule, at) <= now, iterate(schedule, first.due_at - MINUTE))
    )

    started, left_out, following = steps(schedule, first.due_at, now)

    assert started == sorted(set(started))
    assert set(started) <= set(due)
    assert len(started) + left_out == len(due)
    assert following is not None
    assert starts_at(ID, schedule, following) > now
    if late <= 1:
        assert started == due
    elif missed == "all":
        assert started == [at for at in due if at >= now - timedelta(seconds=window)] or len(started) <= 1
    else:
        assert len(started) <= 1 or now - starts_at(ID, schedule, started[0]) <= ON_TIME


def test_a_step_is_a_value() -> None:
    assert step_at(ID, quarterly("latest"), NOON, NOON) == DueStep(
        due_at=NOON, missed=0, next=next_start(ID, quarterly("latest"), NOON)
    )


def test_a_leap_day_on_a_monday_is_found() -> None:
    assert times(Schedule(cron="0 0 29 2 */8"), moment("2026-01-01T00:00Z"), 1) == [moment("2032-02-29T00:00Z")]


def test_a_rare_expression_is_compared_with_each_kind_of_month_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = list[date]()
    match_day = CronSim.match_day

    def counted(fields: CronSim, day: date) -> bool:
        compared.append(day)
        return match_day(fields, day)

    monkeypatch.setattr(CronSim, "match_day", counted)
    dues = {
        next_due(Schedule(cron="17 4 * 2 1#5"), datetime(2027, 1, 1, tzinfo=UTC) + number * timedelta(days=100))
        for number in range(200)
    }

    assert {due.weekday() for due in dues if due} == {0}
    assert len(dues) == 3
    # A February begins on one of seven weekdays, and has 28 or 29 days.
    assert len(compared) <= 7 * (28 + 29)


def test_a_date_that_never_comes_is_no_due_time() -> None:
    assert next_due(Schedule(cron="0 0 * 2 1#5"), moment("2033-01-01T00:00Z")) == moment("2044-02-29T00:00Z")
    assert next_due(Schedule(cron="0 0 */31 2 *"), NOON) is not None


def test_a_day_that_a_zone_has_left_out_is_looked_at_once() -> None:
    schedule = Schedule(cron="0-59 0-23 * * *", timezone="Pacific/Apia")
    began = time.thread_time()

    found = times(schedule, moment("2011-12-30T09:58Z"), 3)

    assert found == [moment("2011-12-30T09:59Z"), moment("2011-12-30T10:00Z"), moment("2011-12-30T10:01Z")]
    assert time.thread_time() - began < 1.0


@pytest.mark.parametrize(
    ("written", "fields"),
    [*_MACROS.items(), ("@Daily", "0 0 * * *"), ("@HOURLY", "0 * * * *"), ("@midnight", "0 0 * * *")],
)
def test_a_name_stands_for_its_fields_however_it_is_written(written: str, fields: str) -> None:
    check_cron(written)
    by_name, by_fields = (Schedule(cron=cron, timezone="UTC") for cron in (written, fields))

    after = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC)
    assert next_due(by_name, after) == next_due(by_fields, after) is not None
