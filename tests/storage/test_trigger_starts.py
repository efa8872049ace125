"""Schedules that are due, and the change of a trigger in the transaction of the start that it causes."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from flowrunner.domain.causes import Scheduled
from flowrunner.domain.errors import InvalidFlow, NotFound
from flowrunner.domain.schedules import NextStart
from flowrunner.domain.triggers import FAILING_AFTER, Chain, Schedule, TriggerId
from flowrunner.domain.values import ExecutionId, FlowId, rfc3339
from flowrunner.ports.callbacks import CallbackId
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId
from flowrunner.ports.journal import Append
from flowrunner.ports.triggers import TriggerFire, TriggerHasMoved, TriggerView
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.hooks import SqlHooks
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.schedules import SqlSchedules
from flowrunner.storage.trigger_ends import SqlTriggerEnds
from flowrunner.storage.triggers import SqlTriggers
from support.databases import MARA, NOON, OMAR, Place, change, completion, creation

from .samples import ALL, sealing
from .test_callbacks import callback
from .test_triggers import HOOK, HOURLY, named, saved

HOUR = timedelta(hours=1)
LISTEN = "UPDATE triggers SET listens_to = 'flow-1', listens_status = 'completed'"
OFTEN = TriggerId("trig-often")
SELDOM = TriggerId("trig-seldom")


@pytest.fixture
def schedules(database: Database) -> SqlSchedules:
    return SqlSchedules(database)


@pytest.fixture
def triggers(database: Database) -> SqlTriggers:
    return SqlTriggers(database)


@pytest.fixture
def log(database: Database) -> SqlJournal:
    return SqlJournal(database)


def start(at: datetime) -> NextStart:
    return NextStart(at, at)


def firing(id: str, fire: TriggerFire, epoch: int) -> Append:
    """Return the creation of an execution that a trigger starts."""
    new = creation(id, epoch=epoch, key=f"k-{id}", digest=None)
    assert new.create is not None
    cause = Scheduled(trigger=fire.trigger_id, name="often", due_at=fire.due_at or NOON)
    return replace(new, create=replace(new.create, cause=cause, fire=fire))


async def often(triggers: SqlTriggers) -> TriggerView:
    return (await named(triggers))["often"]


async def test_the_first_of_all_schedules_is_known(
    flows: SqlFlows, schedules: SqlSchedules, database: Database
) -> None:
    assert await schedules.earliest() is None

    await flows.create(MARA, saved(often=HOURLY, seldom=Schedule(every_seconds=7200), pushed=HOOK))

    assert await schedules.earliest() == NOON + HOUR
    await SqlPause(database).set(NOON)
    assert await schedules.earliest() is None
    assert await schedules.due(at=NOON + 9 * HOUR, limit=9) == []


async def test_schedules_are_due_in_order(flows: SqlFlows, schedules: SqlSchedules) -> None:
    await flows.create(MARA, saved(seldom=Schedule(every_seconds=7200), often=HOURLY))

    assert await schedules.due(at=NOON + HOUR - timedelta(milliseconds=1), limit=9) == []
    found = await schedules.due(at=NOON + 2 * HOUR, limit=9)
    assert [(each.name, each.has_open_execution) for each in found] == [("often", False), ("seldom", False)]
    assert len(await schedules.due(at=NOON + 2 * HOUR, limit=1)) == 1


async def test_a_start_moves_its_trigger_in_the_same_transaction(
    flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    epoch, due = await log.claim(), NOON + HOUR
    fire = TriggerFire(trigger_id=OFTEN, at=due, due_at=due, next=start(NOON + 3 * HOUR), missed=2)

    await log.append(firing("e1", fire, epoch))
    (again,) = await schedules.due(at=NOON + 3 * HOUR, limit=9)
    with pytest.raises(TriggerHasMoved):
        await log.append(firing("e2", fire, epoch))
    await log.append(completion("e1", epoch=epoch))

    moved = await often(triggers)
    assert (moved.due_at, moved.last_at, moved.last_execution_id, moved.missed) == (NOON + 3 * HOUR, due, "e1", 2)
    assert again.has_open_execution
    (after,) = await schedules.due(at=NOON + 3 * HOUR, limit=9)
    assert not after.has_open_execution
    with pytest.raises(NotFound):
        await log.stored(ExecutionId("e2"))


async def test_a_start_notes_its_stored_request_in_the_same_transaction(
    flows: SqlFlows, log: SqlJournal, database: Database, path: Place
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    epoch, hooks = await log.claim(), SqlHooks(database)
    requests = [
        HookDelivery(
            id=HookDeliveryId(f"hook-{id}"),
            workspace_id=MARA,
            trigger_id=OFTEN,
            received_at=NOON,
            state="received",
            execution_id=ExecutionId(id),
        )
        for id in ("e1", "e2")
    ]
    for request in requests:
        await hooks.add(request, b"{}")

    await log.append(firing("e1", TriggerFire(trigger_id=OFTEN, at=NOON, delivery="hook-e1"), epoch))
    gone = TriggerFire(trigger_id=TriggerId("trig-gone"), at=NOON, delivery="hook-e2")
    with pytest.raises(TriggerHasMoved):
        await log.append(firing("e2", gone, epoch))

    # Its execution may be deleted sooner than the request, which must not start another one then.
    change(path, "DELETE FROM executions WHERE id = 'e1'")
    (waits,) = await hooks.received(before=NOON + HOUR, limit=9)
    assert waits.id == "hook-e2"


async def test_a_request_is_stored_with_its_start_unless_it_is_known(
    database: Database, flows: SqlFlows, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    epoch, hooks = await log.claim(), SqlHooks(database)
    fire = TriggerFire(trigger_id=OFTEN, at=NOON, delivery="hook-1", request=b'{"body":1}')

    await log.append(firing("e1", fire, epoch))
    with pytest.raises(TriggerHasMoved):
        await log.append(firing("e2", fire, epoch))

    delivery, request = await hooks.get(MARA, OFTEN, HookDeliveryId("hook-1"))
    assert (delivery.state, delivery.execution_id, delivery.received_at) == ("started", "e1", NOON)
    assert (delivery.size, request) == (10, {"body": 1})
    assert (await often(triggers)).last_execution_id == "e1"


async def test_requests_that_are_started_together_are_all_stored_and_the_trigger_shows_the_last(
    database: Database, flows: SqlFlows, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOOK, seldom=HOURLY))
    epoch, hooks, due_at = await log.claim(), SqlHooks(database), NOON + HOUR
    fires = [
        TriggerFire(trigger_id=OFTEN, at=NOON, delivery="hook-1", request=b'{"n":1}'),
        TriggerFire(trigger_id=SELDOM, at=NOON),
        TriggerFire(trigger_id=OFTEN, at=due_at, delivery="hook-2", request=b'{"n":2}'),
        TriggerFire(trigger_id=SELDOM, at=due_at, due_at=due_at, next=start(due_at + HOUR)),
        TriggerFire(trigger_id=OFTEN, at=due_at, delivery="hook-2", request=b'{"n":3}'),
    ]

    outcomes = await asyncio.gather(
        *(log.append(firing(f"e{number}", fire, epoch)) for number, fire in enumerate(fires, start=1)),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [type(None)] * 4 + [TriggerHasMoved]
    assert (await hooks.get(MARA, OFTEN, HookDeliveryId("hook-1")))[0].execution_id == "e1"
    assert (await hooks.get(MARA, OFTEN, HookDeliveryId("hook-2")))[0].execution_id == "e3"
    found = await named(triggers)
    assert (found["often"].last_execution_id, found["often"].last_at) == ("e3", due_at)
    assert (found["seldom"].last_execution_id, found["seldom"].due_at) == ("e4", due_at + HOUR)


async def test_a_last_start_leaves_nothing_to_do(
    flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    fire = TriggerFire(trigger_id=OFTEN, at=NOON + HOUR, due_at=NOON + HOUR, next=None)

    await log.append(firing("e1", fire, await log.claim()))

    assert (await often(triggers)).state == "ended"
    assert await schedules.earliest() is None


async def test_a_start_at_another_time_leaves_the_due_time(
    flows: SqlFlows, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))

    await log.append(firing("e1", TriggerFire(trigger_id=OFTEN, at=NOON), await log.claim()))

    started = await often(triggers)
    assert (started.due_at, started.last_at, started.last_execution_id) == (NOON + HOUR, NOON, "e1")


async def test_a_due_time_is_left_out_once(flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    due = NOON + HOUR

    assert await schedules.advance(OFTEN, due_at=due, next=start(NOON + 2 * HOUR), missed=3, skipped=1)
    assert not await schedules.advance(OFTEN, due_at=due, next=start(NOON + 2 * HOUR), missed=3, skipped=1)

    trigger = await often(triggers)
    assert (trigger.due_at, trigger.missed, trigger.skipped) == (NOON + 2 * HOUR, 3, 1)


async def test_what_a_trigger_has_left_out_adds_up_whatever_became_of_its_due_times(
    flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    due = [NOON + n * HOUR for n in range(1, 6)]

    await schedules.advance(OFTEN, due_at=due[0], next=start(due[1]), missed=3, skipped=1)
    await schedules.fail(MARA, OFTEN, due_at=due[1], next=start(due[2]), missed=4, error="no")
    fire = TriggerFire(trigger_id=OFTEN, at=due[2], due_at=due[2], next=start(due[3]), missed=5)
    await log.append(firing("e1", fire, await log.claim()))
    await schedules.advance(OFTEN, due_at=due[3], next=start(due[4]), missed=6, skipped=1)

    assert ((await often(triggers)).missed, (await often(triggers)).skipped) == (18, 2)


async def test_callbacks_hear_of_due_times_that_were_missed_and_of_no_others(
    flows: SqlFlows, schedules: SqlSchedules, log: SqlJournal, database: Database
) -> None:
    callbacks = SqlCallbacks(database)
    for id, event in (("callback-1", "trigger.missed"), ("callback-2", "trigger.failing")):
        await callbacks.create(callback(id, events=(event,)), sealing(b"sealed", id), most=2)
    await flows.create(MARA, saved(often=HOURLY))
    due = [NOON + n * HOUR for n in range(1, 8)]

    await schedules.advance(OFTEN, due_at=due[0], next=start(due[1]), skipped=1)
    for _ in range(2):
        await schedules.advance(OFTEN, due_at=due[1], next=start(due[2]), missed=3)
    await schedules.fail(MARA, OFTEN, due_at=due[2], next=start(due[3]), error="no")
    await schedules.fail(MARA, OFTEN, due_at=due[3], next=start(due[4]), missed=4, error="no")
    epoch = await log.claim()
    for number, missed in ((4, 0), (5, 5)):
        fire = TriggerFire(
            trigger_id=OFTEN, at=due[number], due_at=due[number], next=start(due[number + 1]), missed=missed
        )
        await log.append(firing(f"e{number}", fire, epoch))

    found, _ = await SqlCallbackDeliveries(database).page(MARA, CallbackId("callback-1"), page=ALL)
    told = [(one.event, one.subject, one.details["due_at"], one.details["missed"]) for one in found if one.details]
    assert await SqlCallbackDeliveries(database).page(MARA, CallbackId("callback-2"), page=ALL) == ([], 0)
    assert sorted(told, key=str) == [
        ("trigger.missed", OFTEN, rfc3339(due[1]), 3),
        ("trigger.missed", OFTEN, rfc3339(due[3]), 4),
        ("trigger.missed", OFTEN, rfc3339(due[5]), 5),
    ]


async def test_callbacks_hear_once_of_a_trigger_that_goes_on_failing(
    flows: SqlFlows, schedules: SqlSchedules, database: Database
) -> None:
    callbacks = SqlCallbacks(database)
    await callbacks.create(callback(events=("trigger.failing",)), sealing(b"sealed", "callback-1"), most=1)
    await flows.create(MARA, saved(often=HOURLY))

    told = []
    for number in range(1, FAILING_AFTER + 3):
        at = NOON + number * HOUR
        await schedules.fail(MARA, OFTEN, due_at=at, next=start(at + HOUR), error=f"reason {number}")
        found, _ = await SqlCallbackDeliveries(database).page(MARA, CallbackId("callback-1"), page=ALL)
        told.append([one.details["reason"] for one in found if one.details])

    assert told == [[]] * (FAILING_AFTER - 1) + [[f"reason {FAILING_AFTER}"]] * 3


async def test_a_due_time_whose_flow_has_moved_is_not_skipped(
    flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    before = await often(triggers)

    assert await schedules.fail(OMAR, OFTEN, due_at=NOON + HOUR, next=start(NOON + 2 * HOUR), missed=1, error="no") == 0
    assert await often(triggers) == before


async def test_failures_are_counted_until_a_start(
    flows: SqlFlows, schedules: SqlSchedules, triggers: SqlTriggers, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    due = [NOON + n * HOUR for n in range(1, 6)]

    counts = [
        await schedules.fail(MARA, OFTEN, due_at=due[n], next=start(due[n + 1]), error="x" * 900) for n in (0, 1, 1, 2)
    ]
    failing = await often(triggers)
    fire = TriggerFire(trigger_id=OFTEN, at=due[3], due_at=due[3], next=start(due[4]))
    await log.append(firing("e1", fire, await log.claim()))

    assert counts == [1, 2, 0, 3]
    assert (failing.state, failing.error) == ("failing", "x" * 500)
    assert ((await often(triggers)).state, (await often(triggers)).error) == ("armed", None)


async def test_many_triggers_start_in_one_transaction(
    flows: SqlFlows, triggers: SqlTriggers, log: SqlJournal, database: Database
) -> None:
    await flows.create(MARA, saved(**{f"t{n}": HOURLY for n in range(5)}))
    epoch = await log.claim()

    for n in range(5):
        fire = TriggerFire(trigger_id=TriggerId(f"trig-t{n}"), at=NOON + HOUR, due_at=NOON + HOUR, next=None)
        await log.append(firing(f"e{n}", fire, epoch))

    assert {each.last_execution_id for each in (await named(triggers)).values()} == {
        ExecutionId(f"e{n}") for n in range(5)
    }


# Ends of executions


async def test_the_schema_writes_an_end_for_the_trigger_that_waits_for_it(
    flows: SqlFlows, log: SqlJournal, database: Database
) -> None:
    ends = SqlTriggerEnds(database)
    # It waits for the ends of its own flow, which a save would not accept.
    await flows.create(MARA, saved(pushed=HOOK))
    assert await ends.state() == (False, False)
    await database.write(lambda tx: tx.run(LISTEN))
    epoch = await log.claim()
    for n in range(3):
        await log.append(creation(f"e{n}", epoch=epoch))
    before = await ends.state()
    await log.append(completion("e0", epoch=epoch))
    await log.append(completion("e1", epoch=epoch))

    found = await ends.ends(limit=9)

    assert before == (False, True)
    assert await ends.state() == (True, True)
    assert await ends.ends(limit=9, resting=[TriggerId("trig-pushed")]) == []
    assert list(await ends.ends(limit=9, resting=[TriggerId("trig-other")])) == found
    assert [(end.trigger_id, end.execution_id) for end in found] == [("trig-pushed", "e0"), ("trig-pushed", "e1")]
    assert [end.trigger is not None and end.trigger.name for end in found] == ["pushed", "pushed"]
    fire = TriggerFire(trigger_id=TriggerId("trig-pushed"), at=NOON, ended=ExecutionId("e0"))
    await log.append(firing("e3", fire, epoch))
    with pytest.raises(TriggerHasMoved):
        await log.append(firing("e4", fire, epoch))
    await ends.fail(found[1], error="no")
    await ends.fail(found[1], error="no")
    assert await ends.ends(limit=9) == []
    assert (await named(SqlTriggers(database)))["pushed"].failures == 1
    await SqlPause(database).set(NOON)
    assert await ends.state() == (False, False)


async def test_callbacks_hear_once_of_a_trigger_that_ends_cannot_start(
    flows: SqlFlows, log: SqlJournal, database: Database
) -> None:
    callbacks, ends = SqlCallbacks(database), SqlTriggerEnds(database)
    await callbacks.create(callback(events=("trigger.failing",)), sealing(b"sealed", "callback-1"), most=1)
    await flows.create(MARA, saved(pushed=HOOK))
    await database.write(lambda tx: tx.run(LISTEN))
    epoch = await log.claim()

    told = []
    for number in range(1, FAILING_AFTER + 2):
        await log.append(creation(f"e{number}", epoch=epoch))
        await log.append(completion(f"e{number}", epoch=epoch, at=NOON + number * HOUR))
        (end,) = await ends.ends(limit=9)
        await ends.fail(end, error=f"reason {number}")
        found, _ = await SqlCallbackDeliveries(database).page(MARA, CallbackId("callback-1"), page=ALL)
        told.append([(one.subject, one.details["reason"]) for one in found if one.details])

    assert told == [[]] * (FAILING_AFTER - 1) + [[("trig-pushed", f"reason {FAILING_AFTER}")]] * 2


async def test_a_loop_of_chains_is_refused(flows: SqlFlows) -> None:
    await flows.create(MARA, saved(after=Chain(flow="other")))

    # By its id, and by its name.
    for source in ("flow-1", "é 'n'"):
        loop = saved(after=Chain(flow=source)).triggers
        with pytest.raises(InvalidFlow):
            await flows.update(MARA, FlowId("flow-1"), lambda before, loop=loop: replace(before, triggers=loop))  # type: ignore[misc] # a default


async def test_the_last_completed_start_is_looked_for_among_the_latest_ones(
    flows: SqlFlows, schedules: SqlSchedules, log: SqlJournal
) -> None:
    await flows.create(MARA, saved(often=HOURLY))
    epoch = await log.claim()

    async def last(most: int = 500) -> str | None:
        found = await schedules.last_completed(MARA, OFTEN, most=most)
        return None if found is None else found.completed

    async def start_one(id: str) -> None:
        fire = TriggerFire(trigger_id=OFTEN, at=NOON)
        await log.append(firing(id, fire, epoch))

    assert await last() is None
    await start_one("e000")
    assert await last() is None
    await log.append(completion("e000", epoch=epoch))
    # More than are read at once, and none of them has ended.
    for number in range(1, 61):
        await start_one(f"e{number:03}")

    found = await schedules.last_completed(MARA, OFTEN, most=500)
    assert found is not None
    assert (found.id, found.completed) == ("e000", "e000")
    assert found.size > 0
    assert await last(most=50) is None
    assert await schedules.last_completed(OMAR, OFTEN, most=500) is None
    assert await schedules.last_completed(MARA, SELDOM, most=500) is None
    await log.append(completion("e055", epoch=epoch))
    await log.append(completion("e031", epoch=epoch))
    assert await last() == "e055"
