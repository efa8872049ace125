"""Several processes on one PostgreSQL database: writers, ownership and notifications."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from flowrunner.domain.errors import Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.journal import Fenced
from flowrunner.storage.database import Overtaken
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres import notifications, ownership
from flowrunner.storage.postgres.connections import DRIVER_ERRORS, CannotConnect, PostgresConnection
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.ownership import SILENCE_SECONDS, PostgresOwnership, ownership_of
from flowrunner.storage.transaction import Transaction
from support.databases import add_flows, completion, contents_of, creation, open_database, rows_of
from support.postgres import query
from support.proxy import Proxy, SlowClose
from support.waiting import PATIENCE_SECONDS

from .tickets import INSERT, digests, insert

pytestmark = pytest.mark.only("postgres")


# One writer


async def test_writers_of_two_processes_take_turns(path: str) -> None:
    first, second = open_database(path), open_database(path)

    async def count_up(tx: Transaction) -> None:
        (epoch,) = await tx.row("SELECT epoch FROM engine") or (0,)
        await asyncio.sleep(0)
        await tx.run("UPDATE engine SET epoch = :epoch", {"epoch": epoch + 1})

    await asyncio.gather(*(database.write(count_up) for database in (first, second) * 20))
    await first.close()
    await second.close()

    assert rows_of(path, "SELECT epoch FROM engine") == [(40,)]


async def test_no_write_of_any_kind_counts_once_another_has_claimed(path: str) -> None:
    add_flows(path)
    loser, winner = open_database(path), open_database(path)
    old = await SqlJournal(loser).claim()
    await SqlJournal(loser).append(creation("e1", epoch=old))
    await SqlJournal(winner).claim()
    before = contents_of(path)

    for late in (
        SqlJournal(loser).append(completion("e1", epoch=old)),
        SqlJournal(loser).append(creation("e2", epoch=old)),
        insert(loser, "late"),
    ):
        with pytest.raises(Overtaken) as caught:
            await late
        # The owner of an execution lets it go; a client may send its request to the winner.
        assert isinstance(caught.value, Fenced)
        assert isinstance(caught.value, Unavailable)
    with pytest.raises(Unavailable):
        await loser.check_writable()
    await loser.close()
    await winner.close()

    assert contents_of(path) == before


async def test_appends_of_two_processes_do_not_wait_for_each_other(path: str) -> None:
    add_flows(path)
    database, other = open_database(path), await asyncpg.connect(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for id in ("ours", "theirs"):
        await journal.append(creation(id, epoch=epoch))
    try:
        async with other.transaction():
            await other.execute("SELECT flowrunner_lock_shared()")
            await other.execute("UPDATE executions SET size = size + 1 WHERE id = 'theirs'")
            await asyncio.wait_for(journal.append(completion("ours", epoch=epoch)), PATIENCE_SECONDS)
    finally:
        await other.close()
        await database.close()


async def test_no_operation_overtakes_an_earlier_one(path: str) -> None:
    """A step that is abandoned looks for the execution that it has just started."""
    add_flows(path)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(creation("parent", epoch=epoch))
    child = asyncio.ensure_future(journal.append(creation("child", epoch=epoch)))
    await journal.append(completion("parent", epoch=epoch))
    found = rows_of(path, "SELECT id FROM executions ORDER BY id")
    await child
    await database.close()

    assert found == [("child",), ("parent",)]


async def test_of_concurrent_appends_only_overtaken_ones_are_rejected(path: str) -> None:
    add_flows(path)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for id in ("a", "b", "c"):
        await journal.append(creation(id, epoch=epoch))
    await journal.acquire(ExecutionId("b"), epoch)

    outcomes = await asyncio.gather(
        *(journal.append(completion(id, epoch=epoch)) for id in ("a", "b", "c")), return_exceptions=True
    )
    await database.close()

    assert [type(outcome) for outcome in outcomes] == [type(None), Fenced, type(None)]
    assert rows_of(path, "SELECT execution_id, max(seq) FROM events GROUP BY 1 ORDER BY 1") == [
        ("a", 4),
        ("b", 2),
        ("c", 4),
    ]


async def test_nothing_is_acquired_under_an_epoch_that_ends_during_the_wait(path: str) -> None:
    add_flows(path)
    database, other = open_database(path), await asyncpg.connect(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    try:
        async with other.transaction():
            await other.execute("SELECT flowrunner_lock_exclusive()")
            owning = asyncio.ensure_future(journal.acquire(ExecutionId("e"), epoch))
            await _until_somebody_waits_for_a_lock(path)
            await other.execute("UPDATE engine SET epoch = epoch + 1")
            await other.execute("UPDATE executions SET epoch = epoch + 1")
        with pytest.raises(Fenced):
            await owning
    finally:
        await other.close()
        await database.close()

    assert rows_of(path, "SELECT epoch FROM executions") == [(epoch + 1,)]


async def _until_somebody_waits_for_a_lock(path: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while rows_of(path, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == []:  # noqa: ASYNC110 # it is the server who knows
            await asyncio.sleep(0.01)


async def test_a_standby_writes_nothing_until_it_has_claimed(path: str) -> None:
    database = PostgresDatabase(path, is_standby=True)
    try:
        with pytest.raises(Overtaken):
            await insert(database, "too early")
        await SqlJournal(database).claim()
        assert await insert(database, "now") == 1
    finally:
        await database.close()

    assert digests(path) == {"now"}


async def test_a_process_that_stalls_in_a_transaction_does_not_block_other_writers(path: str) -> None:
    stalled, other = open_database(path), open_database(path)
    has_begun, goes_on = asyncio.Event(), asyncio.Event()

    async def stall(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "stalled"})
        has_begun.set()
        await goes_on.wait()

    stalling = asyncio.ensure_future(stalled.write(stall))
    await has_begun.wait()

    assert await asyncio.wait_for(insert(other, "other"), 10) == 1
    goes_on.set()
    with pytest.raises(Unavailable):
        await stalling
    await stalled.close()
    await other.close()
    assert digests(path) == {"other"}


# Ownership


async def test_one_of_two_owns_a_database_until_it_releases_it(path: str) -> None:
    # It looks only once, because it would take the lock again.
    first = PostgresOwnership(path)
    await first.look()
    async with ownership_of(path) as second:
        assert (first.is_held, second.is_held) == (True, False)
        await first.close()
        await asyncio.wait_for(second.until(lambda: second.is_held), PATIENCE_SECONDS)


async def test_an_owner_that_hangs_loses_the_ownership_soon(path: str) -> None:
    hanging = PostgresOwnership(path)
    await hanging.look()
    assert hanging.is_held

    async with ownership_of(path) as other:
        assert not other.is_held
        # The first one does not look meanwhile, like a process that is suspended.
        await asyncio.wait_for(other.until(lambda: other.is_held), SILENCE_SECONDS + 2)
        await look_again(hanging)
        assert not hanging.is_held
    await hanging.close()


async def test_an_owner_whose_process_hung_says_that_its_session_has_ended(path: str) -> None:
    async with ownership_of(path) as hung:
        with capture_logs() as lines:
            await asyncio.sleep(0.1)
            # Like a machine that is suspended: the end of the session is seen just before the next look.
            time.sleep(SILENCE_SECONDS + 1)  # noqa: ASYNC251 # that is what is tested
            await asyncio.wait_for(hung.until(lambda: not hung.is_held), PATIENCE_SECONDS)
            await asyncio.wait_for(hung.until(lambda: hung.is_held), PATIENCE_SECONDS)
    (line,) = lines
    assert (line["event"], line["error"]) == ("ownership.check_failed", "The database has ended the session")


async def test_an_owner_that_loses_the_lock_again_and_again_may_be_silent_for_longer(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers that are too slow would take over from each other without end."""
    sessions = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"
    name = "flowrunner ownership"
    monkeypatch.setattr(ownership, "SILENCE_SECONDS", 0.5)
    slow = PostgresOwnership(path)
    await slow.look()
    for _ in range(3):
        query(path, f"SELECT pg_terminate_backend(pid, 60000) FROM ({sessions}) AS its", name)
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await slow.look()
        await look_again(slow)
    session = query(path, sessions, name)

    await asyncio.sleep(1)
    await slow.look()
    assert slow.is_held
    assert query(path, sessions, name) == session

    # Once it has kept the lock for long, the usual time is enough.
    monkeypatch.setattr(ownership, "_STEADY_SECONDS", 0.0)
    await slow.look()
    await asyncio.sleep(1)
    assert query(path, sessions, name) == []
    await slow.close()


