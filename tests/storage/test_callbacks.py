"""Callbacks: the deliveries that a commit adds, their attempts, and what is kept of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import asyncpg
import pytest

from flowrunner.domain.audit import act
from flowrunner.domain.errors import Conflict, LimitReached, NotFound
from flowrunner.domain.status import Status
from flowrunner.domain.values import FlowId, WorkspaceId
from flowrunner.ports.audit import AuditFilter
from flowrunner.ports.callbacks import CallbackId, CallbackView, DeliveryAttempt, DeliveryId, DeliveryView
from flowrunner.ports.page import Page
from flowrunner.services.callback_deliveries import CallbackDeliveries
from flowrunner.services.callbacks import Callbacks
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit import SqlAudit
from flowrunner.storage.callback_deliveries import (
    DUE_CALLBACKS,
    NEXT_DUE,
    SqlCallbackDeliveries,
    notify_callbacks,
)
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.rows import to_ms
from flowrunner.storage.secrets import SqlSecrets
from services.callers import caller_of
from storage.samples import ALL, sealing
from support.database_work import WritesCounted, gather_statistics
from support.databases import (
    MARA,
    MARA_ACCOUNT,
    NOON,
    OMAR,
    OMAR_ACCOUNT,
    Place,
    change,
    completion,
    creation,
    following,
    log_line,
    rows_of,
    until_somebody_waits_for_a_row,
)
from support.dependencies import SteppingClock

EVENTS = ("execution.completed", "execution.waiting", "approval.requested")


def callback(id: str = "callback-1", **fields: Any) -> CallbackView:
    view = CallbackView(
        id=CallbackId(id),
        workspace_id=MARA,
        name="é",
        events=EVENTS,
        format="standard",
        address="https://example.com/",
        created_at=NOON,
        updated_at=NOON,
    )
    return replace(view, **fields)


@pytest.fixture
def callbacks(database: Database, journal: SqlJournal) -> SqlCallbacks:
    return SqlCallbacks(database)


@pytest.fixture
def deliveries(database: Database) -> SqlCallbackDeliveries:
    return SqlCallbackDeliveries(database)


def sender(callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, clock: SteppingClock) -> CallbackDeliveries:
    """Return the service that deletes deliveries, which sends nothing."""
    unused: Any = None
    return CallbackDeliveries(
        callbacks, deliveries, unused, unused, unused, mailer=None, clock=clock, draw=unused, on_attempt=unused
    )


async def create(callbacks: SqlCallbacks, id: str = "callback-1", **fields: Any) -> CallbackView:
    view = callback(id, **fields)
    await callbacks.create(view, sealing(b"sealed " + id.encode(), id), most=10)
    return view


async def told(deliveries: SqlCallbackDeliveries, id: str = "callback-1") -> list[tuple[str, str | None]]:
    found, _ = await deliveries.page(MARA, CallbackId(id), page=ALL)
    return sorted((delivery.event, delivery.execution_id) for delivery in found)


async def test_a_callback_is_read_as_it_was_written(callbacks: SqlCallbacks) -> None:
    view = await create(callbacks, template={"a": ["é", 1]}, tag="x", children=True)

    found = await callbacks.get(MARA, view.id)

    assert found.view == view
    assert (found.sealed.key, found.sealed.sealed) == (view.id, b"sealed callback-1")
    assert await callbacks.page(MARA, page=ALL) == ([view], 1)
    for workspace, id in ((OMAR, view.id), (MARA, CallbackId("callback-none"))):
        with pytest.raises(NotFound, match="Callback not found"):
            await callbacks.get(workspace, id)
    with pytest.raises(LimitReached):
        await callbacks.create(callback("callback-2"), sealing(b"x", "callback-2"), most=1)
    with pytest.raises(NotFound, match="Workspace not found"):
        await callbacks.create(callback(workspace_id=WorkspaceId("none")), sealing(b"x"), most=9)


async def test_a_change_may_seal_again(callbacks: SqlCallbacks) -> None:
    view = await create(callbacks)
    other = await create(callbacks, "callback-2")
    sealed = (await callbacks.get(MARA, view.id)).sealed.sealed

    changed = await callbacks.change(
        MARA,
        view.id,
        lambda before: replace(before, name="N", flow_id=FlowId("flow-1")),
        seal=sealing(b"new", view.id),
        sealed=sealed,
    )

    found = await callbacks.get(MARA, view.id)
    assert found.view == changed == replace(view, name="N", flow_id=FlowId("flow-1"))
    assert found.sealed.sealed == b"new"
    untouched = await callbacks.get(MARA, other.id)
    assert (untouched.view, untouched.sealed.sealed) == (other, b"sealed callback-2")
    with pytest.raises(Conflict):
        # Credentials that were made from those that were replaced.
        await callbacks.change(MARA, view.id, lambda before: before, seal=sealing(b"x", view.id), sealed=sealed)
    with pytest.raises(NotFound):
        await callbacks.change(OMAR, view.id, lambda before: before)


async def test_each_field_that_a_request_may_change_is_stored(callbacks: SqlCallbacks) -> None:
    view = await create(callbacks)
    changed = replace(
        view, name="N", events=("execution.completed",), address="https://other.example.com/", flow_id=FlowId("flow-1"),
        tag="t", children=True, template={"a": 1}, updated_at=at(1), disabled_at=at(2), disabled_reason="R", failures=3,
        failing_since=at(3),
    )  # fmt: skip

    await callbacks.change(MARA, view.id, lambda _: changed)

    assert (await callbacks.get(MARA, view.id)).view == changed


async def test_data_keys_seal_callbacks_again(callbacks: SqlCallbacks, database: Database) -> None:
    view = await create(callbacks)
    before = (await callbacks.get(MARA, view.id)).sealed
    secrets = SqlSecrets(database)

    def reseal(workspace_id: WorkspaceId, version: int) -> Any:
        def again(sealed: Sequence[Any]) -> Any:
            assert [secret.key for secret, _ in sealed] == [view.id]
            key = replace(sealed[0][1], version=version)
            return key, [replace(secret, key_version=version, sealed=b"again") for secret, _ in sealed]

        return again

    assert await secrets.reseal_next(1, reseal) == MARA

    after = (await callbacks.get(MARA, view.id)).sealed
    assert (after.sealed, after.key_version) == (b"again", before.key_version + 1)


async def test_a_commit_tells_of_ends_waits_and_approvals(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, journal: SqlJournal
) -> None:
    await create(callbacks)
    epoch = await journal.claim()
    for id in ("e1", "e2", "e3"):
        await journal.append(creation(id, epoch=epoch))
    await journal.append(completion("e1", epoch=epoch))
    waiting = following("e2", log_line(), epoch=epoch, after=2)
    summary = replace(waiting.summary, status=Status.WAITING, is_idle=True, waiting_for=b"[]", approval_at=NOON)
    await journal.append(replace(waiting, summary=summary))
    again = following("e2", log_line(), epoch=epoch, after=3)
    await journal.append(replace(again, summary=replace(summary, approval_at=NOON + timedelta(seconds=1))))

    assert await told(deliveries) == [
        ("approval.requested", "e2"), ("approval.requested", "e2"), ("execution.completed", "e1"),
        ("execution.waiting", "e2"),
    ]  # fmt: skip


async def test_a_rejected_commit_tells_nothing(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, journal: SqlJournal
) -> None:
    await create(callbacks)
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    with pytest.raises(Exception, match="moved on"):
        await journal.append(completion("e1", epoch=epoch, after=7))

    assert await told(deliveries) == []


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"flow_id": FlowId("flow-1")}, ["e-1"]),
        ({"flow_id": FlowId("flow-none")}, []),
        ({"tag": "é 'x"}, ["e-2"]),
        ({"events": ("execution.failed",)}, []),
        ({"disabled_at": NOON}, []),
        ({"workspace_id": OMAR}, []),
        ({}, ["e-1", "e-2"]),
    ],
)
async def test_only_what_is_wanted_is_told(
    callbacks: SqlCallbacks, journal: SqlJournal, path: Place, fields: dict[str, Any], wanted: list[str]
) -> None:
    change(path, "UPDATE flows SET tags = ? WHERE id = 'flow-2'", '["a", "é \'x"]')
    disabled_at = fields.get("disabled_at")
    view = await create(callbacks, **fields)
    await callbacks.change(view.workspace_id, view.id, lambda before: replace(before, disabled_at=disabled_at))
    epoch = await journal.claim()
    for n in (1, 2):
        await journal.append(creation(f"e-{n}", epoch=epoch, flow_id=f"flow-{n}"))
        await journal.append(completion(f"e-{n}", epoch=epoch))

    found, _ = await SqlCallbackDeliveries(callbacks._database).page(view.workspace_id, view.id, page=ALL)
    assert sorted(str(delivery.execution_id) for delivery in found) == wanted


async def test_other_events_are_told_in_their_transaction(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, database: Database
) -> None:
    await create(callbacks, events=("trigger.paused",), flow_id=FlowId("flow-1"))
    await create(callbacks, "callback-2", events=("trigger.paused",))

    async def pause(flow_id: str, *, fails: bool = False) -> None:
        async def write(tx: Any) -> None:
            await notify_callbacks(
                tx, "trigger.paused", workspace_id=MARA, flow_id=FlowId(flow_id), subject="t-1",
                details={"é": 1}, at=NOON,
            )  # fmt: skip
            if fails:
                raise ZeroDivisionError

        await database.write(write)

    await pause("flow-1")
    await pause("flow-2")
    with pytest.raises(ZeroDivisionError):
        await pause("flow-1", fails=True)

    (delivery,), _ = await deliveries.page(MARA, CallbackId("callback-1"), page=ALL)
    assert (delivery.event, delivery.subject, delivery.details, delivery.noted_at) == (
        "trigger.paused", "t-1", {"é": 1}, NOON,
    )  # fmt: skip
    assert len(await told(deliveries, "callback-2")) == 2


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


async def add(
    deliveries: SqlCallbackDeliveries, id: str, *, next_at: float | None = 0, callback: str = "callback-1"
) -> None:
    await deliveries.add(
        DeliveryView(
            id=DeliveryId(id),
            workspace_id=MARA,
            callback_id=CallbackId(callback),
            event="callback.test",
            noted_at=NOON,
            state="delivered" if next_at is None else "pending",
            next_at=None if next_at is None else at(next_at),
            last_at=NOON if next_at is None else None,
        )
    )


def add_many(path: Place, callback: str, number: int) -> None:
    """Add deliveries that have ended."""
    statement = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number})
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, noted_at, state, last_at)
SELECT '{callback}-' || i, 'account-mara', '{callback}', 'execution.completed', {noon} + i, 'delivered', {noon} FROM n
"""
    values = {"{callback}": callback, "{number}": str(number), "{noon}": str(to_ms(NOON))}
    change(path, reduce(lambda text, each: text.replace(*each), values.items(), statement))


