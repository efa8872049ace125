"""Stored requests of webhook triggers."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest

from flowrunner.domain.errors import NotFound, Unavailable
from flowrunner.domain.triggers import TriggerId
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.hooks import HookDelivery, HookDeliveryId, Refusal, Refusals
from flowrunner.ports.page import Page
from flowrunner.services import hook_deliveries
from flowrunner.services.hook_deliveries import HookDeliveries
from flowrunner.services.hook_refusals import RefusedHooks
from flowrunner.services.hook_starts import HookStarts
from flowrunner.storage import surplus
from flowrunner.storage.database import Database
from flowrunner.storage.hooks import RECEIVED, SqlHooks
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.rows import to_ms
from flowrunner.storage.usage import SqlUsage
from services.callers import caller_of
from storage.samples import ALL
from support.database_work import WritesCounted, gather_statistics
from support.databases import MARA, MARA_ACCOUNT, NOON, OMAR, Place, change, creation, rows_of
from support.dependencies import SteppingClock

TRIGGER = TriggerId("trigger-1")


@pytest.fixture
def hooks(database: Database, journal: SqlJournal, path: Place) -> SqlHooks:
    change(
        path,
        "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)"
        " VALUES (?, ?, 'flow-1', 'in', 'webhook', 'null', 0)",
        *(TRIGGER, MARA),
    )
    return SqlHooks(database)


def delivery(n: int = 1, execution: str = "e1") -> HookDelivery:
    return HookDelivery(
        id=HookDeliveryId(f"hook-{n}"),
        workspace_id=MARA,
        trigger_id=TRIGGER,
        received_at=NOON + timedelta(seconds=n),
        state="received",
        execution_id=ExecutionId(execution),
    )


async def test_a_request_is_read_as_it_was_stored_and_counts_as_stored_bytes(
    hooks: SqlHooks, database: Database
) -> None:
    before = await SqlUsage(database).stored(MARA)

    await hooks.add(delivery(), b'{"body": "\\u00e9"}')

    found, request = await hooks.get(MARA, TRIGGER, HookDeliveryId("hook-1"))
    assert request == {"body": "é"}
    assert found == replace(delivery(), execution_id=None, size=18)
    assert await hooks.page(MARA, TRIGGER, page=ALL) == ([found], 1)
    assert await SqlUsage(database).stored(MARA) == before + 18
    for workspace, trigger, id in ((OMAR, TRIGGER, "hook-1"), (MARA, TriggerId("x"), "hook-1"), (MARA, TRIGGER, "x")):
        with pytest.raises(NotFound, match="Delivery not found"):
            await hooks.get(workspace, trigger, HookDeliveryId(id))


async def test_requests_are_listed_with_those_of_their_trigger_alone(hooks: SqlHooks, path: Place) -> None:
    other = TriggerId("trigger-2")
    change(
        path,
        "INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)"
        " VALUES (?, ?, 'flow-1', 'other', 'webhook', 'null', 0)",
        *(other, MARA),
    )
    for n, trigger in ((1, TRIGGER), (2, other), (3, TRIGGER)):
        await hooks.add(replace(delivery(n), trigger_id=trigger), b"{}")

    found = {trigger: await hooks.page(MARA, trigger, page=ALL) for trigger in (TRIGGER, other)}

    assert {trigger: ([one.id for one in page], total) for trigger, (page, total) in found.items()} == {
        TRIGGER: (["hook-3", "hook-1"], 2),
        other: (["hook-2"], 1),
    }


async def test_pages_have_each_of_the_requests_that_came_in_one_millisecond(hooks: SqlHooks) -> None:
    for n in range(3):
        await hooks.add(replace(delivery(n), received_at=NOON), b"{}")

    after = [None, *(f"{to_ms(NOON)}:hook-{n}" for n in (2, 1, 0))]
    pages = [await hooks.page(MARA, TRIGGER, page=Page(limit=1, cursor=cursor)) for cursor in after]

    assert [[one.id for one in found] for found, _ in pages] == [["hook-2"], ["hook-1"], ["hook-0"], []]


async def test_what_became_of_a_request_is_found_even_if_it_was_not_noted(hooks: SqlHooks, journal: SqlJournal) -> None:
    for n in (1, 2):
        await hooks.add(delivery(n, f"e{n}"), b"{}")
    await journal.append(creation("e2", epoch=await journal.claim()))

    (second, first), _ = await hooks.page(MARA, TRIGGER, page=ALL)

    assert (first.state, first.execution_id) == ("received", None)
    assert (second.state, second.execution_id) == ("started", "e2")


async def test_a_request_whose_trigger_has_moved_is_neither_stored_nor_settled_in_its_old_workspace(
    hooks: SqlHooks, path: Place
) -> None:
    await hooks.add(delivery(1), b"{}")
    change(path, "UPDATE triggers SET workspace_id = ?", OMAR)

    is_stored = await hooks.add(delivery(2), b"{}")
    await hooks.settle(replace(delivery(1), state="failed", execution_id=None, error="Flow not found"))

    assert not is_stored
    assert rows_of(path, "SELECT id, state, execution_id FROM hook_deliveries") == [("hook-1", "received", "e1")]
    assert rows_of(path, "SELECT failures, error FROM triggers") == [(0, None)]


async def test_failures_count_against_the_trigger(hooks: SqlHooks, path: Place) -> None:
    for n in (1, 2):
        await hooks.add(delivery(n), b"{}")
        await hooks.settle(replace(delivery(n), state="failed", execution_id=None, error=f"no {n}"))

    assert rows_of(path, "SELECT failures, error FROM triggers") == [(2, "no 2")]


async def test_refused_requests_are_counted_and_the_last_few_kept(hooks: SqlHooks) -> None:
    reasons = [Refusal(NOON + timedelta(seconds=n), f"reason {n}") for n in range(6)]
    assert await hooks.refusals(TRIGGER) == Refusals(0, ())

    await hooks.add_refusals({TRIGGER: Refusals(100, reasons[:4])}, most=3)
    await hooks.add_refusals({TRIGGER: Refusals(2, reasons[4:]), TriggerId("other"): Refusals(1, ())}, most=3)

    assert await hooks.refusals(TRIGGER) == Refusals(102, tuple(reasons[3:]))


async def test_refusals_that_cannot_be_read_keep_no_others_from_being_counted(hooks: SqlHooks, path: Place) -> None:
    new, other = Refusals(1, (Refusal(NOON, "reason"),)), TriggerId("other")
    await hooks.add_refusals({TRIGGER: new, other: new}, most=3)
    change(path, "UPDATE hook_refusals SET last = '{' WHERE trigger_id = ?", TRIGGER)
    assert await hooks.refusals(TRIGGER) == Refusals(1, ())

    await hooks.add_refusals({TRIGGER: new, other: new}, most=3)

    assert await hooks.refusals(TRIGGER) == Refusals(2, new.last)
    assert (await hooks.refusals(other)).count == 2


async def test_requests_are_listed_even_if_the_refused_ones_cannot_be_written(hooks: SqlHooks) -> None:
    await hooks.add(delivery(1), b"{}")

    class OnlyRead:
        async def add_refusals(self, *_: object, **__: object) -> None:
            raise Unavailable("Another server is active on this database")

        async def get(self, *_: object) -> None:
            """Return a trigger, which is not looked at."""

    unable, unused = cast("Any", OnlyRead()), cast("Any", None)
    refused = RefusedHooks(unable)
    refused.add(TRIGGER, "reason", at=NOON)
    listed = HookDeliveries(
        hooks, unable, unused, library=unused, executions=unused, refused=refused, clock=SteppingClock(NOON)
    )

    found, total, refusals = await listed.page(caller_of(MARA_ACCOUNT), TRIGGER, page=Page(limit=10, offset=0))

    assert ([each.id for each in found], total, refusals.count) == (["hook-1"], 1, 0)


async def test_a_request_is_settled_when_the_last_of_two_writes_about_it_has_ended() -> None:
    may_end = {"failed": asyncio.Event(), "skipped": asyncio.Event()}

    class SlowStore:
        async def settle(self, delivery: HookDelivery) -> None:
            await may_end[delivery.state].wait()
            if delivery.state == "skipped":
                raise Unavailable("The database does not answer")

    slow, unused = cast("Any", SlowStore()), cast("Any", None)
    starts = HookStarts(slow, unused, unused, unused, on_outcome=lambda outcome: None)
    starts.settle(replace(delivery(), state="failed"))
    first = asyncio.create_task(starts.is_settled(delivery().id))
    await asyncio.sleep(0)

    # The sender has repeated the message, which was tried again.
    starts.settle(replace(delivery(), state="skipped"))
    may_end["failed"].set()
    is_first_written = await first
    last = asyncio.create_task(starts.is_settled(delivery().id))
    may_end["skipped"].set()

    assert (is_first_written, await last) == (True, False)


def deliveries_of(hooks: SqlHooks, *, at: datetime = NOON) -> HookDeliveries:
    """Return the service that deletes requests, which uses nothing else."""
    unused = cast("Any", None)
    clock = SteppingClock(at)
    return HookDeliveries(hooks, unused, unused, library=unused, executions=unused, refused=unused, clock=clock)


async def test_old_requests_and_those_beyond_the_newest_are_deleted(
    hooks: SqlHooks, database: Database, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_deliveries, "_MOST_KEPT", 2)
    before = await SqlUsage(database).stored(MARA)
    for n in range(6):
        await hooks.add(delivery(n), b"{}")
    # One has not started anything yet, and its sender was told that it will.
    change(path, "UPDATE hook_deliveries SET state = 'started' WHERE id <> 'hook-1'")
    await hooks.add_refusals({TriggerId("gone"): Refusals(1, ()), TRIGGER: Refusals(1, ())}, most=3)

    # A message is known for as long as it may be repeated.
    await deliveries_of(hooks).purge()
    assert len(rows_of(path, "SELECT id FROM hook_deliveries")) == 6
    assert rows_of(path, "SELECT trigger_id FROM hook_refusals") == [(TRIGGER,)]
    await deliveries_of(hooks, at=NOON + timedelta(hours=1)).purge()

    found, _ = await hooks.page(MARA, TRIGGER, page=ALL)
    assert [each.id for each in found] == ["hook-5", "hook-4", "hook-1"]
    assert await SqlUsage(database).stored(MARA) == before + 6
    await deliveries_of(hooks, at=NOON + timedelta(days=7, seconds=4)).purge()
    assert rows_of(path, "SELECT id FROM hook_deliveries") == [("hook-5",)]


async def test_the_requests_of_triggers_that_are_gone_are_deleted(
    hooks: SqlHooks, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_deliveries, "_FOUND_AT_ONCE", 4)
    monkeypatch.setattr(surplus, "HOLDERS_AT_ONCE", 2)
    for n in range(12):
        await hooks.add(replace(delivery(n), trigger_id=TRIGGER if n < 6 else TriggerId(f"trigger-1{n % 4}")), b"{}")
    # As a background job does after the deletion of the workspace.
    change(path, "DELETE FROM triggers WHERE workspace_id = ?", MARA)
    assert len(rows_of(path, "SELECT id FROM hook_deliveries")) == 12

    await deliveries_of(hooks).purge()

    assert rows_of(path, "SELECT id FROM hook_deliveries") == []


# Requests of 40 webhooks, none of which has too many.
MANY: Final = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO hook_deliveries (id, workspace_id, trigger_id, received_at, state, request, size)
SELECT 'many-' || i, 'account-mara', 'many-' || (i % 40), {noon} - 3600000 + i, 'started', 'null', 4 FROM n
"""
THEIR_TRIGGERS: Final = """
WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39)
INSERT INTO triggers (id, workspace_id, flow_id, name, type, spec, created_at)
SELECT 'many-' || i, 'account-mara', 'flow-1', 'many-' || i, 'webhook', 'null', 0 FROM n
"""