async def test_those_that_share_a_database_are_never_beside_one_that_has_it_alone(path: str) -> None:
    one, two = PostgresOwnership(path, is_shared=True), PostgresOwnership(path, is_shared=True)
    await one.look()
    await two.look()
    async with ownership_of(path) as alone:
        assert (one.is_held, two.is_held, alone.is_held) == (True, True, False)
        await one.close()
        await two.close()
        await asyncio.wait_for(alone.until(lambda: alone.is_held), PATIENCE_SECONDS)
        async with ownership_of(path, is_shared=True) as late:
            assert not late.is_held


async def test_an_owner_that_comes_back_beside_others_that_share_notices(path: str) -> None:
    hanging, unlocked = PostgresOwnership(path), PostgresOwnership(path)
    await hanging.look()
    async with ownership_of(path, is_shared=True) as other:
        # Like a process that is suspended until others have taken over, and then continues.
        await asyncio.wait_for(other.until(lambda: other.is_held), SILENCE_SECONDS + 2)
        await look_again(hanging)

        assert (hanging.is_held, hanging.is_lost, other.is_lost) == (False, True, False)
    await hanging.close()

    # A lock of its own lost session belongs to no other process.
    await unlocked.look()
    async with ownership_of(path) as again:
        assert (again.is_held, again.is_lost) == (False, False)
    await unlocked.close()


