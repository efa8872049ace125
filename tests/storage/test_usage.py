"""The storage of an account is known at every moment, whatever has changed it."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from flowrunner.domain.errors import LimitReached
from flowrunner.domain.events import Cancelled
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.callbacks import CallbackId, CallbackView
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.journal import Append, Fenced, Quota, load_whole
from flowrunner.ports.usage import BLOCK
from flowrunner.services.callback_deliveries import delete_callback
from flowrunner.storage import migrations
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.callback_deliveries import SqlCallbackDeliveries
from flowrunner.storage.callbacks import SqlCallbacks
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.retention import SqlRetention
from flowrunner.storage.secrets import SqlSecrets
from flowrunner.storage.system import SqlInspector
from flowrunner.storage.usage import _SHARE_OF_A_READING, QUEUED, FreeStorage, SqlUsage
from support.databases import (
    MARA,
    NOON,
    OMAR,
    OMAR_ACCOUNT,
    Place,
    add_flows,
    change,
    completion,
    creation,
    following,
    log_line,
    rows_of,
    until_somebody_waits_for_a_row,
)
from support.invariants import check_database
from support.postgres import connected

from .samples import flow, sealing

LATER: Final = NOON + timedelta(days=1)


def in_blocks(size: int) -> int:
    """Return what an open execution with so many bytes counts."""
    return -(-size // BLOCK) * BLOCK


def bytes_of(*appends: Append) -> int:
    return sum(len(record.data) for append in appends for record in append.records)


@pytest.fixture
def usage(database: Database, journal: SqlJournal) -> SqlUsage:
    """Return the usage of Mara and Omar, who have flows already."""
    return SqlUsage(database)


async def test_the_events_of_executions_count_until_they_are_purged(
    usage: SqlUsage, journal: SqlJournal, database: Database, path: Place
) -> None:
    before, epoch = await usage.stored(MARA), await journal.claim()
    appends = [creation("e1", epoch=epoch), following("e1", log_line("é" * 500), epoch=epoch, after=2)]
    appends.append(completion("e1", epoch=epoch, after=3))
    size = bytes_of(*appends)

    for append in appends:
        await journal.append(append)

    assert await usage.stored(MARA) == before + size
    assert (await load_whole(journal, ExecutionId("e1")))[0].size == size
    assert check_database(path) == []
    # On a slow machine a purge may end early and return that there is more.
    purged, _ = await SqlRetention(database).purge(ended_before=LATER, limit=10, unreported=())
    assert purged == 1
    assert await usage.stored(MARA) == before


async def test_an_open_execution_counts_in_whole_blocks_and_one_that_has_ended_by_its_bytes(
    usage: SqlUsage, journal: SqlJournal, path: Place
) -> None:
    before, epoch = await usage.stored(MARA), await journal.claim()
    appends = [creation("e1", epoch=epoch)]
    appends += [following("e1", log_line("x" * 1000), epoch=epoch, after=after) for after in range(2, 12)]

    counted = []
    for append in appends:
        await journal.append(append)
        counted.append(await usage.stored(MARA) - before)

    assert counted == [in_blocks(bytes_of(*appends[: n + 1])) for n in range(len(appends))]
    assert len(set(counted)) == 3, "most appends change no sum"
    await journal.append(end := completion("e1", epoch=epoch, after=12))
    assert await usage.stored(MARA) == before + bytes_of(*appends, end)
    assert check_database(path) == []


async def test_what_was_not_written_does_not_count(usage: SqlUsage, journal: SqlJournal) -> None:
    before, epoch = await usage.stored(MARA), await journal.claim()
    await journal.append(created := creation("e1", epoch=epoch))

    late = [following("e1", log_line("x" * 2 * BLOCK), epoch=epoch, after=2) for _ in range(5)]
    results = await asyncio.gather(*map(journal.append, late), return_exceptions=True)

    assert [type(result) for result in results].count(Fenced) == 4
    assert await usage.stored(MARA) == before + in_blocks(bytes_of(created, late[0]))


@pytest.mark.parametrize("creates", [False, True])
async def test_of_appends_that_share_a_commit_those_are_refused_that_exceed_the_quota_of_their_account(
    usage: SqlUsage, journal: SqlJournal, path: Place, creates: bool
) -> None:
    epoch = await journal.claim()
    ids = [f"e{n}" for n in range(6)]
    appends = [creation(id, epoch=epoch) for id in ids]
    others = [creation(f"o{n}", epoch=epoch, workspace_id=OMAR, flow_id="flow-omar") for n in range(6)]
    if not creates:
        await asyncio.gather(*map(journal.append, appends + others))
        appends = [following(id, log_line("x" * 2 * BLOCK), epoch=epoch, after=2) for id in ids]
        others = [following(f"o{n}", log_line("x" * 2 * BLOCK), epoch=epoch, after=2) for n in range(6)]
    size = BLOCK if creates else 2 * BLOCK
    before, of_omar = await usage.stored(MARA), await usage.stored(OMAR)
    limits = WorkspaceLimits(stored=before + 2 * size + 1)
    limited = [replace(append, quota=Quota(MARA, limits)) for append in appends]
    limited[-1] = replace(limited[-1], quota=None)
    unlimited = [replace(append, quota=Quota(OMAR, WorkspaceLimits(stored=10**9))) for append in others]

    results = await asyncio.gather(
        *(journal.append(append) for pair in zip(limited, unlimited, strict=True) for append in pair),
        return_exceptions=True,
    )

    assert [type(result) for result in results[:-2:2]] == [type(None)] * 2 + [LimitReached] * 3
    assert results[-2:] == [None, None], "what has no quota is stored, whatever the account keeps"
    assert results[1::2] == [None] * 6
    assert await usage.stored(MARA) == before + 3 * size
    assert await usage.stored(OMAR) > of_omar
    assert check_database(path, all_ended=False) == []


@pytest.mark.parametrize("creates", [False, True])
async def test_all_appends_of_a_commit_count_in_what_an_account_is_known_to_have_free(
    usage: SqlUsage, journal: SqlJournal, creates: bool
) -> None:
    epoch, known = await journal.claim(), 100
    appends = [creation(f"e{n}", epoch=epoch) for n in range(2 * known)]
    if not creates:
        await asyncio.gather(*map(journal.append, appends))
        appends = [following(f"e{n}", log_line("x" * BLOCK), epoch=epoch, after=2) for n in range(2 * known)]
    await journal.append(first := creation("first", epoch=epoch))
    quota = Quota(MARA, WorkspaceLimits(stored=await usage.stored(MARA) + known * BLOCK))
    # After this one, a few bytes are known to be free.
    await journal.append(replace(following("first", log_line("x"), epoch=epoch, after=2), quota=quota))
    assert bytes_of(first) < BLOCK

    results = await asyncio.gather(
        *(journal.append(replace(append, quota=quota)) for append in appends), return_exceptions=True
    )

    assert {type(result) for result in results} == {type(None), LimitReached}
    assert await usage.stored(MARA) <= (quota.limits.stored or 0)


async def test_many_small_appends_fill_the_storage_of_an_account_to_the_last_block(
    usage: SqlUsage, journal: SqlJournal
) -> None:
    epoch, line = await journal.claim(), log_line("x" * 1000)
    await journal.append(creation("e", epoch=epoch))
    quota = Quota(MARA, WorkspaceLimits(stored=await usage.stored(MARA) + 50 * BLOCK))

    with pytest.raises(LimitReached):  # noqa: PT012 # each append may be the one
        for after in range(2, 1000):
            await journal.append(replace(following("e", line, epoch=epoch, after=after), quota=quota))

    assert await usage.stored(MARA) == quota.limits.stored
    size = (await load_whole(journal, ExecutionId("e")))[0].size
    assert 51 * BLOCK - 1100 < size <= 51 * BLOCK


async def test_flows_count_with_every_definition(usage: SqlUsage, journal: SqlJournal, database: Database) -> None:
    flows, before = SqlFlows(database), await usage.stored(MARA)
    new = flow("f", revision="r1", definition="é" * 10)
    row = len(f"{new.name}{new.description}".encode()) + len('["x"]')

    await flows.create(MARA, new)
    assert await usage.stored(MARA) == before + row + 20
    await flows.update(MARA, FlowId("f"), lambda old: replace(old, definition="x" * 5, revision_id=RevisionId("r2")))
    assert await usage.stored(MARA) == before + row + 25
    await flows.update(MARA, FlowId("f"), lambda old: replace(old, name=old.name + "é"))
    assert await usage.stored(MARA) == before + row + 27
    await flows.delete_revision(MARA, FlowId("f"), 1, at=NOON)
    assert await usage.stored(MARA) == before + row + 7
    await flows.delete(MARA, FlowId("f"), at=NOON)
    assert await usage.stored(MARA) == before + row + 7
    assert await flows.purge(limit=10)
    assert not await flows.purge(limit=10)
    assert await usage.stored(MARA) == before


async def test_messages_of_callbacks_count_until_they_are_deleted(
    usage: SqlUsage, journal: SqlJournal, database: Database, path: Place
) -> None:
    epoch, callbacks = await journal.claim(), SqlCallbacks(database)
    for number in range(3):
        view = CallbackView(
            id=CallbackId(f"callback-{number}"), workspace_id=MARA, name="", events=("execution.completed",),
            format="slack", address="", flow_id=None, tag=None, children=False, template=None, created_at=NOON,
            updated_at=NOON,
        )  # fmt: skip
        await callbacks.create(view, sealing(b"callback"), most=10)
    before, appends = await usage.stored(MARA), [creation("e1", epoch=epoch), completion("e1", epoch=epoch)]

    for append in appends:
        await journal.append(append)
    added = await usage.stored(MARA) - before
    await delete_callback(callbacks, SqlCallbackDeliveries(database), MARA, CallbackId("callback-1"))
    left = await usage.stored(MARA) - before

    assert added == bytes_of(*appends) + 3 * 512
    assert left == bytes_of(*appends) + 2 * 512
    assert check_database(path) == []
    # As the migration finds those that are there before it.
    change(path, "UPDATE usage SET stored = stored - 1024 WHERE workspace_id = ? AND part = 0", MARA)
    change(path, import_module(f"{migrations.__name__}.versions.0033_counted_deliveries").SQLITE[0])
    assert check_database(path) == []


@pytest.mark.only("postgres")
async def test_the_messages_of_callbacks_are_counted_beside_a_server_that_ends_executions(
    usage: SqlUsage, database: Database, path: str
) -> None:
    view = CallbackView(
        id=CallbackId("callback-1"), workspace_id=MARA, name="", events=(), format="slack", address="", created_at=NOON,
        updated_at=NOON,
    )  # fmt: skip
    await SqlCallbacks(database).create(view, sealing(b"callback"), most=10)
    # As before the migration.
    for function in ("flowrunner_callback_deliveries_add_usage()", "flowrunner_callback_deliveries_free_usage()",
                     "flowrunner_add_delivery_usage(text, bigint)"):  # fmt: skip
        change(path, f"DROP FUNCTION {function} CASCADE")
    add = """
