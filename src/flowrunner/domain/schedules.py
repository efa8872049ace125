"""Due times of schedules, as pure functions of the schedule and the time."""

import hashlib
from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import MAXYEAR, UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from flowrunner.domain.static_dataclass import static_dataclass
from flowrunner.domain.triggers import Schedule, TriggerId

# A start up to this much later than its due time is on time: it is not missed.
ON_TIME: Final = timedelta(minutes=1)
# Starts that one outage may leave to do, and missed due times that are counted; older ones are left out.
MOST_MISSED: Final = 1000
MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(milliseconds=1)
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)
# A 29th of February falls on the same weekday after 40 years at the latest.
_MOST_YEARS: Final = 40
_NO_TIME: Final = timedelta(0)


class InvalidCron(ValueError):
    """The rejection of a cron expression; the message is about the expression."""


def check_cron(expression: str) -> None:
    """Raises: InvalidCron."""
    _fields_of(expression)


@lru_cache(maxsize=4096)
def _fields_of(expression: str) -> CronSim:
    """Return the fields of an expression, which the caller only reads. Raises: InvalidCron."""
    fields = MACROS.get(expression.lower(), expression)
    if fields.startswith("@"):
        raise InvalidCron(f"there is no '{expression[:20]}'")
    if (count := len(fields.split())) != 5:
        raise InvalidCron(f"has {count} fields instead of 5")
    try:
        return CronSim(fields, _EPOCH)
    except CronSimError as error:
        raise InvalidCron(str(error)) from None


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo:
    """Raises: ValueError if there is no such time zone."""
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise ValueError(f"there is no time zone '{name[:60]}'") from None


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    """Return the first due time after a moment, in UTC; None if there is none."""
    if schedule.start is not None:
        after = max(after, schedule.start - _TICK)
    due = _next(schedule, after)
    return None if due is None or (schedule.end is not None and due > schedule.end) else due


