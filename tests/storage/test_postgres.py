"""What is about PostgreSQL alone: its failures, its settings, and several processes on one database."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from flowrunner.domain.errors import Conflict, Unavailable
from flowrunner.domain.values import ExecutionId
from flowrunner.ports import Fenced
from flowrunner.storage.database import Call, Overtaken
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.migrations import HEAD, SchemaTooNew, UnusableDatabase
from flowrunner.storage.postgres.connections import CannotConnect, UnfitServer, check_server
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.migrations import migrate_postgres, script
from flowrunner.storage.postgres.ownership import SILENCE_SECONDS, Ownership, ownership_of
from flowrunner.storage.transaction import Refused, Transaction
from support.databases import (
    add_flows,
    change,
    completion,
    contents_of,
    creation,
    new_postgres_database,
    open_database,
    rows_of,
)
from support.networks import unused_port
from support.postgres import PostgresServer, connected, query

pytestmark = pytest.mark.only("postgres")
INSERT = "INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, 's', 0)"


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    server = PostgresServer({"fsync": "off"})
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
async def fragile(own_server: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    """A database on that server."""
    database = open_database(new_postgres_database(own_server))
    assert isinstance(database, PostgresDatabase)
    yield database
    await database.close()


def insert(database: Any, digest: str) -> "asyncio.Task[int]":
    return asyncio.ensure_future(database.write(lambda tx: tx.run(INSERT, {"digest": digest})))


def digests(url: str) -> set[str]:
    return {row[0] for row in rows_of(url, "SELECT digest FROM tickets")}


async def eventually(work: Any, *, seconds: float = 5.0) -> Any:
    """What the work gives once it does not raise `Unavailable` any more."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await work()
            except Unavailable:
                await asyncio.sleep(0.02)


# Writing


async def test_what_gathers_during_a_commit_shares_the_next(path: str) -> None:
    sizes: list[int] = []
    database = open_database(path, on_commit=sizes.append)
    entered, released = asyncio.Event(), asyncio.Event()

    async def hold(tx: Transaction) -> None:
        entered.set()
        await released.wait()

    holding = asyncio.ensure_future(database.write(hold))
    await entered.wait()
    writes = [insert(database, str(n)) for n in range(50)]
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(holding, *writes)
    await database.close()

    assert sizes == [1, 50]
    assert digests(path) == {str(n) for n in range(50)}


async def test_a_failing_write_leaves_its_neighbours_alone(database: PostgresDatabase, path: str) -> None:
    async def fail_after_writing(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "undone"})
        raise Conflict("no")

    async def break_a_rule(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "before"})

    results = await asyncio.gather(
        insert(database, "before"),
        database.write(fail_after_writing),
        database.write(break_a_rule),
        insert(database, "after"),
        return_exceptions=True,
    )

    assert [type(result).__name__ for result in results] == ["int", "Conflict", "Refused", "int"]
    assert digests(path) == {"before", "after"}


async def test_a_write_that_fails_by_itself_is_undone_and_the_next_one_is_done(
    database: PostgresDatabase, path: str
) -> None:
    async def fail_after_writing(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "undone"})
        raise Conflict("no")

    with pytest.raises(Conflict):
        await database.write(fail_after_writing)
    await insert(database, "kept")
    with pytest.raises(Refused):
        await insert(database, "kept")
    await insert(database, "kept, too")

    assert digests(path) == {"kept", "kept, too"}


async def test_a_reader_cannot_write(database: PostgresDatabase, path: str) -> None:
    with pytest.raises(Unavailable):
        await database.read(lambda tx: tx.run(INSERT, {"digest": "a"}))

    assert digests(path) == set()


async def test_what_was_submitted_before_the_end_is_still_committed(path: str) -> None:
    database = open_database(path)
    writes = [insert(database, str(n)) for n in range(2500)]
    await asyncio.sleep(0)

    await database.close()

    assert len(digests(path)) == 2500
    assert await asyncio.gather(*writes) == [1] * 2500
    with pytest.raises(Unavailable):
        await insert(database, "late")


async def test_a_writer_that_gave_up_waiting_does_not_disturb_the_others(database: PostgresDatabase) -> None:
    impatient, patient = insert(database, "impatient"), insert(database, "patient")
    await asyncio.sleep(0)
    impatient.cancel()

    assert await patient == 1


async def test_a_statement_that_takes_too_long_is_given_up(path: str) -> None:
    database = PostgresDatabase(path, statement_seconds=0.2)
    try:
        for how in (database.read, database.write):
            with pytest.raises(Unavailable):
                await how(lambda tx: tx.row("SELECT pg_sleep(30)"))
        assert await insert(database, "after") == 1
    finally:
        await database.close()


