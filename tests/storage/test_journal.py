"""The journal: one owner, one order, one end, and the lists of what is due."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from flowrunner.domain.errors import NotFound
from flowrunner.domain.events import Cancelled, ErrorValue, Failed, NodeWaiting, SignalReceived, Started
from flowrunner.domain.status import Status
from flowrunner.domain.values import ExecutionId, FlowId, WorkspaceId
from flowrunner.domain.waits import TimeWait
from flowrunner.ports.concurrency import ConcurrencyLimitReached, ConcurrencySlot
from flowrunner.ports.dispatch import Signal
from flowrunner.ports.journal import PAGE_OF_EVENTS_BYTES, Append, DuplicateRequest, Fenced, Summary, load_whole
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.appends import ADD_EVENT, EXTEND
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.inbox import SqlInbox
from flowrunner.storage.journal import TOKENS_PER_EPOCH, SqlJournal
from flowrunner.storage.sqlite.transaction import BATCH_SIZES
from flowrunner.storage.transaction import Refused
from support.databases import (
    MARA,
    MARA_ACCOUNT,
    NOON,
    OMAR,
    REQUESTED,
    Place,
    add_flows,
    change,
    completion,
    contents_of,
    creation,
    following,
    log_line,
    open_database,
    recorded,
    rows_of,
)
from support.invariants import check_database

from .test_statements import texts_for_sqlite


async def test_an_append_is_read_back_as_it_was_written(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    first, last = creation("e1", epoch=epoch), completion("e1", epoch=epoch, result={"é": [1, None, 2.5, "😀"]})
    await journal.append(first)
    await journal.append(last)

    stored, events = await load_whole(journal, ExecutionId("e1"))

    assert (stored.status, stored.workspace_id) == (Status.COMPLETED, "account-mara")
    written = [*first.records, *last.records]
    assert events == [(r.event, r.at) for r in written]
    assert await journal.events(ExecutionId("e1"), after=0, limit=100) == written
    assert await journal.events(ExecutionId("e1"), after=1, limit=2) == written[1:3]
    assert check_database(path) == []


async def test_a_page_of_large_events_ends_with_the_one_that_fills_it(journal: SqlJournal) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    lines = [log_line("é" * size) for size in (PAGE_OF_EVENTS_BYTES * 3, 1, 2, PAGE_OF_EVENTS_BYTES, 3, 4)]
    await journal.append(following("e1", *lines, epoch=epoch, after=2))

    async def page(after: int) -> list[int]:
        return [recorded.seq for recorded in await journal.events(ExecutionId("e1"), after=after, limit=100)]

    assert [await page(after) for after in (0, 3, 6, 8)] == [[1, 2, 3], [4, 5, 6], [7, 8], []]


async def test_an_append_that_answers_a_cancelled_message_is_rejected(
    journal: SqlJournal, database: Database, path: Place
) -> None:
    """Its sender has reported that it was not done; and no message counts twice."""
    inbox, epoch = SqlInbox(database), await journal.claim()
    for id in ("e1", "e2"):
        await journal.append(creation(id, epoch=epoch))
    signal = Signal(key="signal:go", payload=1)
    cancelled, taken = [await inbox.send(ExecutionId("e1"), signal, at=NOON) for _ in range(2)]
    of_another = await inbox.send(ExecutionId("e2"), signal, at=NOON)
    assert await inbox.cancel(cancelled)
    event = SignalReceived(key=signal.key, payload=1)

    answers = replace(following("e1", event, epoch=epoch, after=2), messages=[taken])
    for number in (cancelled, of_another):
        before = contents_of(path)
        with pytest.raises(Fenced, match="cancelled"):
            await journal.append(replace(answers, messages=[taken, number]))
        assert contents_of(path) == before
    await journal.append(answers)
    with pytest.raises(Fenced):
        await journal.append(replace(following("e1", event, epoch=epoch, after=3), messages=[taken]))

    # Its neighbours in a batch are done all the same.
    late = replace(following("e1", event, epoch=epoch, after=3), messages=[cancelled])
    fine = replace(following("e2", event, epoch=epoch, after=2), messages=[of_another])
    outcomes = await asyncio.gather(journal.append(late), journal.append(fine), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Fenced, type(None)]
    assert check_database(path, all_ended=False) == []


async def test_an_execution_that_does_not_exist_is_not_found(journal: SqlJournal) -> None:
    with pytest.raises(NotFound):
        await load_whole(journal, ExecutionId("e1"))


async def test_a_failing_append_leaves_its_neighbours_in_the_batch_alone(path: Place) -> None:
    sizes: list[int] = []
    database = open_database(add_flows(path), on_commit=sizes.append)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(creation("taken", epoch=epoch, key="k", digest="d"))
    appends: list[Append] = []
    for n in range(10):
        appends.append(creation(f"good-{n}", epoch=epoch))
        appends.append(completion(f"good-{n}", epoch=epoch))
    appends[3:3] = [creation("old", epoch=epoch - 1)]
    appends[7:7] = [following("taken", log_line(), epoch=epoch, after=1)]
    appends[9:9] = [creation("repeat", epoch=epoch, key="k", digest="d")]
    appends[12:12] = [following("nobody", log_line(), epoch=epoch, after=0)]
    sizes.clear()
    futures = [asyncio.ensure_future(journal.append(append)) for append in appends]

    results = await asyncio.gather(*futures, return_exceptions=True)
    await database.close()

    failed = {a.execution_id: type(r) for a, r in zip(appends, results, strict=True) if r is not None}
    assert failed == {"old": Fenced, "taken": Fenced, "repeat": DuplicateRequest, "nobody": Fenced}
    assert len(sizes) <= 2
    assert {row[0] for row in rows_of(path, "SELECT id FROM executions WHERE status = 'completed'")} == {
        f"good-{n}" for n in range(10)
    }
    assert check_database(path, all_ended=False) == []


# Concurrency limits


def limited(id: str, *, epoch: int, is_queued: bool = False) -> Append:
    append = creation(id, epoch=epoch)
    assert append.create is not None
    summary = Summary(status=Status.RUNNING, is_idle=is_queued, is_queued=is_queued)
    return replace(append, summary=summary, create=replace(append.create, slot=ConcurrencySlot("key", 1, is_queued)))


async def test_no_new_execution_gets_the_slot_of_one_that_waits(
    journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    await journal.append(limited("e1", epoch=epoch))
    await journal.append(limited("e2", epoch=epoch, is_queued=True))
    await journal.append(completion("e1", epoch=epoch))

    with pytest.raises(ConcurrencyLimitReached):
        await journal.append(limited("e3", epoch=epoch))

    await journal.append(limited("e3", epoch=epoch, is_queued=True))
    assert await concurrency.admit("key") == ("e2", MARA)
    assert await concurrency.admit("key") is None


async def test_the_order_of_those_that_share_a_limit_is_that_of_their_creation_and_not_of_their_ids(
    journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    await journal.append(limited("e9", epoch=epoch))
    await journal.append(limited("e5", epoch=epoch, is_queued=True))
    await journal.append(limited("e7", epoch=epoch, is_queued=True))
    await journal.append(limited("e1", epoch=epoch, is_queued=True))
    await journal.append(creation("e0", epoch=epoch))

    assert await concurrency.last_queued("key") == "e1"
    assert await concurrency.older_with_key(ExecutionId("e1")) == ["e9", "e5", "e7"]
    assert await concurrency.older_with_key(ExecutionId("e9")) == []
    for without_a_limit_or_unknown in ("e0", "e2"):
        assert await concurrency.older_with_key(ExecutionId(without_a_limit_or_unknown)) == []

    await journal.append(completion("e9", epoch=epoch))
    assert await concurrency.admit("key") == ("e5", MARA)
    assert await concurrency.older_with_key(ExecutionId("e9")) == []
    assert await concurrency.older_with_key(ExecutionId("e1")) == ["e5", "e7"]


async def test_those_that_are_cancelled_while_they_wait_for_a_slot_hold_up_no_other(
    journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    await journal.append(limited("e1", epoch=epoch))
    for id in ("e2", "e3", "e4"):
        await journal.append(limited(id, epoch=epoch, is_queued=True))
    for id in ("e2", "e4"):
        append = following(id, Cancelled(reason="enough"), epoch=epoch, after=2)
        await journal.append(replace(append, summary=replace(append.summary, is_queued=True)))
    await journal.append(completion("e1", epoch=epoch))

    assert await concurrency.last_queued("key") == "e3"
    assert await concurrency.queued_keys() == ["key"]
    assert await concurrency.admit("key") == ("e3", MARA)
    assert await concurrency.queued_keys() == []


async def test_one_that_has_ended_is_newer_than_none_even_where_its_position_is_in_use_again(
    journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    await journal.append(limited("e1", epoch=epoch))
    await journal.append(limited("e2", epoch=epoch, is_queued=True))
    await journal.append(completion("e1", epoch=epoch))
    assert await concurrency.admit("key") == ("e2", MARA)
    await journal.append(completion("e2", epoch=epoch))

    await journal.append(limited("e3", epoch=epoch))
    await journal.append(limited("e4", epoch=epoch, is_queued=True))

    assert await concurrency.older_with_key(ExecutionId("e4")) == ["e3"]
    assert await concurrency.older_with_key(ExecutionId("e2")) == []


async def test_a_slot_is_free_while_fewer_hold_one_or_wait_than_the_limit_allows(
    journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    one, two, three = (ConcurrencySlot("key", most) for most in (1, 2, 3))
    assert await concurrency.has_free_slot(one)

    await journal.append(limited("e1", epoch=epoch))
    await journal.append(limited("e2", epoch=epoch, is_queued=True))
    assert [await concurrency.has_free_slot(slot) for slot in (one, two, three)] == [False, False, True]
    assert await concurrency.has_free_slot(ConcurrencySlot("another key", 1))

    await journal.append(completion("e1", epoch=epoch))
    assert [await concurrency.has_free_slot(slot) for slot in (one, two)] == [False, True]


# One owner


async def test_a_write_with_an_old_epoch_changes_nothing(journal: SqlJournal, path: Place) -> None:
    old = await journal.claim()
    await journal.append(creation("e1", epoch=old))
    await journal.claim()
    before = contents_of(path)

    for append in (
        completion("e1", epoch=old),
        creation("e2", epoch=old),
        following("e1", log_line(), epoch=0, after=2),
    ):
        with pytest.raises(Fenced):
            await journal.append(append)

    assert contents_of(path) == before


async def test_a_claim_takes_over_what_has_not_ended(journal: SqlJournal, path: Place) -> None:
    old = await journal.claim()
    await journal.append(creation("open", epoch=old))
    await journal.append(creation("ended", epoch=old))
    await journal.append(completion("ended", epoch=old))

    new = await journal.claim()
    await journal.append(completion("open", epoch=new))

    assert new == old + TOKENS_PER_EPOCH
    assert rows_of(path, "SELECT id, status FROM executions ORDER BY id") == [
        ("ended", "completed"),
        ("open", "completed"),
    ]


async def test_a_claim_changes_no_execution_however_many_are_open(journal: SqlJournal, path: Place) -> None:
    old = await journal.claim()
    ids = [ExecutionId(f"e{n}") for n in range(5)]
    for id in ids:
        await journal.append(creation(id, epoch=old))
    marks = [await journal.acquire(id, old) for id in ids[:2]]
    executions = "SELECT * FROM executions ORDER BY id"
    if isinstance(path, str):
        # `xmin` is the transaction that last changed the row.
        executions = "SELECT xmin::text, * FROM executions ORDER BY id"
    before = rows_of(path, executions)

    new = await journal.claim()

    assert rows_of(path, executions) == before
    for id, epoch in zip(ids, (*marks, old, old, old), strict=True):
        with pytest.raises(Fenced):
            await journal.append(completion(id, epoch=epoch))
        await journal.append(following(id, log_line(), epoch=new, after=2))


async def test_a_fencing_token_is_valid_for_one_execution_under_one_claim(journal: SqlJournal) -> None:
    ids = first, second = ExecutionId("e1"), ExecutionId("e2")
    epoch = await journal.claim()
    for id in ids:
        await journal.append(creation(id, epoch=epoch))
    marks = [await journal.acquire(id, epoch) for id in ids]

    for id, late in ((first, marks[1]), (second, marks[0]), (first, epoch)):
        with pytest.raises(Fenced):
            await journal.append(following(id, log_line(), epoch=late, after=2))
    for id, mark in zip(ids, marks, strict=True):
        await journal.append(following(id, log_line(), epoch=mark, after=2))

    newer = await journal.claim()
    mark = await journal.acquire(first, newer)
    for late in (*marks, epoch, newer):
        with pytest.raises(Fenced):
            await journal.append(following(first, log_line(), epoch=late, after=3))
    await journal.append(following(first, log_line(), epoch=mark, after=3))


async def test_no_execution_is_acquired_under_a_claim_that_was_taken_over(journal: SqlJournal) -> None:
    id, old = ExecutionId("e1"), await journal.claim()
    await journal.append(creation(id, epoch=old))
    mark = await journal.acquire(id, await journal.claim())

    with pytest.raises(Fenced):
        await journal.acquire(id, old)

    await journal.append(following(id, log_line(), epoch=mark, after=2))


async def test_two_processes_that_claim_at_once_get_two_epochs(path: Place) -> None:
    first, second = open_database(path), open_database(path)

    epochs = await asyncio.gather(*(SqlJournal(d).claim() for d in (first, second) * 5))
    await first.close()
    await second.close()

    assert sorted(epochs) == [TOKENS_PER_EPOCH * n for n in range(1, 11)]


async def test_a_process_whose_claim_was_taken_over_writes_nothing_even_by_another_connection(path: Place) -> None:
    first, second = open_database(add_flows(path)), open_database(path)
    loser, winner = SqlJournal(first), SqlJournal(second)
    old = await loser.claim()
    await loser.append(creation("e1", epoch=old))
    new = await winner.claim()

    results = await asyncio.gather(
        loser.append(completion("e1", epoch=old, result="late")),
        winner.append(completion("e1", epoch=new, result="in time")),
        return_exceptions=True,
    )
    await first.close()
    await second.close()

    assert isinstance(results[0], Fenced)
    assert results[1] is None
    ((ended,),) = rows_of(path, "SELECT data FROM readable_events WHERE type = 'execution.completed'")
    assert json.loads(ended) == {"result": "in time"}


# One order


@pytest.mark.parametrize("after", [0, 1, 3, 100])
async def test_an_append_goes_behind_the_last_event_or_nowhere(journal: SqlJournal, path: Place, after: int) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    before = contents_of(path)

    with pytest.raises(Fenced):
        await journal.append(following("e1", log_line(), epoch=epoch, after=after))

    assert contents_of(path) == before


async def test_of_two_appends_behind_the_same_event_one_wins(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))

    results = await asyncio.gather(
        *(
            asyncio.ensure_future(journal.append(following("e1", log_line(str(n)), epoch=epoch, after=2)))
            for n in range(5)
        ),
        return_exceptions=True,
    )

    assert sorted(str(type(r).__name__) for r in results) == ["Fenced"] * 4 + ["NoneType"]
    assert rows_of(path, "SELECT count(*) FROM events") == [(3,)]


async def test_a_cancelled_append_raises_once_it_is_durable(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    appending = asyncio.ensure_future(journal.append(creation("e1", epoch=epoch)))
    for _ in range(3):
        await asyncio.sleep(0)
        appending.cancel()

    with pytest.raises(asyncio.CancelledError):
        await appending

    assert (await journal.stored(ExecutionId("e1"))).last_seq == 2
    assert rows_of(path, "SELECT count(*) FROM events") == [(2,)]


async def test_an_execution_is_created_once(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    before = contents_of(path)

    with pytest.raises(Fenced):
        await journal.append(creation("e1", epoch=epoch))

    assert contents_of(path) == before


# Final states


@pytest.mark.parametrize("ending", [None, Failed(error=ErrorValue(type="x", message="m")), Cancelled(reason="r")])
async def test_nothing_follows_a_final_event(
    journal: SqlJournal, path: Place, ending: Failed | Cancelled | None
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    last = completion("e1", epoch=epoch) if ending is None else following("e1", ending, epoch=epoch, after=2)
    await journal.append(last)
    before = contents_of(path)

    for after in range(6):
        with pytest.raises(Fenced):
            await journal.append(following("e1", log_line(), epoch=epoch, after=after))
    with pytest.raises(Fenced):
        await journal.append(completion("e1", epoch=epoch, after=2 + len(last.records)))

    assert contents_of(path) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE executions SET status = 'running', completed_at = NULL",
        "UPDATE executions SET last_seq = last_seq + 1",
        "UPDATE executions SET epoch = 99",
        "UPDATE executions SET status = status",
        "UPDATE events SET data = '{}'",
        "UPDATE events SET seq = seq + 100",
        "INSERT INTO events VALUES ('e1', 5, 0, 'log', '{}')",
        "INSERT INTO events VALUES ('e1', 4, 0, 'log', '{}')",
        "INSERT INTO events VALUES ('e1', 0, 0, 'log', '{}')",
        "INSERT INTO events VALUES ('nobody', 1, 0, 'log', '{}')",
        "INSERT INTO events VALUES ('e1', 9, 0, 'log', '{}')",
        "INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, epoch, last_seq)"
        " VALUES ('e2', 'a', 'f', 'r', 'crashed', 0, 1, 0)",
        "INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, epoch, last_seq)"
        " VALUES ('e2', 'a', 'f', 'r', 'completed', 0, 1, 0)",
    ],
)
async def test_the_database_itself_refuses_what_must_never_be(
    journal: SqlJournal, database: Database, path: Place, statement: str
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    await journal.append(completion("e1", epoch=epoch))
    await database.close()
    before = contents_of(path)

    with pytest.raises(Refused):
        change(path, statement)

    assert contents_of(path) == before


# Requests


async def test_a_request_makes_one_execution(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    appends = [creation(f"e{n}", epoch=epoch, key="k", digest=f"d{n}") for n in range(5)]

    results = await asyncio.gather(*(journal.append(a) for a in appends), return_exceptions=True)
    with pytest.raises(DuplicateRequest):
        await journal.append(appends[0])

    assert results[0] is None
    for result in results[1:]:
        assert isinstance(result, DuplicateRequest)
        assert (result.execution_id, result.request_digest) == ("e0", "d0")
    assert rows_of(path, "SELECT id FROM executions") == [("e0",)]


async def test_each_account_has_keys_of_its_own(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()

    await journal.append(creation("e1", epoch=epoch, key="k"))
    await journal.append(creation("e2", epoch=epoch, key="k", workspace_id=OMAR, flow_id="flow-omar"))
    await journal.append(creation("e3", epoch=epoch))
    await journal.append(creation("e4", epoch=epoch))

    assert rows_of(path, "SELECT count(*) FROM executions") == [(4,)]


@pytest.mark.parametrize("gone", ["flow", "account", "another's"])
async def test_nothing_is_created_of_a_deleted_flow(
    journal: SqlJournal, database: Database, path: Place, gone: str
) -> None:
    epoch = await journal.claim()
    await journal.append(creation("before", epoch=epoch, key="k", digest="d"))
    other = creation("other", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar")
    flow_id = "flow-1"
    match gone:
        case "flow":
            await SqlFlows(database).delete(MARA, FlowId("flow-1"), at=NOON)
        case "account":
            await SqlAccounts(database).delete(MARA_ACCOUNT, at=NOON)
        case _:
            flow_id = "flow-omar"

    results = await asyncio.gather(
        journal.append(creation("e1", epoch=epoch, flow_id=flow_id)),
        journal.append(creation("e2", epoch=epoch, flow_id=flow_id, key="k", digest="d")),
        journal.append(creation("e3", epoch=epoch, flow_id=flow_id, key="new")),
        journal.append(other),
        return_exceptions=True,
    )

    assert [type(r) for r in results] == [NotFound, DuplicateRequest, NotFound, type(None)]
    assert rows_of(path, "SELECT id FROM executions ORDER BY id") == [("before",), ("other",)]


# What is to be done


async def test_open_executions_are_listed_page_by_page(journal: SqlJournal, due: SqlDueExecutions) -> None:
    epoch = await journal.claim()
    for n in range(7):
        await journal.append(creation(f"e{n}", epoch=epoch))
    await journal.append(completion("e3", epoch=epoch))

    first = ids(await due.unfinished(after=None, limit=4))
    second = ids(await due.unfinished(after=first[-1], limit=4))

    assert [*first, *second] == ["e0", "e1", "e2", "e4", "e5", "e6"]


async def test_waiting_executions_are_due_at_their_time(journal: SqlJournal, due: SqlDueExecutions) -> None:
    epoch = await journal.claim()
    for n, hours in enumerate((3, 1, 2)):
        await journal.append(creation(f"e{n}", epoch=epoch))
        until = NOON + timedelta(hours=hours)
        timer = NodeWaiting(node="a", node_type="delay", iteration=1, attempt=1, wait_for=TimeWait(until))
        await journal.append(
            Append(
                execution_id=ExecutionId(f"e{n}"),
                epoch=epoch,
                after=2,
                records=recorded([timer], after=2),
                summary=Summary(status=Status.RUNNING, is_idle=True, wake_at=until),
            )
        )

    assert await due.next_wake(after=NOON) == NOON + timedelta(hours=1)
    assert await due.next_wake(after=NOON + timedelta(hours=1)) == NOON + timedelta(hours=2)
    assert await due.next_wake(after=NOON + timedelta(hours=3)) is None
    assert await due.due(now=NOON + timedelta(minutes=59), limit=9) == []
    assert ids(await due.due(now=NOON + timedelta(hours=2), limit=9)) == ["e1", "e2"]
    assert ids(await due.due(now=NOON + timedelta(hours=9), limit=2)) == ["e1", "e2"]


async def test_a_wait_that_no_worker_began_is_unowned_once_it_is_due(
    journal: SqlJournal, due: SqlDueExecutions
) -> None:
    epoch, until = await journal.claim(), NOON + timedelta(hours=1)
    for id in ("owned", "unowned"):
        await journal.append(creation(id, epoch=epoch))
        token = epoch if id == "unowned" else await journal.acquire(ExecutionId(id), epoch)
        timer = NodeWaiting(node="a", node_type="delay", iteration=1, attempt=1, wait_for=TimeWait(until))
        await journal.append(
            Append(
                execution_id=ExecutionId(id),
                epoch=token,
                after=2,
                records=recorded([timer], after=2),
                summary=Summary(status=Status.RUNNING, is_idle=True, wake_at=until),
            )
        )

    assert await due.unowned(since=until - timedelta(milliseconds=1), limit=9) == []
    assert ids(await due.unowned(since=until, limit=9)) == ["unowned"]


@pytest.mark.parametrize("microseconds", [1, 500, 999])
async def test_a_timer_is_never_due_early_by_the_part_of_a_millisecond(journal: SqlJournal, microseconds: int) -> None:
    epoch = await journal.claim()
    until = NOON + timedelta(microseconds=microseconds)
    event = NodeWaiting(node="a", node_type="delay", iteration=1, attempt=1, wait_for=TimeWait(until))
    await journal.append(creation("e1", epoch=epoch))
    await journal.append(
        Append(
            execution_id=ExecutionId("e1"),
            epoch=epoch,
            after=2,
            records=recorded([event], after=2),
            summary=Summary(status=Status.RUNNING, is_idle=True, wake_at=until),
        )
    )

    _, events = await load_whole(journal, ExecutionId("e1"))

    assert events[-1][0] == event


async def test_nothing_waits_in_an_empty_journal(due: SqlDueExecutions) -> None:
    assert await due.next_wake(after=NOON) is None
    assert await due.due(now=NOON, limit=9) == []


async def test_a_second_start_event_cannot_slip_in(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    start = Started(node="a", node_type="log", input=None, cause=REQUESTED)

    with pytest.raises(Fenced):
        await journal.append(
            Append(
                execution_id=ExecutionId("e1"),
                epoch=epoch,
                after=0,
                records=recorded([start], after=0),
                summary=Summary(status=Status.RUNNING),
            )
        )

    assert check_database(path, all_ended=False) == []


def ids(found: Sequence[tuple[ExecutionId, WorkspaceId]]) -> list[ExecutionId]:
    return [id for id, _ in found]


# Appends that leave the summary as it is


def extension(id: str, *, epoch: int, after: int) -> Append:
    return replace(following(id, log_line("on"), epoch=epoch, after=after), is_summary_unchanged=True)


async def test_an_append_with_the_same_summary_leaves_the_same_row(journal: SqlJournal, path: Place) -> None:
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    await journal.append(creation("e2", epoch=epoch))

    await journal.append(extension("e1", epoch=epoch, after=2))
    await journal.append(following("e2", log_line("on"), epoch=epoch, after=2))

    rows = rows_of(path, "SELECT status, completed_at, error, is_idle, wake_at, last_seq, size FROM executions")
    assert rows[0] == rows[1]
    assert check_database(path, all_ended=False) == []


async def test_an_append_with_the_same_summary_is_fenced_as_others_are(journal: SqlJournal, path: Place) -> None:
    old = await journal.claim()
    epoch = await journal.claim()
    await journal.append(creation("e1", epoch=epoch))
    before = contents_of(path)

    for wrong in (
        extension("e1", epoch=old, after=2),
        extension("e1", epoch=epoch, after=1),
        extension("e1", epoch=epoch, after=3),
        extension("e2", epoch=epoch, after=2),
        replace(extension("e1", epoch=epoch, after=2), summary=Summary(status=Status.RUNNING, is_queued=True)),
    ):
        with pytest.raises(Fenced):
            await journal.append(wrong)

    assert contents_of(path) == before


async def test_appends_that_share_a_transaction_write_what_each_would_alone(path: Place) -> None:
    commits: list[int] = []
    # A batch of each size, and a rest.
    together = [f"e{number:03}" for number in range(sum(BATCH_SIZES) + 3)]
    add_flows(path)
    database = open_database(path, on_commit=commits.append)
    try:
        journal = SqlJournal(database)
        epoch = await journal.claim()
        steps: list[Callable[..., Append]] = [
            partial(creation, labels={"team": "a"}),
            partial(extension, after=2),
            partial(completion, after=3, result={"n": [1, None]}),
        ]
        for step in steps:
            await asyncio.gather(*(journal.append(step(id, epoch=epoch)) for id in together))
            await journal.append(step("alone", epoch=epoch))
    finally:
        await database.close()

    assert max(commits) >= len(together)
    columns = "status, completed_at, is_idle, wake_at, epoch, last_seq, size, labels, is_queued, started_by"
    rows = rows_of(path, f"SELECT {columns}, workspace_id, flow_id, original_id, queue_position FROM executions")
    assert rows == [rows[0]] * (len(together) + 1)
    terms = rows_of(path, "SELECT execution_id, name, value FROM execution_terms ORDER BY execution_id")
    assert terms == [(id, "label.team", "a") for id in sorted([*together, "alone"])]
    events = rows_of(path, "SELECT execution_id, seq, at, type, data FROM events ORDER BY execution_id, seq")
    alone = [tuple(row[1:]) for row in events if row[0] == "alone"]
    assert len(alone) == 5
    for id in together:
        assert [tuple(row[1:]) for row in events if row[0] == id] == alone
    assert check_database(path) == []


async def test_of_many_appends_that_share_a_transaction_one_that_is_fenced_fails_alone(
    journal: SqlJournal, path: Place
) -> None:
    old = await journal.claim()
    epoch = await journal.claim()
    many = [f"e{number:03}" for number in range(sum(BATCH_SIZES) + 3)]
    for step in (creation, partial(extension, after=2), partial(completion, after=3)):
        wrong = [step("late", epoch=old), step(many[-1], epoch=old)]
        appends = [journal.append(append) for append in (*(step(id, epoch=epoch) for id in many), *wrong)]
        results = await asyncio.gather(*appends, return_exceptions=True)
        assert results[:-2] == [None] * len(many)
        assert [type(each) for each in results[-2:]] == [Fenced, Fenced]

    assert rows_of(path, "SELECT count(*), min(last_seq), max(last_seq) FROM executions") == [(len(many), 5, 5)]


@pytest.mark.only("sqlite")
def test_an_append_with_the_same_summary_writes_no_index(path: Path) -> None:
    values = dict.fromkeys(("id", "epoch", "after", "last_seq", "size", "is_queued"))
    with closing(sqlite3.connect(path)) as connection:
        names = dict(connection.execute("SELECT rootpage, name FROM sqlite_schema"))
        for text in texts_for_sqlite(EXTEND):
            steps = connection.execute(f"EXPLAIN {text}", values).fetchall()
            assert [names[root] for _, code, _, root, *_ in steps if code == "OpenWrite"] == ["executions", "usage"]


@pytest.mark.only("sqlite")
def test_the_insertion_of_an_event_keeps_no_copy_of_the_pages_that_it_changes(path: Path) -> None:
    """SQLite keeps one for a statement that it may have to undo alone: this one is not undone."""
    statement = ADD_EVENT.sqlite.partition("VALUES")[0] + "VALUES ('e1', 1, 0, 'log', '{}'), ('e1', 9, 0, 'log', '{}')"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "INSERT INTO executions (id, workspace_id, flow_id, revision_id, status, started_at, epoch, last_seq)"
            " VALUES ('e1', 'a', 'f', 'r', 'running', 0, 1, 1)"
        )
        with pytest.raises(sqlite3.IntegrityError, match="beyond its execution"):
            connection.execute(statement)

        assert connection.execute("SELECT seq FROM events").fetchall() == [(1,)]


async def test_an_execution_whose_deletion_has_begun_is_not_whole(journal: SqlJournal, path: Place) -> None:
    await journal.append(creation("e1", epoch=await journal.claim()))
    assert await journal.is_whole(ExecutionId("e1"))
    assert not await journal.is_whole(ExecutionId("e2"))

    change(path, "DELETE FROM events WHERE execution_id = 'e1' AND seq = 1")

    assert not await journal.is_whole(ExecutionId("e1"))
