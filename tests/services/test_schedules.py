"""Schedules on a real database: what is started, when, and how often."""

import asyncio
import json
import random
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.causes import Scheduled
from flowrunner.domain.events import Started
from flowrunner.domain.schedules import ON_TIME, next_due, starts_at
from flowrunner.domain.triggers import FAILING_AFTER, Schedule
from flowrunner.domain.values import WorkspaceId
from flowrunner.ports.triggers import TriggerView
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.flows import Flows
from flowrunner.services.schedules import Schedules
from flowrunner.services.trigger_requests import TriggerRequests
from flowrunner.services.triggers import Triggers
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.schedules import SqlSchedules
from flowrunner.storage.triggers import SqlTriggers
from support.databases import MARA, NOON, change, rows_of
from support.dependencies import Machine

from .test_executions import ALL

QUARTER = timedelta(minutes=15)
QUICK = "nodes: {a: {type: return, params: {value: '${input}'}}}"
WAITING = "nodes: {a: {type: wait, params: {key: go}}}"


def server_of(
    engine: Machine, outcomes: dict[str, int] | None = None, store: type[SqlSchedules] = SqlSchedules
) -> Schedules:
    def count(outcome: str, number: int) -> None:
        if outcomes is not None:
            outcomes[outcome] = outcomes.get(outcome, 0) + number

    return Schedules(
        store(engine.database), engine.executions,
        TriggerRequests(engine.library, engine.executions, engine.deps.sandbox), engine.clock,
        reader=SqlExecutions(engine.database), journal=engine.journal, changed=asyncio.Event(), on_outcome=count,
    )  # fmt: skip


class World:
    """A flow with one schedule, whose clock the test moves."""

    def __init__(self, engine: Machine, flows: Flows, caller: Caller, flow_id: Any, begun_at: datetime) -> None:
        self.engine, self.flows, self.caller, self.flow_id = engine, flows, caller, flow_id
        self.begun_at = begun_at
        self.outcomes: dict[str, int] = {}
        self.servers = [server_of(engine, self.outcomes)]

    @property
    def now(self) -> datetime:
        return self.engine.clock._now

    async def advance(self, **amount: float) -> None:
        self.engine.clock.advance(**amount)
        await asyncio.gather(*(server.start_due() for server in self.servers))

    async def trigger(self) -> TriggerView:
        found, _ = await SqlTriggers(self.engine.database).page(MARA, flow_id=self.flow_id, type=None, page=ALL)
        return found[0]

    async def starts(self) -> Mapping[datetime, datetime]:
        """Return when each due time was started."""
        found: dict[datetime, datetime] = {}
        for (id,) in rows_of(self.engine.path, "SELECT id FROM executions ORDER BY id"):
            (first, *_) = await self.engine.journal.events(id, after=0, limit=1)
            assert isinstance(first.event, Started)
            assert isinstance(first.event.cause, Scheduled)
            assert first.event.cause.due_at not in found, "started twice"
            found[first.event.cause.due_at] = first.at
        return found

    async def end_all(self) -> None:
        for (id,) in rows_of(self.engine.path, "SELECT id FROM executions WHERE completed_at IS NULL ORDER BY id"):
            await self.engine.dispatcher.cancel(id, reason="test", force=True)
            await self.engine.until_ended(id)


async def world(
    engine: Machine, flows: Flows, caller: Caller, trigger: str = "every: 15m", nodes: str = QUICK
) -> World:
    definition = f"metadata: {{name: N}}\n{nodes}\ntriggers: {{t: {{type: schedule, {trigger}}}}}"
    # Due times are at whole quarters of an hour.
    assert NOON.minute == NOON.second == 0
    flow = await flows.create(caller, FlowDraft(definition=definition))
    return World(engine, flows, caller, flow.id, flow.created_at)


async def test_the_day_of_a_due_time_can_be_that_of_its_time_zone(engine: Machine, flows: Flows, mara: Caller) -> None:
    day = "${trigger.due_local.slice(0, 10)}"
    input = f'{{at: "${{trigger.due_local}}", day: "{day}"}}'
    one = await world(engine, flows, mara, f"every: 15m, timezone: Pacific/Kiritimati, input: {input}")

    await one.advance(minutes=15)

    trigger = await one.trigger()
    assert trigger.last_execution_id is not None
    given = json.loads((await engine.executions.get(mara, trigger.last_execution_id)).input)
    # 14 hours ahead of UTC.
    local = (NOON + QUARTER + timedelta(hours=14)).replace(tzinfo=None)
    assert given == {"at": f"{local.isoformat(timespec='milliseconds')}+14:00", "day": local.date().isoformat()}
    assert local.date() != NOON.date()


