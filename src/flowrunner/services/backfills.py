"""Backfills: the due times of a schedule in a period, started late by a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import ClassVar, Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import FlowDisabled, invalid
from flowrunner.domain.jobs import MAX_ITEMS, Job, RunningJob
from flowrunner.domain.schedules import moment_of, next_due
from flowrunner.domain.triggers import Schedule, TriggerId
from flowrunner.domain.values import rfc3339
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import ExecutionReader
from flowrunner.services.jobs import Jobs, check_count, items_after
from flowrunner.services.schedules import Schedules, key_of
from flowrunner.services.triggers import Triggers

NAME: Final = "triggers.backfill"
_TICK: Final = timedelta(milliseconds=1)
# Shown by a dry run.
_FIRST: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPlan:
    """A preview of a backfill: the number of due times, and the first ones of them."""

    total: int
    first: Sequence[datetime]


class Backfills:
    def __init__(self, triggers: Triggers, jobs: Jobs, executions: ExecutionReader, clock: Clock) -> None:
        self._triggers = triggers
        self._jobs = jobs
        self._executions = executions
        self._clock = clock

    async def plan(self, caller: Caller, id: TriggerId, first: date, end: date) -> BackfillPlan:
        """Return what `start` would do. Raises: as `start`."""
        authorise(caller, Right.RUN)
        times = await self._times(caller, id, first, end)
        return BackfillPlan(total=len(times), first=times[:_FIRST])

    async def start(self, caller: Caller, id: TriggerId, first: date, end: date) -> Job:
        """Create the job that starts the due times from ``first`` until before ``end``, the oldest first.

        Those that were started are left out, because a due time starts one execution only.

        Args:
            first: A moment, or a day, which begins as clocks in the time zone of the schedule show it.
            end: A moment or a day, as ``first``.

        Raises:
            NotFound; Conflict if the flow's document no longer has the trigger, or it is not a schedule; FlowDisabled.
            InvalidInput: If the period is empty or not over, or has too many due times.
            TooManyRequests: If too many jobs of the workspace are running.
        """
        times = await self._times(caller, id, first, end)
        work = {"trigger": id, "times": [rfc3339(time) for time in times]}
        return await self._jobs.create(caller, NAME, work, total=len(times))

    async def _times(self, caller: Caller, id: TriggerId, from_: date, to: date) -> Sequence[datetime]:
        trigger, schedule = await self._triggers.schedule(caller, id)
        first, end = _beginning(from_, schedule.timezone), _beginning(to, schedule.timezone)
        if trigger.flow_disabled_at is not None:
            raise FlowDisabled(trigger.flow_name)
        if not first < end:
            raise invalid("to", "must be later than from")
        if end > self._clock.now():
            raise invalid("to", "must not be in the future", hint="the schedule itself starts what is due later")
        times = await self._triggers.search(caller, _between, schedule, first, end)
        check_count(len(times), field="from")
        period = {"first": key_of(trigger.id, first), "end": key_of(trigger.id, end)}
        started = await self._executions.keys(caller.workspace_id, **period)
        return [time for time in times if key_of(trigger.id, time) not in started]


def _beginning(of: date, timezone: str) -> datetime:
    return of if isinstance(of, datetime) else moment_of(datetime.combine(of, time()), timezone)


def _between(schedule: Schedule, first: datetime, end: datetime) -> Sequence[datetime]:
    """Return the due times of a period; one more than a job may have if there are more."""
    times: list[datetime] = []
    due = next_due(schedule, first - _TICK)
    while due is not None and due < end and len(times) <= MAX_ITEMS:
        times.append(due)
        due = next_due(schedule, due)
    return times


class BackfillTrigger:
    """Implements `ports.JobType`: starts each due time that was not started before."""

    name: ClassVar[str] = NAME
    right: ClassVar[Right] = Right.RUN

    def __init__(self, schedules: Schedules, triggers: Triggers) -> None:
        self._schedules = schedules
        self._triggers = triggers

    async def page(self, job: RunningJob, *, limit: int) -> Sequence[str]:
        return items_after(job, "times", limit=limit)

    async def do(self, caller: Caller, job: RunningJob, item: str) -> None:
        trigger, _ = await self._triggers.schedule(caller, TriggerId(str(job.work["trigger"])))
        await self._schedules.start_late(caller, trigger, datetime.fromisoformat(item))