async def test_the_deletion_of_requests_keeps_no_write_waiting_for_a_look_at_all_of_them(
    hooks: SqlHooks, database: Database, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_deliveries, "_MOST_KEPT", 1000)
    change(path, THEIR_TRIGGERS)
    change(path, MANY.replace("{noon}", str(to_ms(NOON))))
    for n in range(60):
        gone = replace(delivery(n), trigger_id=TriggerId(f"gone-{n % 3}"))
        await hooks.add(gone, b"{}")
    gather_statistics(path)
    counted = WritesCounted(database)

    await deliveries_of(SqlHooks(cast("Any", counted)), at=NOON + timedelta(hours=1)).purge()

    assert rows_of(path, "SELECT count(*) FROM hook_deliveries") == [(20_000,)]
    # 20,000 requests take SQLite some 12 instructions each, and the deletion of one takes it about 200.
    assert 0 < sum(counted.work) <= (30_000 if isinstance(path, Path) else 1_000), counted.work


@pytest.mark.only("sqlite")
def test_requests_without_a_start_are_found_among_themselves(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        values = {"before": 1, "limit": 1, "outside": "[]"}
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {RECEIVED.sqlite}", values)]

    assert plan[0] == "SEARCH d USING INDEX hook_deliveries_received (received_at<?)", plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


async def test_moved_requests_count_where_they_are(hooks: SqlHooks, database: Database, path: Place) -> None:
    usage = SqlUsage(database)
    mine, theirs = await usage.stored(MARA), await usage.stored(OMAR)
    await hooks.add(delivery(), b'{"a": 1}')

    change(path, "UPDATE hook_deliveries SET workspace_id = ?", OMAR)

    assert (await usage.stored(MARA), await usage.stored(OMAR)) == (mine, theirs + 8)


async def test_requests_are_listed_beside_the_event_loop_which_their_megabytes_would_keep(
    hooks: SqlHooks, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hooks.add(delivery(), b"{}")

    async def read(*_: object) -> None:
        raise AssertionError("Read on the event loop")

    monkeypatch.setattr(database, "read", read)

    assert (await hooks.page(MARA, TRIGGER, page=ALL))[1] == 1