INSERT INTO callback_deliveries (id, workspace_id, callback_id, event, noted_at, next_at) VALUES ($1, $2, $3, 'x', 0, 0)
"""
    statements = import_module(f"{migrations.__name__}.versions.0033_counted_deliveries").POSTGRES
    server, migration = await asyncpg.connect(path), await asyncpg.connect(path)
    try:
        await server.execute(add, "d1", MARA, view.id)
        before = await usage.stored(MARA)
        async with server.transaction():
            # As a commit with an append that no callback is told of, and then one that ends an execution.
            await server.execute("UPDATE executions SET size = size")
            await server.execute("UPDATE usage SET stored = stored WHERE workspace_id = $1", MARA)
            migrating = asyncio.create_task(migration.execute(statements))
            await until_somebody_waits_for_a_row(path)
            await server.execute(add, "d2", MARA, view.id)
        await migrating
    finally:
        await server.close()
        await migration.close()

    assert await usage.stored(MARA) == before + 2 * 512
    assert check_database(path) == []


async def test_secrets_count_and_an_accounts_end_erases_them(
    usage: SqlUsage, journal: SqlJournal, database: Database
) -> None:
    secrets, accounts = SqlSecrets(database), SqlAccounts(database)
    before, of_mara = await usage.stored(OMAR), await usage.stored(MARA)

    await secrets.save(OMAR, sealing(b"12345", "A"), at=NOON)
    await secrets.save(OMAR, sealing(b"123", "B"), at=NOON)
    assert await usage.stored(OMAR) == before + 8
    await secrets.save(OMAR, sealing(b"1", "A"), at=NOON)
    assert await usage.stored(OMAR) == before + 4
    await secrets.delete(OMAR, "B")
    assert await usage.stored(OMAR) == before + 1
    await accounts.delete(OMAR_ACCOUNT, at=NOON)

    assert await usage.stored(OMAR) == before
    assert await usage.stored(MARA) == of_mara
    assert await usage.stored(WorkspaceId("nobody")) == 0


async def test_a_deleted_flow_is_forgotten_once_none_of_its_executions_is_left(
    usage: SqlUsage, journal: SqlJournal, database: Database, path: Place
) -> None:
    flows, epoch = SqlFlows(database), await journal.claim()
    for id in ("kept", "gone"):
        await flows.create(MARA, flow(id, revision=f"{id}-1"))
        for n in (2, 3):
            revision = RevisionId(f"{id}-{n}")
            await flows.update(MARA, FlowId(id), partial(replace, definition=f"{revision}", revision_id=revision))
    for id in ("kept", "gone"):
        await journal.append(creation(f"of-{id}", epoch=epoch, flow_id=id))
        await flows.delete(MARA, FlowId(id), at=NOON)
    await journal.append(completion("of-gone", epoch=epoch))
    await SqlRetention(database).purge(ended_before=LATER, limit=10, unreported=())

    commits = 0
    while await flows.purge(limit=2):
        commits += 1

    # Purge the revisions of three definitions, two at a time.
    assert commits == 2
    assert rows_of(path, "SELECT id FROM flows WHERE deleted_at IS NOT NULL") == [("kept",)]
    assert rows_of(path, "SELECT count(*) FROM revisions WHERE flow_id = 'kept'") == [(3,)]
    assert rows_of(path, "SELECT count(*) FROM revisions WHERE flow_id = 'gone'") == [(0,)]


async def test_an_account_has_no_more_flows_than_it_may_however_many_are_made_at_once(
    usage: SqlUsage, database: Database
) -> None:
    flows = SqlFlows(database)
    mine = [flow(f"new-{n}", revision=f"r-{n}") for n in range(10)]

    # Mara has three flows already.
    results = await asyncio.gather(*(flows.create(MARA, new, most=5) for new in mine), return_exceptions=True)
    await flows.create(OMAR, flow("omars", revision="r-o"), most=5)

    assert [type(result) for result in results].count(LimitReached) == 8
    await flows.delete(MARA, FlowId("flow-0"), at=NOON)
    await flows.create(MARA, flow("again", revision="r-a"), most=5)


async def test_an_account_has_no_more_secrets_than_it_may_and_replaces_them_all_the_same(
    usage: SqlUsage, database: Database
) -> None:
    secrets = SqlSecrets(database)
    results = await asyncio.gather(
        *(secrets.save(MARA, sealing(b"x", f"K{n}"), at=NOON, most=4) for n in range(10)), return_exceptions=True
    )

    assert [type(result) for result in results].count(LimitReached) == 6
    _, is_new = await secrets.save(MARA, sealing(b"y", "K0"), at=NOON, most=4)
    assert not is_new


async def test_executions_that_wait_for_a_slot_are_counted_by_workspace(
    usage: SqlUsage, journal: SqlJournal, concurrency: SqlConcurrencyLimits
) -> None:
    epoch = await journal.claim()
    for n in range(3):
        new = creation(f"e{n}", epoch=epoch)
        assert new.create is not None
        slot = ConcurrencySlot("key", 1, is_queued=n > 0)
        await journal.append(replace(new, create=replace(new.create, slot=slot)))

    assert (await usage.queued(MARA), await usage.queued(OMAR)) == (2, 0)
    await journal.append(completion("e0", epoch=epoch))
    await concurrency.admit("key")
    assert await usage.queued(MARA) == 1


async def test_an_execution_that_was_cancelled_while_it_waited_for_a_slot_waits_nowhere(
    usage: SqlUsage, journal: SqlJournal, concurrency: SqlConcurrencyLimits, database: Database
) -> None:
    epoch = await journal.claim()
    for n in range(3):
        new = creation(f"e{n}", epoch=epoch)
        assert new.create is not None
        slot = ConcurrencySlot("key", 1, is_queued=n > 0)
        await journal.append(replace(new, create=replace(new.create, slot=slot)))
    for id in ("e1", "e2"):
        end = following(id, Cancelled(reason="test"), epoch=epoch, after=2)
        await journal.append(replace(end, summary=replace(end.summary, is_queued=True)))

    assert await usage.queued(MARA) == 0
    assert (await SqlInspector(database).backlog()).waiting_for_concurrency_since is None
    assert (await concurrency.queued_keys(), await concurrency.last_queued("key")) == ([], None)
    assert [id for id, _ in await concurrency.holding_slot("key")] == ["e0"]
    await journal.append(completion("e0", epoch=epoch))
    assert await concurrency.admit("key") is None
    assert await concurrency.has_free_slot(ConcurrencySlot("key", 1, is_queued=False))


@pytest.mark.only("sqlite")
def test_waiting_executions_are_counted_without_reading_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + QUEUED, {"workspace_id": "a"})]

    assert any("INDEX executions_queued" in step for step in plan), plan


def test_of_the_free_storage_no_more_is_given_than_a_share_of_what_was_read() -> None:
    free, share = FreeStorage(), 1_000_000 // _SHARE_OF_A_READING
    assert not free.covers(MARA, 1)
    free.note(MARA, 1_000_000)

    sizes = (share + 1, share - 1, 2, 1, 1)

    assert [free.covers(MARA, size) for size in sizes] == [False, True, False, True, False]
    assert not free.covers(OMAR, 1)


def test_a_reading_of_the_free_storage_ages_however_often_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes store, too, while an account is busy here."""
    free, moment = FreeStorage(), 100.0
    monkeypatch.setattr("flowrunner.storage.usage.time.monotonic", lambda: moment)
    free.note(MARA, 1_000_000)

    answers = []
    for _ in range(16):
        answers.append(free.covers(MARA, 1))
        moment += 0.125

    assert answers == [True] * 9 + [False] * 7


@pytest.mark.only("postgres")
def test_a_statement_changes_the_stored_bytes_once_however_many_rows_it_has(path: str) -> None:
    """A transaction passes all versions of a row that it has made."""
    add_flows(path)

    async def changes(connection: "asyncpg.Connection[Any]") -> list[int]:
        found = []
        async with connection.transaction():
            for statement in (
                "INSERT INTO revisions (id, workspace_id, flow_id, number, version, size, created_at, definition)"
                f" SELECT 'r' || n, '{MARA}', 'flow-1', n, '1', 10, 0, 'x' FROM generate_series(1, 50) AS n",
                "DELETE FROM revisions",
                "UPDATE flows SET deleted_at = 1",
                "UPDATE flows SET updated_at = 1, name = name",
            ):
                await connection.execute(statement)
                changed = "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_xact_user_tables WHERE relname = 'usage'"
                found.append(int(await connection.fetchval(changed)))
        return found

    assert connected(path, changes) == [1, 2, 2, 2]