def attempt(id: str, seconds: float, **fields: Any) -> DeliveryAttempt:
    outcome = DeliveryAttempt(
        id=DeliveryId(id), callback_id=CallbackId("callback-1"), at=at(seconds), has_succeeded=False, retry_until=at(99)
    )
    return replace(outcome, **fields)


async def test_what_is_due_is_found_by_its_time_and_not_during_a_pause(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    assert await deliveries.next_due() == (None, False, None)
    await create(callbacks)
    assert await deliveries.next_due() == (None, True, None)
    for id, seconds in (("d2", 2), ("d1", 1), ("d9", 9)):
        await add(deliveries, id, next_at=seconds)

    assert await deliveries.next_due() == (at(1), True, None)
    assert (await deliveries.due_callbacks(now=at(0.5)))[0] == []
    assert (await deliveries.due_callbacks(now=at(1)))[0] == [(MARA, "callback-1")]
    assert [each.id for each in await deliveries.due(CallbackId("callback-1"), now=at(5), limit=9)] == ["d1", "d2"]
    await deliveries.record(attempt("d1", 3, next_at=at(4), paused_until=at(8), error="http.500", status_code=500))
    assert await deliveries.next_due() == (at(8), True, None)
    assert (await deliveries.due_callbacks(now=at(7)))[0] == []


async def test_callbacks_that_are_due_are_found_in_all_workspaces(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    for n in range(5):
        await create(callbacks, f"callback-{n}")
        await add(deliveries, f"delivery-{n}", callback=f"callback-{n}", next_at=n)
    await create(callbacks, "callback-9", workspace_id=OMAR)
    await add(deliveries, "delivery-9", callback="callback-9")

    assert await deliveries.due_callbacks(now=at(1)) == (
        [(MARA, "callback-0"), (MARA, "callback-1"), (OMAR, "callback-9")], None
    )  # fmt: skip
    assert [await deliveries.next_due(after=CallbackId(f"callback-{n}"), limit=2) for n in (1, 3, 9)] == [
        (at(2), True, "callback-3"), (at(0), True, "callback-9"), (None, True, None),
    ]  # fmt: skip
    found = []
    after: CallbackId | None = CallbackId("")
    while after is not None:
        due, after = await deliveries.due_callbacks(now=at(1), after=after, limit=2)
        found.append([id for _, id in due])
    assert found == [["callback-0", "callback-1"], [], ["callback-9"], []]


async def test_attempts_are_counted_for_the_delivery_and_its_callback(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    view = await create(callbacks)
    for id in ("d1", "d2", "d3"):
        await add(deliveries, id)

    await deliveries.record(attempt("d1", 1, next_at=at(5), error="timeout"))
    await deliveries.record(attempt("d2", 2, error="http.500", status_code=500))
    await deliveries.record(attempt("d3", 2, error="template", is_of_receiver=False))
    failing = (await callbacks.get(MARA, view.id)).view
    assert (failing.failures, failing.failing_since) == (2, at(1))
    assert failing.last_error in ("http.500", "template")
    await deliveries.record(attempt("d1", 6, has_succeeded=True, status_code=204))
    # A second process that has delivered it, too, changes nothing any more.
    await deliveries.record(attempt("d1", 7, next_at=at(9), error="timeout", is_of_receiver=False))

    found, _ = await deliveries.page(MARA, view.id, page=ALL)
    assert {each.id: (each.state, each.attempts, each.error, each.next_at) for each in found} == {
        "d1": ("delivered", 2, None, None),
        "d2": ("failed", 1, "http.500", None),
        "d3": ("failed", 1, "template", None),
    }
    healthy = (await callbacks.get(MARA, view.id)).view
    assert (healthy.failures, healthy.failing_since, healthy.last_error) == (0, None, None)
    assert (await callbacks.page(MARA, page=ALL)) == ([healthy], 1)


async def test_a_callback_that_begins_anew_does_not_wait_for_the_end_of_its_pause(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    view = await create(callbacks)
    await add(deliveries, "d1")
    await deliveries.record(attempt("d1", 1, next_at=at(2), paused_until=at(3600), error="timeout"))

    for fields, due in ({"name": "N"}, []), ({"failures": 0, "failing_since": None}, [(MARA, view.id)]):
        await callbacks.change(MARA, view.id, lambda before, fields=fields: replace(before, **fields))  # type: ignore[misc]
        assert (await deliveries.due_callbacks(now=at(5)))[0] == due


async def test_a_delivery_is_made_due_again(callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries) -> None:
    view = await create(callbacks)
    await add(deliveries, "d1")
    await deliveries.record(attempt("d1", 1, error="timeout"))

    again = await deliveries.redeliver(MARA, view.id, DeliveryId("d1"))

    # It is tried for another day, and not only until the end of the first one.
    assert (again.state, again.attempts, again.retry_until, again.error) == ("pending", 0, None, None)
    assert [due.id for due in await deliveries.due(view.id, now=at(1), limit=9)] == ["d1"]
    for workspace, callback_id, id in ((OMAR, view.id, "d1"), (MARA, CallbackId("x"), "d1"), (MARA, view.id, "d2")):
        with pytest.raises(NotFound, match="Delivery not found"):
            await deliveries.redeliver(workspace, callback_id, DeliveryId(id))


async def test_a_disabled_callback_gives_up_what_is_pending_and_others_are_told_once(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    view = await create(callbacks)
    other = await create(callbacks, "callback-2", events=("callback.disabled",))
    await add(deliveries, "d1")

    entry = act(None, "callback.disabled", "callback", view.id, at=at(1), workspace_id=MARA)
    for id in (view.id, view.id, CallbackId("callback-deleted")):
        await callbacks.disable(id, at=at(1), reason="gone", notice={"reason": "gone"}, audit=entry)

    found = (await callbacks.get(MARA, view.id)).view
    assert (found.disabled_at, found.disabled_reason) == (at(1), "gone")
    (delivery,), _ = await deliveries.page(MARA, view.id, page=ALL)
    assert (delivery.state, delivery.error) == ("failed", "callback.disabled")
    assert await told(deliveries, other.id) == [("callback.disabled", None)]
    logged = await SqlAudit(callbacks._database).page(AuditFilter(), ALL)
    assert [row.entry.object for row in logged.items] == [("callback", view.id)]


async def test_what_is_pending_of_a_disabled_callback_fails_in_short_commits(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.callback_deliveries._FAILED_AT_ONCE", 2)
    view, other = await create(callbacks), await create(callbacks, "callback-2")
    for number in range(5):
        await add(deliveries, f"d{number}")

    async def failed() -> int:
        found, _ = await deliveries.page(MARA, view.id, page=ALL)
        return sum(delivery.state == "failed" for delivery in found)

    assert not await deliveries.fail_pending(view.id, at=at(1), disabled_before=at(0))
    await callbacks.disable(view.id, at=at(1), reason="gone", notice={})
    at_first, given_up = await failed(), await deliveries.given_up(disabled_before=at(0))
    # It is enabled again meanwhile.
    await callbacks.change(MARA, view.id, lambda before: replace(before, disabled_at=None, disabled_reason=None))
    assert not await deliveries.fail_pending(view.id, at=at(1), disabled_before=at(0))
    await callbacks.disable(view.id, at=at(1), reason="gone", notice={})
    has_more = [await deliveries.fail_pending(view.id, at=at(1), disabled_before=at(0)) for _ in range(2)]

    assert (at_first, given_up) == (2, [view.id])
    assert has_more == [False, False]
    assert (await failed(), await deliveries.given_up(disabled_before=at(0))) == (5, [])
    assert other.id not in given_up


async def test_what_is_pending_of_a_callback_that_a_person_disabled_fails_after_a_day(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, path: Place
) -> None:
    for id, disabled in (("callback-1", NOON), ("callback-2", NOON - timedelta(minutes=2)), ("callback-3", None)):
        await create(callbacks, id)
        await add(deliveries, f"d{id[-1]}", callback=id)
        await callbacks.change(MARA, CallbackId(id), lambda before, at=disabled: replace(before, disabled_at=at))  # type: ignore[misc] # a default
    clock = SteppingClock(NOON + timedelta(days=1, minutes=-1))

    await sender(callbacks, deliveries, clock).purge()

    assert rows_of(path, "SELECT id, state, error FROM callback_deliveries ORDER BY id") == [
        ("d1", "pending", None), ("d2", "failed", "callback.disabled"), ("d3", "pending", None),
    ]  # fmt: skip


@pytest.mark.only("sqlite")
async def test_a_look_for_due_callbacks_costs_what_is_pending(
    callbacks: SqlCallbacks, database: Database, path: Place
) -> None:
    for n in range(100):
        await callbacks.create(callback(f"callback-{n}"), sealing(b"sealed"), most=100)
    for n in (7, 70, 99):
        add_many(path, f"callback-{n}", 300)
        change(path, f"UPDATE callback_deliveries SET state = 'pending', next_at = 0 WHERE id = 'callback-{n}-1'")
    counted = WritesCounted(database)

    # As writes, whose work is counted.
    looks = ((DUE_CALLBACKS, {"now": 1, "after": "", "limit": 2}), (NEXT_DUE, {"after": "", "limit": 9}))
    for statement, values in looks:
        rows = await counted.write(lambda tx, statement=statement, values=values: tx.rows(statement, values))  # type: ignore[misc] # a default
        assert rows

    assert 0 < max(counted.work) <= 400, counted.work


@pytest.mark.only("postgres")
async def test_a_message_that_is_delivered_while_its_callback_is_given_up_stays_delivered(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, path: str
) -> None:
    view = await create(callbacks)
    await add(deliveries, "d1")
    change(path, "UPDATE callbacks SET disabled_at = 1, disabled_reason = 'gone'")
    other = await asyncpg.connect(path)
    try:
        async with other.transaction():
            await other.execute("UPDATE callback_deliveries SET state = 'delivered', next_at = NULL")
            failing = asyncio.create_task(deliveries.fail_pending(view.id, at=at(1), disabled_before=at(0)))
            await until_somebody_waits_for_a_row(path)
        await failing
    finally:
        await other.close()

    found, _ = await deliveries.page(MARA, view.id, page=ALL)
    assert [delivery.state for delivery in found] == ["delivered"]


async def test_old_deliveries_and_those_beyond_the_newest_are_deleted(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, path: Place
) -> None:
    view = await create(callbacks)
    for n in range(6):
        await add(deliveries, f"d{n}", next_at=0 if n == 0 else None)
        change(path, "UPDATE callback_deliveries SET noted_at = noted_at + ? WHERE id = ?", n, f"d{n}")
    change(path, "UPDATE callback_deliveries SET last_at = 0 WHERE id = 'd5'")

    (old,) = await deliveries.old(before=at(-1), limit=100)
    await deliveries.delete_ended([old])
    surplus, last = await deliveries.surplus(after=CallbackId(""), most=2, limit=100)
    await deliveries.delete_ended(surplus)

    assert (old, surplus, last) == ("d5", ["d1", "d2"], None)
    found, total = await deliveries.page(MARA, view.id, page=Page(limit=2, offset=1))
    # d5 was old and d1 beyond the newest; what is pending stays.
    assert ([each.id for each in found], total) == (["d3", "d0"], 3)
    assert await deliveries.surplus(after=CallbackId(""), most=3, limit=100) == ([], None)


async def test_the_deletion_of_deliveries_keeps_no_write_waiting_for_a_look_at_all_of_them(
    callbacks: SqlCallbacks, database: Database, path: Place
) -> None:
    for n in range(10):
        await create(callbacks, f"callback-{n}")
    for n in range(10):
        add_many(path, f"callback-{n}", 1041 if n == 5 else 1000)
    gather_statistics(path)
    counted: Any = WritesCounted(database)

    await sender(SqlCallbacks(counted), SqlCallbackDeliveries(counted), SteppingClock(NOON)).purge()

    # The newest 1,000 of each.
    assert rows_of(path, "SELECT count(*) FROM callback_deliveries") == [(10_000,)]
    # That many instructions of SQLite, or rows that PostgreSQL reads, are those of the 41 deletions.
    assert 0 < sum(counted.work) <= (20_000 if isinstance(path, Path) else 1_000), counted.work


async def test_the_deliveries_of_a_callback_are_deleted_in_short_commits_before_it(
    callbacks: SqlCallbacks,
    deliveries: SqlCallbackDeliveries,
    database: Database,
    path: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for id in ("callback-1", "callback-2"):
        await create(callbacks, id)
    add_many(path, "callback-1", 3_000)
    await add(deliveries, "other", callback="callback-2")
    write, left = database.write, [3_000]
    service = Callbacks(
        callbacks,
        deliveries,
        *[cast("Any", None)] * 3,
        clock=SteppingClock(NOON),
        sends_mail=False,
        refusal=lambda _: None,
    )

    async def counted(function: Any, **more: Any) -> Any:
        done = await write(function, **more)
        ((count,),) = rows_of(path, "SELECT count(*) FROM callback_deliveries WHERE callback_id = 'callback-1'")
        left.append(count)
        return done

    monkeypatch.setattr(database, "write", counted)
    with pytest.raises(NotFound):
        await service.delete(caller_of(OMAR_ACCOUNT), CallbackId("callback-1"))
    assert left == [3_000]
    await service.delete(caller_of(MARA_ACCOUNT), CallbackId("callback-1"))

    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 500
    assert rows_of(path, "SELECT id FROM callbacks") == [("callback-2",)]
    assert rows_of(path, "SELECT callback_id FROM callback_deliveries") == [("callback-2",)]


async def test_the_deliveries_of_a_deleted_workspace_are_deleted_in_short_commits_after_it(
    callbacks: SqlCallbacks,
    deliveries: SqlCallbackDeliveries,
    database: Database,
    path: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await create(callbacks, "callback-1")
    await create(callbacks, "callback-2", workspace_id=OMAR)
    add_many(path, "callback-1", 1)
    add_many(path, "callback-2", 3_000)
    change(path, "UPDATE callback_deliveries SET workspace_id = ? WHERE callback_id = 'callback-2'", OMAR)
    change(path, "UPDATE callback_deliveries SET state = 'pending', next_at = 0 WHERE id = 'callback-2-7'")
    write, left = database.write, [3_000]
    clock = SteppingClock(NOON)

    async def counted(function: Any, **more: Any) -> Any:
        done = await write(function, **more)
        ((count,),) = rows_of(path, "SELECT count(*) FROM callback_deliveries WHERE callback_id = 'callback-2'")
        left.append(count)
        return done

    monkeypatch.setattr(database, "write", counted)
    await SqlAccounts(database).delete(OMAR_ACCOUNT, at=NOON)

    assert left == [3_000, 3_000]
    # Nothing is sent, and nothing is left that anything could be sent with.
    assert (await deliveries.due_callbacks(now=NOON))[0] == []
    assert rows_of(path, "SELECT name, address, length(sealed) FROM callbacks WHERE id = 'callback-2'") == [("", "", 0)]
    with pytest.raises(NotFound):
        await callbacks.get(OMAR, CallbackId("callback-2"))
    await sender(callbacks, deliveries, clock).purge()
    assert left[-1] == 0
    assert max(before - after for before, after in pairwise(left)) <= 500
    assert rows_of(path, "SELECT id FROM callbacks") == [("callback-1",)]
    assert rows_of(path, "SELECT callback_id FROM callback_deliveries") == [("callback-1",)]


async def test_a_delivery_that_is_due_again_is_not_deleted(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, path: Place
) -> None:
    view = await create(callbacks)
    await add(deliveries, "d1", next_at=None)
    change(path, "UPDATE callback_deliveries SET last_at = 0")
    found = await deliveries.old(before=NOON, limit=100)
    await deliveries.redeliver(MARA, view.id, found[0])

    await deliveries.delete_ended(found)

    (kept,), _ = await deliveries.page(MARA, view.id, page=ALL)
    assert (kept.id, kept.state) == ("d1", "pending")


async def test_pages_have_each_of_the_deliveries_that_were_noted_in_one_millisecond(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries
) -> None:
    view = await create(callbacks)
    for n in range(3):
        await add(deliveries, f"d{n}")
    (first, *_), _ = await deliveries.page(MARA, view.id, page=ALL)

    after = [None, *(f"{to_ms(first.noted_at)}:d{n}" for n in (2, 1, 0))]
    pages = [await deliveries.page(MARA, view.id, page=Page(limit=1, cursor=cursor)) for cursor in after]

    assert [[one.id for one in found] for found, _ in pages] == [["d2"], ["d1"], ["d0"], []]


async def test_a_deletion_takes_the_deliveries_along(
    callbacks: SqlCallbacks, deliveries: SqlCallbackDeliveries, path: Place
) -> None:
    view = await create(callbacks)
    await add(deliveries, "d1")
    with pytest.raises(NotFound):
        await callbacks.delete(OMAR, view.id)
    assert len(await told(deliveries)) == 1

    await callbacks.delete(MARA, view.id)

    assert rows_of(path, "SELECT 1 FROM callback_deliveries") == []