async def test_more_readers_than_connections_wait_for_one(path: str) -> None:
    database = PostgresDatabase(path, readers=2)
    try:
        rows = await asyncio.gather(*(database.read(lambda tx: tx.row("SELECT 1")) for _ in range(50)))
        counts = rows_of(path, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flowrunner'")
    finally:
        await database.close()

    assert rows == [(1,)] * 50
    assert counts[0][0] <= 4, "two that read, and what other tests have left"


# The server goes away


async def test_a_killed_server_is_unavailable_and_then_used_again(
    own_server: PostgresServer, fragile: PostgresDatabase
) -> None:
    await insert(fragile, "before")
    await fragile.read(lambda tx: tx.row("SELECT 1"))
    own_server.kill()

    with pytest.raises(Unavailable):
        await insert(fragile, "meanwhile")
    with pytest.raises(Unavailable):
        await fragile.check_readable()
    with pytest.raises(Unavailable):
        await fragile.check_writable()
    await asyncio.to_thread(own_server.start)

    assert await eventually(lambda: insert(fragile, "after")) == 1
    assert await eventually(lambda: fragile.read(lambda tx: tx.row("SELECT count(*) FROM tickets"))) == (2,)
    await eventually(fragile.check_writable)


async def test_nothing_waits_for_ever_for_a_server_that_hangs(own_server: PostgresServer) -> None:
    database = PostgresDatabase(new_postgres_database(own_server), statement_seconds=0.3)
    await insert(database, "before")
    own_server.pause()
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(insert(database, "meanwhile"), 15)
    finally:
        own_server.resume()

    assert await eventually(lambda: insert(database, "after")) == 1
    await database.close()


async def test_sessions_that_the_server_ends_are_made_anew(database: PostgresDatabase, path: str) -> None:
    await insert(database, "before")
    query(path, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()")  # fmt: skip

    assert await eventually(lambda: insert(database, "after")) == 1
    assert digests(path) == {"before", "after"}


# One writer


async def test_writers_of_two_processes_come_one_after_the_other(path: str) -> None:
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
        with pytest.raises(Overtaken):
            await late
    with pytest.raises(Unavailable):
        await loser.check_writable()
    await loser.close()
    await winner.close()

    assert contents_of(path) == before


async def test_what_two_processes_record_on_the_way_waits_for_neither(path: str) -> None:
    add_flows(path)
    database, other = open_database(path), await asyncpg.connect(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for id in ("ours", "theirs"):
        await journal.append(creation(id, epoch=epoch))
    try:
        async with other.transaction():
            await other.execute("SELECT flowrunner_write_beside_others()")
            await other.execute("UPDATE executions SET size = size + 1 WHERE id = 'theirs'")
            await asyncio.wait_for(journal.append(completion("ours", epoch=epoch)), 5)
    finally:
        await other.close()
        await database.close()


async def test_nothing_gets_ahead_of_what_was_written_before_it(path: str) -> None:
    """A step that is given up looks for the execution that it has just started."""
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


async def test_of_what_is_recorded_at_once_only_what_is_overtaken_is_left_out(path: str) -> None:
    add_flows(path)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for id in ("a", "b", "c"):
        await journal.append(creation(id, epoch=epoch))
    await journal.own(ExecutionId("b"), epoch)

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


async def test_no_append_reads_a_whole_table_however_small(path: str) -> None:
    """Its plan is kept while the table grows."""
    add_flows(path)
    database = open_database(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    for number in range(20):
        if number == 10:
            # Plans are made anew after this.
            change(path, "ANALYZE")
        id = ExecutionId(f"e{number}")
        await journal.append(creation(id, epoch=epoch))
        mark = await journal.own(id, epoch)
        await journal.load(id)
        await journal.append(completion(id, epoch=mark))
    await database.close()

    statement = "SELECT relname, n_tup_ins, seq_scan FROM pg_stat_user_tables WHERE relname IN ('executions', 'events')"
    found: dict[str, tuple[int, int]] = {}
    async with asyncio.timeout(10):
        while [added for added, _ in found.values()] != [80, 20]:
            # The server counts in its own time.
            await asyncio.sleep(0.05)
            found = {name: (added, scans) for name, added, scans in sorted(rows_of(path, statement))}
    assert [scans for _, scans in found.values()] == [0, 0]


async def test_what_cannot_be_done_at_once_is_done_by_itself(path: str) -> None:
    async def fail(tx: Transaction, works: Sequence[Call[int]]) -> Sequence[Call[int]]:
        raise ValueError("there is something wrong with one of them")

    database = PostgresDatabase(path, at_once={Call: fail})
    try:
        done = await asyncio.gather(insert(database, "a"), insert(database, "b"))
    finally:
        await database.close()

    assert done == [1, 1]
    assert digests(path) >= {"a", "b"}


async def test_nothing_is_owned_under_an_epoch_that_ends_while_one_waits_to_own_it(path: str) -> None:
    add_flows(path)
    database, other = open_database(path), await asyncpg.connect(path)
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(creation("e", epoch=epoch))
    try:
        async with other.transaction():
            await other.execute("SELECT flowrunner_write_alone()")
            owning = asyncio.ensure_future(journal.own(ExecutionId("e"), epoch))
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
    async with asyncio.timeout(5):
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


async def test_who_stalls_in_a_transaction_does_not_keep_others_from_writing(path: str) -> None:
    stalled, other = open_database(path), open_database(path)

    async def stall(tx: Transaction) -> None:
        await tx.run(INSERT, {"digest": "stalled"})
        await asyncio.sleep(4)

    stalling = asyncio.ensure_future(stalled.write(stall))
    await asyncio.sleep(0.1)

    assert await asyncio.wait_for(insert(other, "other"), 10) == 1
    with pytest.raises(Unavailable):
        await stalling
    await stalled.close()
    await other.close()
    assert digests(path) == {"other"}


# Ownership


async def test_one_of_two_owns_a_database_until_it_lets_go(path: str) -> None:
    # Looks but once: it would take the lock again.
    first = Ownership(path)
    await first.look()
    async with ownership_of(path) as second:
        assert (first.is_held, second.is_held) == (True, False)
        await first.close()
        await asyncio.wait_for(second.until(lambda: second.is_held), 5)


async def test_an_owner_that_hangs_is_not_one_for_long(path: str) -> None:
    hanging = Ownership(path)
    await hanging.look()
    assert hanging.is_held

    async with ownership_of(path) as other:
        assert not other.is_held
        # Nobody looks for the first one meanwhile, as in a process that is stopped.
        await asyncio.wait_for(other.until(lambda: other.is_held), SILENCE_SECONDS + 2)
        await eventually(hanging.look)
        assert not hanging.is_held
    await hanging.close()


async def test_those_that_share_a_database_are_never_beside_one_that_has_it_alone(path: str) -> None:
    one, two = Ownership(path, is_shared=True), Ownership(path, is_shared=True)
    await one.look()
    await two.look()
    async with ownership_of(path) as alone:
        assert (one.is_held, two.is_held, alone.is_held) == (True, True, False)
        await one.close()
        await two.close()
        await asyncio.wait_for(alone.until(lambda: alone.is_held), 5)
        async with ownership_of(path, is_shared=True) as late:
            assert not late.is_held


async def test_an_owner_comes_back_after_a_restart_of_the_server(own_server: PostgresServer) -> None:
    async with ownership_of(new_postgres_database(own_server)) as ownership:
        own_server.kill()
        await asyncio.wait_for(ownership.until(lambda: not ownership.is_held), 5)
        await asyncio.to_thread(own_server.start)

        await asyncio.wait_for(ownership.until(lambda: ownership.is_held), 5)


async def test_who_is_not_let_in_for_a_while_goes_on_after_that(postgres: PostgresServer, path: str) -> None:
    """Somebody gives the role another password, say, or edits pg_hba.conf."""
    role = f"app_{uuid4().hex}"
    query(path, f"CREATE ROLE {role} LOGIN SUPERUSER")
    url = path.replace(path[path.index("//") + 2 : path.index("@")], role)
    database = open_database(url)
    is_listening = asyncio.Event()
    listening = asyncio.create_task(
        database.listen(name=lambda: "flowrunner", on_news=lambda execution_id: None, on_gap=is_listening.set)
    )
    async with ownership_of(url) as ownership:
        await asyncio.wait_for(is_listening.wait(), 5)
        query(path, f"ALTER ROLE {role} NOLOGIN")
        query(path, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
        await asyncio.wait_for(ownership.until(lambda: not ownership.is_held), 5)
        with pytest.raises(Unavailable):
            await database.read(lambda tx: tx.row("SELECT 1"))
        with pytest.raises(UnfitServer, match="not permitted to log in"):
            await check_server(url)
        # They have tried by then.
        await asyncio.wait((listening,), timeout=3)
        is_listening.clear()
        query(path, f"ALTER ROLE {role} LOGIN")

        await asyncio.wait_for(ownership.until(lambda: ownership.is_held), 5)
        await asyncio.wait_for(is_listening.wait(), 5)
        assert await database.read(lambda tx: tx.row("SELECT 1")) == (1,)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()


# News


async def test_other_processes_hear_of_new_events_once_they_are_durable(path: str) -> None:
    add_flows(path)
    heard: list[str] = []
    is_listening, has_news = asyncio.Event(), asyncio.Event()

    def hear(id: str) -> None:
        heard.append(id)
        has_news.set()

    other, database = open_database(path), open_database(path)
    listening = asyncio.create_task(other.listen(name=lambda: "flowrunner", on_news=hear, on_gap=is_listening.set))
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await asyncio.wait_for(is_listening.wait(), 5)

    await asyncio.gather(*(journal.append(creation(f"e{n}", epoch=epoch)) for n in range(250)))
    async with asyncio.timeout(5):
        while len(set(heard)) < 250:
            has_news.clear()
            await has_news.wait()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()
    await other.close()

    assert set(heard) == {f"e{n}" for n in range(250)}


async def test_a_process_does_not_hear_what_it_has_said_itself(path: str) -> None:
    add_flows(path)
    heard: list[str] = []
    database, other = open_database(path), open_database(path)
    is_listening, hears_other = asyncio.Event(), asyncio.Event()

    def hear(id: str) -> None:
        heard.append(id)
        hears_other.set()

    listening = asyncio.create_task(database.listen(name=lambda: "flowrunner", on_news=hear, on_gap=is_listening.set))
    await asyncio.wait_for(is_listening.wait(), 5)
    journal = SqlJournal(database)
    await journal.append(creation("own", epoch=await journal.claim()))
    SqlJournal(other).announce(ExecutionId("other"))
    await asyncio.wait_for(hears_other.wait(), 5)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()
    await other.close()

    assert heard == ["other"]


# Servers that will not do


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_a_server_that_does_not_keep_what_it_has_written_is_refused(path: str, setting: str) -> None:
    async def check() -> None:
        await check_server(server.url())

    server = PostgresServer({setting: "off"})
    try:
        server.start()
        with pytest.raises(UnfitServer, match=f"{setting}=off"):
            asyncio.run(check())
    finally:
        server.stop()


def test_a_server_that_may_write_half_a_page_is_warned_of() -> None:
    server = PostgresServer({"full_page_writes": "off"})
    try:
        server.start()
        (warning,) = asyncio.run(check_server(server.url()))
    finally:
        server.stop()

    assert "full_page_writes=off" in warning


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    url = f"postgresql://flowrunner:a-very-secret-word@127.0.0.1:{unused_port()}/x"

    for attempt in (check_server(url), migrate_postgres(url)):
        with pytest.raises(CannotConnect, match="Cannot connect") as caught:
            await attempt
        assert "a-very-secret-word" not in str(caught.value)


async def test_what_a_role_lacks_is_told_with_what_gives_it(path: str, postgres: PostgresServer) -> None:
    query(path, "DROP ROLE IF EXISTS stranger")
    query(path, "CREATE ROLE stranger LOGIN")
    of_others, empty = (
        url.replace("//flowrunner@", "//stranger@") for url in (path, postgres.new_database("template0"))
    )

    with pytest.raises(UnfitServer, match=r"permission denied.*has to own the database"):
        async with ownership_of(of_others):
            pass
    with pytest.raises(UnusableDatabase, match=r"permission denied.*has to own the database"):
        await migrate_postgres(empty)
    with pytest.raises(UnfitServer, match=r"does not exist; make it: createdb"):
        await check_server(postgres.url("none"))


# Migrations


async def test_a_new_database_gets_the_newest_schema_once(postgres: PostgresServer) -> None:
    url = postgres.new_database()

    await asyncio.gather(*(migrate_postgres(url) for _ in range(3)))
    change(url, "UPDATE engine SET epoch = 7")
    before = contents_of(url)
    await migrate_postgres(url)

    assert rows_of(url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert contents_of(url) == before


async def test_a_database_of_a_later_version_is_refused_and_left_as_it_is(path: str) -> None:
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    before = contents_of(path)

    with pytest.raises(SchemaTooNew, match="9999"):
        await migrate_postgres(path)

    assert contents_of(path) == before


async def test_a_migration_that_fails_at_any_place_leaves_nothing_behind(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    statements = script(None).split("\nCREATE ")

    for n in range(1, len(statements)):
        broken = "\nCREATE ".join([*statements[:n], "NONSENSE", *statements[n:]])
        with pytest.raises(asyncpg.PostgresError):
            connected(url, lambda connection, broken=broken: connection.execute(broken))
        tables = rows_of(url, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")
        assert tables == [(0,)], f"before statement {n}"

    assert len(statements) > 40
    await migrate_postgres(url)


async def test_a_database_that_holds_something_else_is_left_alone(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    change(url, "CREATE TABLE flows (mine text)")

    with pytest.raises(UnusableDatabase, match="flows"):
        await migrate_postgres(url)

    assert rows_of(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'") == [
        ("flows",)
    ]
