"""Triggers: list, read, pause, resume, rotate and run; they are written in the documents of flows."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Final, ParamSpec, TypeVar

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import act
from flowrunner.domain.errors import Conflict, invalid
from flowrunner.domain.schedules import NextStart, next_start
from flowrunner.domain.triggers import Schedule, TriggerId, TriggerType
from flowrunner.domain.values import FlowId
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.ports.triggers import TriggerStore, TriggerView
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.executions import StartedExecution
from flowrunner.services.schedules import Schedules

P = ParamSpec("P")
T = TypeVar("T")

# Searches for due times at a time over all accounts, so that the other threads stay free. An account has one of them.
_AT_ONCE: Final = 2
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FARTHEST: Final = timedelta(days=10 * 365)
# Calendars end in the year 9999.
_LAST: Final = datetime(6000, 1, 1, tzinfo=UTC)


class Triggers:
    def __init__(self, store: TriggerStore, schedules: Schedules, clock: Clock) -> None:
        self._store = store
        self._schedules = schedules
        self._clock = clock
        self._locks = AccountLocks()
        self._searching = asyncio.Semaphore(_AT_ONCE)

    async def page(
        self, caller: Caller, *, flow_id: FlowId | None, type: TriggerType | None, page: Page
    ) -> tuple[Sequence[TriggerView], int]:
        return await self._store.page(caller.workspace_id, flow_id=flow_id, type=type, page=page)

    async def get(self, caller: Caller, id: TriggerId) -> TriggerView:
        """Raises: NotFound."""
        return await self._store.get(caller.workspace_id, id)

    async def set_paused(self, caller: Caller, id: TriggerId, *, paused: bool) -> TriggerView:
        """Pause a trigger, or arm it again; what would have started it in the meantime is left out.

        Raises: NotFound; Conflict if the flow's document no longer has it.
        """
        await self._present(caller, id)
        now = self._clock.now()
        entry = act(caller, "trigger.paused" if paused else "trigger.resumed", "trigger", id, at=now)
        changed = await self._store.set_paused(caller.workspace_id, id, paused=paused, at=now, audit=entry)
        self._schedules.changed.set()
        return changed

    async def rotate(self, caller: Caller, id: TriggerId) -> TriggerView:
        """Give a webhook another URL, in place of the old one. Raises: NotFound; Conflict if it is not a webhook."""
        entry = act(caller, "trigger.rotated", "trigger", id, at=self._clock.now())
        return await self._store.rotate(caller.workspace_id, id, audit=entry)

    async def run(self, caller: Caller, id: TriggerId, *, idempotency_key: str | None) -> StartedExecution:
        """Fire a schedule now, even if it is paused; its due times stay as they are.

        Raises: NotFound; Conflict if the flow's document no longer has it, or it is no schedule; as `Executions.run`.
        """
        found, _ = await self.schedule(caller, id)
        return await self._schedules.start_now(caller, found, idempotency_key=idempotency_key)

    async def schedule(self, caller: Caller, id: TriggerId) -> tuple[TriggerView, Schedule]:
        """Return a schedule that the flow's document has. Raises: NotFound; Conflict if it has none."""
        found = await self._present(caller, id)
        if not isinstance(found.spec, Schedule):
            raise Conflict(f"A trigger of type {found.type} has no due times to start: run its flow instead")
        return found, found.spec

    async def _present(self, caller: Caller, id: TriggerId) -> TriggerView:
        """Return a trigger that the flow's document has. Raises: NotFound; Conflict."""
        found = await self.get(caller, id)
        if found.removed_at is not None:
            raise Conflict("The flow no longer has this trigger: write it in the flow's document again")
        return found

    async def next_times(
        self, caller: Caller, id: TriggerId, *, count: int, after: datetime | None = None, until: datetime | None = None
    ) -> Sequence[datetime]:
        """Return when a schedule starts the flow next, from now on, even if it is paused.

        Args:
            after: Only later starts; None for all.
            until: Only earlier starts; None for all.

        Raises: NotFound; InvalidInput if it is not a schedule, or ``after`` is too far away.
        """
        found = await self.get(caller, id)
        schedule = found.spec
        if not isinstance(schedule, Schedule):
            raise invalid("id", f"The trigger is of type {found.type}: only a schedule has due times")
        begin, pending = self._clock.now(), None
        if after is not None and after - begin > _FARTHEST:
            raise invalid("after", f"is more than {_FARTHEST.days // 365} years away")
        if found.due_at is not None and found.next_at is not None:
            pending = NextStart(found.due_at, found.next_at)
        return await self.search(
            caller,
            _starts,
            id,
            schedule,
            pending,
            begin,
            count=count,
            after=after or _NEVER,
            until=_LAST if until is None else min(until, _LAST),
        )

    async def search(self, caller: Caller, find: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a search for due times finds, on a thread: the times of a rare expression are far apart."""
        async with self._locks.of(caller), self._searching:
            return await asyncio.to_thread(find, *args, **kwargs)


def _starts(
    id: TriggerId,
    schedule: Schedule,
    pending: NextStart | None,
    begin: datetime,
    *,
    count: int,
    after: datetime,
    until: datetime,
) -> Sequence[datetime]:
    """Return at most ``count`` starts between two moments, in order: the pending one and those after it or ``begin``.

    A jitter that is longer than the gaps changes their order, so a start is kept until no later one can precede it.
    """
    times: list[datetime] = []
    waiting: list[datetime] = []
    # What is due before a moment may start after it.
    earliest = max(begin, after - timedelta(seconds=schedule.jitter_seconds))
    start = pending if pending is not None and pending.starts_at > after else None
    if start is None:
        start = next_start(id, schedule, earliest if pending is None else max(earliest, pending.due_at))
    while len(times) < count and (waiting or start is not None):
        if start is not None and (not waiting or start.due_at <= waiting[0]):
            if start.starts_at > after:
                heappush(waiting, start.starts_at)
            start = next_start(id, schedule, start.due_at) if start.due_at < until else None
        elif (time := heappop(waiting)) >= until:
            break
        elif not times or time > times[-1]:
            times.append(time)
    return times