async def test_a_due_time_is_started_once_and_not_before(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, 'every: 15m, input: {due: "${trigger.due_at}", by: "${trigger.name}"}')

    await one.advance(minutes=14, seconds=59)
    early = await one.starts()
    await one.advance(seconds=1)
    await one.advance(seconds=1)

    assert early == {}
    assert list(await one.starts()) == [NOON + QUARTER]
    trigger = await one.trigger()
    assert (trigger.state, trigger.due_at, trigger.error) == ("armed", NOON + 2 * QUARTER, None)
    assert trigger.last_execution_id is not None
    assert await engine.until_ended(trigger.last_execution_id) == "completed"
    execution = await engine.executions.get(mara, trigger.last_execution_id)
    assert execution.trigger_id == trigger.id
    assert json.loads(execution.result or b"null") == {"due": "2027-01-01T12:15:00.000Z", "by": "t"}


async def test_schedules_that_are_due_together_each_start_their_own_execution(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    """Two triggers of one flow, one of another, and a late start of each: none is a repeat of another one's."""
    twice = "triggers: {t: {type: schedule, every: 15m}, u: {type: schedule, every: 15m}}"
    created = [
        await flows.create(mara, FlowDraft(definition=f"metadata: {{name: {name}}}\n{QUICK}\n{triggers}"))
        for name, triggers in (("one", twice), ("two", "triggers: {t: {type: schedule, every: 15m}}"))
    ]
    server = server_of(engine)
    engine.clock.advance(minutes=15)
    await server.start_due()
    found, _ = await SqlTriggers(engine.database).page(MARA, flow_id=None, type=None, page=ALL)
    late = [await server.start_late(mara, trigger, NOON - QUARTER) for trigger in found for _ in range(2)]

    assert {trigger.flow_id for trigger in found} == {flow.id for flow in created}
    started = rows_of(engine.path, "SELECT trigger_id, count(*) FROM executions GROUP BY trigger_id")
    assert dict(started) == {trigger.id: 2 for trigger in found}
    assert len({each.id for each in late}) == len(found) == 3
    for each in late:
        (first, *_) = await engine.journal.events(each.id, after=0, limit=1)
        assert isinstance(first.event, Started)
        assert isinstance(first.event.cause, Scheduled)
        assert first.event.cause.by == mara.account_id


async def test_several_servers_start_a_due_time_once(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, overlap: allow")
    one.servers += [server_of(engine, one.outcomes) for _ in range(4)]

    for _ in range(6):
        await one.advance(minutes=15)

    assert list(await one.starts()) == [NOON + n * QUARTER for n in range(1, 7)]
    assert one.outcomes["started"] == 6


async def test_an_open_execution_is_skipped_and_that_is_counted(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m", WAITING)

    for _ in range(3):
        await one.advance(minutes=15)
    skipped = await one.trigger()
    await one.end_all()
    await one.advance(minutes=15)

    assert (skipped.skipped, skipped.state) == (2, "armed")
    assert list(await one.starts()) == [NOON + QUARTER, NOON + 4 * QUARTER]
    assert one.outcomes == {"started": 2, "skipped": 2}


async def test_executions_wait_in_a_queue_for_the_open_one(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, overlap: queue", WAITING)

    for _ in range(3):
        await one.advance(minutes=15)

    queued = rows_of(engine.path, "SELECT is_queued FROM executions ORDER BY id")
    assert queued == [(0,), (1,), (1,)]
    assert len(await one.starts()) == 3


async def test_an_execution_replaces_the_open_one(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, overlap: replace", WAITING)

    await one.advance(minutes=15)
    (first,) = rows_of(engine.path, "SELECT id FROM executions")[0]
    await engine.until_parked(first)
    await one.advance(minutes=15)

    assert await engine.until_ended(first) == "cancelled"
    assert len(await one.starts()) == 2


async def test_executions_run_beside_each_other_if_they_may(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, overlap: allow", WAITING)

    for _ in range(3):
        await one.advance(minutes=15)

    assert rows_of(engine.path, "SELECT is_queued FROM executions") == [(0,)] * 3


async def test_an_outage_leaves_what_the_policy_says(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, missed: latest")

    await one.advance(hours=1, minutes=5)

    assert list(await one.starts()) == [NOON + 4 * QUARTER]
    assert (await one.trigger()).missed == 3


async def test_every_missed_due_time_is_started_if_that_is_wanted(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, missed: all, overlap: allow")

    await one.advance(hours=1, minutes=5)

    assert list(await one.starts()) == [NOON + n * QUARTER for n in range(1, 5)]
    assert (await one.trigger()).missed == 0


async def test_a_pause_of_the_installation_is_an_outage(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, "every: 15m, missed: latest")
    await SqlPause(engine.database).set(NOON)

    await one.advance(hours=1, minutes=5)
    assert await one.servers[0].next_due() is None
    paused = await one.starts()
    await SqlPause(engine.database).set(None)
    await one.advance(seconds=1)

    assert paused == {}
    assert list(await one.starts()) == [NOON + 4 * QUARTER]


async def test_a_pause_that_begins_while_due_times_are_started_leaves_them_to_its_end(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    pause = SqlPause(engine.database)

    class PausedMeanwhile(SqlSchedules):
        async def due(
            self, *, at: datetime, limit: int, outside: Collection[WorkspaceId] = ()
        ) -> Sequence[TriggerView]:
            found = await super().due(at=at, limit=limit, outside=outside)
            await pause.set(NOON)
            return found

    one = await world(engine, flows, mara)
    one.servers = [server_of(engine, one.outcomes, PausedMeanwhile)]
    await one.advance(minutes=15)
    paused = await one.trigger()
    await pause.set(None)
    one.servers = [server_of(engine, one.outcomes)]
    await one.advance(seconds=1)

    assert (paused.due_at, paused.failures) == (NOON + QUARTER, 0)
    assert list(await one.starts()) == [NOON + QUARTER]
    assert one.outcomes == {"started": 1}


async def test_a_trigger_that_fails_again_and_again_says_why(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara, 'every: 15m, input: {n: "${trigger.due_at.x.y}"}')

    await one.advance(minutes=15)
    once = await one.trigger()
    for _ in range(FAILING_AFTER - 1):
        await one.advance(minutes=15)
    often = await one.trigger()
    await flows.update(
        mara, one.flow_id, FlowDraft(definition=f"{QUICK}\ntriggers: {{t: {{type: schedule, every: 15m}}}}")
    )
    await one.advance(minutes=15)
    repaired = await one.trigger()

    assert (once.state, often.state) == ("armed", "failing")
    assert often.error is not None
    assert often.error.startswith("input: The input of the trigger has no value")
    assert (often.failures, often.due_at) == (FAILING_AFTER, NOON + (FAILING_AFTER + 1) * QUARTER)
    assert (repaired.state, repaired.error, repaired.failures) == ("armed", None, 0)


async def test_due_times_that_are_missed_count_although_the_start_after_them_fails(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, 'every: 15m, missed: latest, input: {n: "${trigger.due_at.x.y}"}')

    await one.advance(hours=1)

    found = await one.trigger()
    assert (found.failures, found.missed) == (1, 3)
    assert one.outcomes == {"failed": 1, "missed": 3}


@pytest.mark.parametrize("stored", ["{broken", '{"cron": 5}', '{"cron": "* * * * *", "timezone": "Mars/Phobos"}'])
async def test_a_trigger_that_cannot_be_read_stops_no_other_one(
    engine: Machine, flows: Flows, mara: Caller, stored: str
) -> None:
    broken = await world(engine, flows, mara)
    change(engine.path, f"UPDATE triggers SET spec = '{stored}'")
    one = await world(engine, flows, mara, "every: 15m, overlap: allow")

    await one.advance(minutes=15)
    await one.advance(minutes=15)

    assert list(await one.starts()) == [NOON + QUARTER, NOON + 2 * QUARTER]
    found = await broken.trigger()
    assert (found.state, found.failures) == ("ended", 1)
    assert found.error is not None


async def test_a_trigger_that_crashes_after_an_outage_fails_once_and_is_due_again_in_the_future(
    engine: Machine, flows: Flows, mara: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await world(engine, flows, mara, "every: 15m, missed: all")

    async def crash(trigger: TriggerView, schedule: Schedule) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(one.servers[0], "_step", crash)
    await one.advance(hours=5)

    found = await one.trigger()
    assert (found.failures, found.due_at) == (1, NOON + 21 * QUARTER)
    assert found.error == "An internal error: see the log of the server"


async def test_a_pause_of_a_trigger_and_its_end_begin_a_new_count_of_failures(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, 'every: 15m, input: {n: "${trigger.due_at.x.y}"}')
    server = one.servers[0]
    triggers = Triggers(SqlTriggers(engine.database), server, engine.clock)
    counts = []
    for paused in (True, False):
        await one.advance(minutes=15)
        before = await one.trigger()
        server.changed.clear()
        after = await triggers.set_paused(mara, before.id, paused=paused)
        counts.append((before.failures, after.failures, after.error))
        # One that is armed again may be due before the server would look next.
        assert server.changed.is_set()

    assert counts == [(1, 0, None), (0, 0, None)]


async def test_a_due_time_is_not_started_again_after_a_save_and_a_clock_that_goes_back(
    engine: Machine, flows: Flows, mara: Caller
) -> None:
    one = await world(engine, flows, mara, "every: 15m")
    await one.advance(minutes=16)

    engine.clock.advance(minutes=-10)
    other = f"{QUICK}\ntriggers: {{t: {{type: schedule, every: 15m, missed: all}}}}"
    await flows.update(mara, one.flow_id, FlowDraft(definition=other))
    again = await one.trigger()
    await one.advance(minutes=10)

    assert again.due_at == NOON + QUARTER
    assert list(await one.starts()) == [NOON + QUARTER]
    assert (await one.trigger()).due_at == NOON + 2 * QUARTER


async def test_a_disabled_flow_starts_nothing(engine: Machine, flows: Flows, mara: Caller) -> None:
    one = await world(engine, flows, mara)
    await flows.update(mara, one.flow_id, FlowDraft(disabled=True))

    await one.advance(hours=3)
    await flows.update(mara, one.flow_id, FlowDraft(disabled=False))
    await one.advance(seconds=5)
    enabled = await one.starts()
    await one.advance(minutes=15)

    assert enabled == {}
    assert list(await one.starts()) == [NOON + 13 * QUARTER]


KINDS = (
    "every: 15m", "every: 7m, jitter: 90s", 'cron: "*/20 * * * *", timezone: Europe/Berlin',
    'cron: "5 */2 * * *", timezone: America/New_York, jitter: 45s', 'every: 40m, start: "2027-01-01T11:11:11Z"',
)  # fmt: skip


class Oracle:
    """The due times that are to be started, from lists of all of them."""

    def __init__(self, trigger: TriggerView, begun_at: datetime) -> None:
        assert isinstance(trigger.spec, Schedule)
        self.id, self.schedule = trigger.id, trigger.spec
        self.last = begun_at
        self.wanted: list[datetime] = []
        self.missed = 0

    def at(self, now: datetime) -> None:
        while True:
            pending: list[datetime] = []
            due = next_due(self.schedule, self.last)
            while due is not None and (not pending or due <= now):
                if starts_at(self.id, self.schedule, due) > now:
                    break
                pending.append(due)
                due = next_due(self.schedule, due)
            if not pending:
                return
            chosen, taken = self._choose(pending, now)
            if chosen is not None:
                self.wanted.append(chosen)
            self.missed += taken - (chosen is not None)
            self.last = pending[taken - 1]

    def _choose(self, pending: list[datetime], now: datetime) -> tuple[datetime | None, int]:
        """Return the due time to start, and how many are handled with it."""
        late = [now - starts_at(self.id, self.schedule, due) for due in pending]
        if late[0] <= ON_TIME:
            return pending[0], 1
        window = timedelta(seconds=self.schedule.missed_window_seconds)
        match self.schedule.missed:
            case "none":
                return (pending[-1] if late[-1] <= ON_TIME else None), len(pending)
            case "latest":
                return (pending[-1] if late[-1] <= window else None), len(pending)
            case "all":
                fit = [index for index, due in enumerate(pending) if due >= now - window]
                return (pending[fit[0]], fit[0] + 1) if fit else (None, len(pending))


@pytest.mark.parametrize("seed", range(60))
async def test_no_jump_restart_or_take_over_starts_early_or_twice(
    engine: Machine, flows: Flows, mara: Caller, seed: int
) -> None:
    rng = random.Random(seed)
    missed, window = rng.choice(("none", "latest", "all")), rng.choice(("10m", "1h", "1d"))
    one = await world(
        engine, flows, mara, f"{KINDS[seed % len(KINDS)]}, overlap: allow, missed: {missed}, missed_window: {window}"
    )
    oracle = Oracle(await one.trigger(), one.begun_at)
    for _ in range(12):
        match rng.randrange(6):
            case 0:
                # An hour of downtime.
                engine.clock.advance(minutes=rng.randrange(30, 130))
                one.servers = [server_of(engine, one.outcomes)]
            case 1:
                engine.clock.advance(hours=rng.choice((-1, 1)))
            case 2:
                # Another server takes over, or runs as well.
                one.servers.append(server_of(engine, one.outcomes))
            case 3:
                await flows.update(mara, one.flow_id, FlowDraft(description=f"{rng.random()}"))
            case _:
                engine.clock.advance(seconds=rng.randrange(1, 1200))
        oracle.at(one.now)
        await one.advance(seconds=0)

    starts = await one.starts()
    assert list(starts) == oracle.wanted
    assert one.outcomes.get("missed", 0) == oracle.missed
    assert [due for due, at in starts.items() if at < starts_at(oracle.id, oracle.schedule, due)] == []