async def test_a_session_that_ends_during_the_first_look_is_an_outage(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL may be killed at any moment while a server or a worker starts, which then tries again."""
    fetchval = PostgresConnection.fetchval

    async def after_its_end(connection: Any, statement: str, *arguments: object) -> object:
        if statement == ownership.HAS_EPOCH:
            end = "SELECT pg_terminate_backend($1, 60000)"
            await asyncio.to_thread(query, path, end, connection.get_server_pid())
            # The last words of the session have arrived, and its end has not.
            await asyncio.sleep(0.2)
        return await fetchval(connection, statement, *arguments)

    monkeypatch.setattr(PostgresConnection, "fetchval", after_its_end)
    with Proxy.before(path) as proxy, proxy.toxic(SlowClose(PATIENCE_SECONDS), "downstream"):
        with pytest.raises(CannotConnect):
            async with ownership_of(proxy.through(path)):
                pass


async def look_again(ownership: PostgresOwnership) -> None:
    """Look until that succeeds, as `keep` does: the session may have ended, and the driver not know it yet."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                return await ownership.look()
            except DRIVER_ERRORS:
                await asyncio.sleep(0.02)


# Notifications


async def test_other_processes_are_notified_of_new_events_once_they_are_durable(path: str) -> None:
    add_flows(path)
    received: list[str] = []
    is_listening, is_notified = asyncio.Event(), asyncio.Event()

    def mark_stale(id: str) -> None:
        received.append(id)
        is_notified.set()

    other, database = open_database(path), open_database(path)
    listening = asyncio.create_task(
        other.listen(name=lambda: "flowrunner", on_notification=mark_stale, on_gap=is_listening.set)
    )
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)

    await asyncio.gather(*(journal.append(creation(f"e{n}", epoch=epoch)) for n in range(250)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(set(received)) < 250:
            is_notified.clear()
            await is_notified.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()
    await other.close()

    assert set(received) == {f"e{n}" for n in range(250)}


async def test_a_process_ignores_its_own_notifications(path: str) -> None:
    add_flows(path)
    received: list[str] = []
    database, other = open_database(path), open_database(path)
    is_listening, is_other_received = asyncio.Event(), asyncio.Event()

    def mark_stale(id: str) -> None:
        received.append(id)
        is_other_received.set()

    listening = asyncio.create_task(
        database.listen(name=lambda: "flowrunner", on_notification=mark_stale, on_gap=is_listening.set)
    )
    await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
    journal = SqlJournal(database)
    await journal.append(creation("own", epoch=await journal.claim()))
    SqlJournal(other).announce(ExecutionId("other"))
    await asyncio.wait_for(is_other_received.wait(), PATIENCE_SECONDS)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()
    await other.close()

    assert received == ["other"]


async def test_notifications_that_fail_are_sent_later(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_RETRY_SECONDS", 0.01)
    database, other = open_database(path), open_database(path)
    assert isinstance(database, PostgresDatabase)
    reader, failures = database._notifications._connection, 0

    @contextlib.asynccontextmanager
    async def fails_twice() -> AsyncIterator[Any]:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise OSError("planted")
        async with reader() as connection:
            yield connection

    monkeypatch.setattr(database._notifications, "_connection", fails_twice)
    is_listening, is_notified = asyncio.Event(), asyncio.Event()
    received: set[str] = set()

    def mark_stale(id: str) -> None:
        received.add(id)
        if received == {"e1", "e2"}:
            is_notified.set()

    listening = asyncio.create_task(
        other.listen(name=lambda: "flowrunner", on_notification=mark_stale, on_gap=is_listening.set)
    )
    await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
    database.notify(["e1"])
    await asyncio.sleep(0)
    database.notify(["e2"])

    await asyncio.wait_for(is_notified.wait(), PATIENCE_SECONDS)
    assert failures == 2
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()
    await other.close()