def _next(schedule: Schedule, after: datetime) -> datetime | None:
    if schedule.at is not None:
        return schedule.at if schedule.at > after else None
    if schedule.every_seconds is not None:
        anchor, step = schedule.start or _EPOCH, timedelta(seconds=schedule.every_seconds)
        return anchor + ((after - anchor) // step + 1) * step
    assert schedule.cron is not None, "a schedule has a cron expression, an interval or a moment"
    first = after.astimezone(zone_of(schedule.timezone)).date()
    for day in _days_from(schedule.cron, first, min(first.year + _MOST_YEARS, MAXYEAR)):
        times = _times_of(schedule.cron, schedule.timezone, day)
        if (index := bisect_right(times, after)) < len(times):
            return times[index]
    return None


def last_due(schedule: Schedule, until: datetime, *, since: datetime) -> datetime:
    """Return the last due time up to a moment, which is not before the due time ``since``."""
    if schedule.at is not None:
        return since
    if schedule.end is not None:
        until = min(until, schedule.end)
    if schedule.every_seconds is not None:
        anchor, step = schedule.start or _EPOCH, timedelta(seconds=schedule.every_seconds)
        return max(since, anchor + ((until - anchor) // step) * step)
    assert schedule.cron is not None, "a schedule has a cron expression, an interval or a moment"
    fields, zone = _fields_of(schedule.cron), zone_of(schedule.timezone)
    day, first = until.astimezone(zone).date(), since.astimezone(zone).date()
    while day >= first:
        if day.month in fields.months and fields.match_day(day):
            times = _times_of(schedule.cron, schedule.timezone, day)
            if (index := bisect_right(times, until)) > 0:
                return max(since, times[index - 1])
        day -= _DAY
    return since


def _days_from(cron: str, first: date, last_year: int) -> Iterator[date]:
    """Yield the days of an expression."""
    year, month, months = first.year, first.month, _fields_of(cron).months
    while year <= last_year:
        if month in months:
            for number in _days_of(cron, *monthrange(year, month)):
                if (day := date(year, month, number)) >= first:
                    yield day
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


# A month of each kind: of the weekday of its first day, and its number of days. All of them occur within 28 years.
_KINDS: Final = {monthrange(year, month): (year, month) for year in range(2001, 2029) for month in range(1, 13)}


# The days of a rare expression are found by months, of which there are 28 kinds: few of its days fit in 40 years.
@lru_cache(maxsize=4096)
def _days_of(cron: str, weekday: int, length: int) -> tuple[int, ...]:
    """Return the numbers of the days that fit an expression, in a month of this kind."""
    fields, (year, month) = _fields_of(cron), _KINDS[weekday, length]
    return tuple(number for number in range(1, length + 1) if fields.match_day(date(year, month, number)))


# A day may have 1,440 due times.
@lru_cache(maxsize=256)
def _times_of(cron: str, timezone: str, day: date) -> tuple[datetime, ...]:
    """Return the due times of a day that fits the expression, as cron finds them.

    At fixed hours and minutes, a time that the clock leaves out is due right after it, and one that the clock shows
    twice is due the first time. An expression with a `*` for hours or minutes follows the clock on the wall.
    """
    fields, zone = _fields_of(cron), zone_of(timezone)
    midnight = datetime.combine(day, time())
    begin, end = (at.replace(tzinfo=zone).utcoffset() for at in (midnight, midnight + _DAY))
    walls = [midnight + timedelta(hours=h, minutes=m) for h in sorted(fields.hours) for m in sorted(fields.minutes)]
    assert begin is not None, "a time zone has an offset"
    if begin == end:
        return tuple((wall - begin).replace(tzinfo=UTC) for wall in walls)
    if not fields.parts[1].startswith("*") and not fields.parts[2].startswith("*"):
        return tuple(sorted(set(_firsts_from(walls, zone))))
    return tuple(sorted({at for wall in walls for at in _moments_of(wall, zone)}))


def moment_of(wall: datetime, timezone: str) -> datetime:
    """Return the first moment at which a clock shows a time; if it leaves it out, the first one after it."""
    zone = zone_of(timezone)
    shown = next(_moments_of(wall, zone), None)
    return shown or next(_moments_of(_end_of_gap(wall.replace(second=0, microsecond=0), zone), zone))


def _moments_of(wall: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the moments at which a clock shows a time: none, one or two."""
    for fold in (0, 1):
        at = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) == wall:
            yield at


def _firsts_from(walls: Sequence[datetime], zone: ZoneInfo) -> Iterator[datetime]:
    """Yield the first moment at which a clock shows each time, or if it leaves it out, the first one after it.

    Clocks have left out a whole day, so the times that are left out together are looked at once.

    Args:
        walls: The times in order.
    """
    resumes = None
    for wall in walls:
        if resumes is not None and wall < resumes:
            continue
        at = next(_moments_of(wall, zone), None)
        if at is None:
            resumes = _end_of_gap(wall, zone)
            at = next(_moments_of(resumes, zone))
        yield at


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first time, to the minute, that a clock shows after one that it leaves out."""
    while next(_moments_of(wall, zone), None) is None:
        wall += _MINUTE
    return wall


def starts_at(id: TriggerId, schedule: Schedule, due_at: datetime) -> datetime:
    """Return when the trigger starts the execution of a due time: it, or a fixed part of the jitter later."""
    if not schedule.jitter_seconds:
        return due_at
    # Drawn from the trigger and the due time, so that every server and every restart draws the same.
    digest = hashlib.sha256(f"{id} {due_at.timestamp():.3f}".encode()).digest()
    milliseconds = int.from_bytes(digest[:8]) % (int(schedule.jitter_seconds * 1000) + 1)
    return due_at + timedelta(milliseconds=milliseconds)


class NextStart(NamedTuple):
    """A due time, and when its execution starts."""

    due_at: datetime
    starts_at: datetime


def next_start(id: TriggerId, schedule: Schedule, after: datetime) -> NextStart | None:
    """Return the first due time after a moment; None if there is none."""
    due = next_due(schedule, after)
    return None if due is None else NextStart(due, starts_at(id, schedule, due))


@static_dataclass(frozen=True, slots=True, kw_only=True)
class DueStep:
    """The decision at a moment at which a trigger is due.

    Attributes:
        due_at: The due time to start; None if it is too late for all of them.
        missed: The due times that are left out, at most `MOST_MISSED`.
        next: What follows; None if nothing does.
    """

    due_at: datetime | None
    missed: int
    next: NextStart | None


def step_at(id: TriggerId, schedule: Schedule, pending: datetime, now: datetime) -> DueStep:
    """Return what to do at a moment, at which the due time ``pending`` is to start.

    After an outage the schedule's policy decides which due times are started late. It is applied to one due time at a
    time, so that another server can continue after each of them.
    """
    if now - starts_at(id, schedule, pending) <= ON_TIME:
        return DueStep(due_at=pending, missed=0, next=next_start(id, schedule, pending))
    last = last_due(schedule, now, since=pending)
    while last > pending and starts_at(id, schedule, last) > now:
        last = last_due(schedule, last - _TICK, since=pending)
    age = now - starts_at(id, schedule, last)
    window = _NO_TIME if schedule.missed == "none" else timedelta(seconds=schedule.missed_window_seconds)
    if age > max(window, ON_TIME):
        return DueStep(due_at=None, missed=_count(schedule, pending, last) + 1, next=next_start(id, schedule, last))
    chosen = last
    if schedule.missed == "all":
        chosen = _first_of_all(schedule, pending, last, oldest=now - window)
    return DueStep(due_at=chosen, missed=_count(schedule, pending, chosen), next=next_start(id, schedule, chosen))


def _first_of_all(schedule: Schedule, pending: datetime, last: datetime, *, oldest: datetime) -> datetime:
    """Return the first due time that is not older than ``oldest``, and that at most `MOST_MISSED` others follow."""
    chosen = pending if pending >= oldest else next_due(schedule, oldest - _TICK)
    if chosen is None or chosen > last:
        return last
    # Due times of a cron expression are at least a minute apart.
    is_long = schedule.every_seconds is not None or last - chosen > MOST_MISSED * timedelta(minutes=1)
    excess = _count(schedule, chosen, last, most=None) - MOST_MISSED if is_long else 0
    if schedule.every_seconds is not None:
        return chosen + max(excess, 0) * timedelta(seconds=schedule.every_seconds)
    for _ in range(excess):
        following = next_due(schedule, chosen)
        assert following is not None, "the last due time follows"
        chosen = following
    return chosen


def _count(schedule: Schedule, first: datetime, last: datetime, *, most: int | None = MOST_MISSED) -> int:
    """Return the number of due times from ``first`` to the one before ``last``."""
    if schedule.every_seconds is not None:
        count = (last - first) // timedelta(seconds=schedule.every_seconds)
        return count if most is None else min(count, most)
    count, due = 0, first
    while due < last and (most is None or count < most):
        following = next_due(schedule, due)
        if following is None:
            break
        count, due = count + 1, following
    return count
