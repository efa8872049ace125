"""A PostgreSQL server that dies, hangs, or rejects logins, and recovers."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from flowrunner.domain.errors import Unavailable
from flowrunner.storage.postgres.connections import UnfitServer, as_unavailable
from flowrunner.storage.postgres.database import PostgresDatabase
from flowrunner.storage.postgres.ownership import ownership_of
from flowrunner.storage.postgres.server_check import check_server
from flowrunner.storage.transaction import Transaction
from support.databases import new_postgres_database, open_database
from support.postgres import PostgresServer, query
from support.proxy import Down, Proxy, Timeout
from support.waiting import PATIENCE_SECONDS, eventually

from .tickets import digests, insert

pytestmark = pytest.mark.only("postgres")


@pytest.fixture
async def fragile(own_server: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    """Open a database on that server."""
    database = open_database(new_postgres_database(own_server))
    assert isinstance(database, PostgresDatabase)
    yield database
    await database.close()


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


async def test_an_outage_is_not_logged_for_each_read_and_write(
    own_server: PostgresServer, fragile: PostgresDatabase
) -> None:
    await insert(fragile, "before")
    own_server.kill()

    with capture_logs() as lines:
        for _ in range(10):
            with pytest.raises(Unavailable):
                await fragile.read(lambda tx: tx.row("SELECT 1"))
            with pytest.raises(Unavailable):
                await insert(fragile, "meanwhile")

    for event in ("storage.read_failed", "storage.commit_failed"):
        errors = [line["error"] for line in lines if line["event"] == event]
        assert errors
        assert len(errors) == len(set(errors))


async def test_a_reader_that_is_cancelled_after_its_connection_was_lost_ends(
    own_server: PostgresServer, fragile: PostgresDatabase
) -> None:
    is_lost = asyncio.Event()

    async def lose_it(tx: Transaction) -> None:
        await asyncio.to_thread(own_server.kill)
        # In the words of the driver, which speaks of its own states if the connection is lost at the very moment.
        with pytest.raises(Exception, match=r"connection|another operation"):
            await tx.row("SELECT 1")
        is_lost.set()
        await asyncio.Event().wait()

    reading = asyncio.create_task(fragile.read(lose_it))
    await is_lost.wait()
    reading.cancel()
    await asyncio.wait([reading])

    assert reading.cancelled()


async def test_nothing_waits_indefinitely_for_a_server_that_hangs(own_server: PostgresServer) -> None:
    database = PostgresDatabase(new_postgres_database(own_server), statement_seconds=0.3)
    await insert(database, "before")
    own_server.pause()
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(insert(database, "meanwhile"), PATIENCE_SECONDS)
    finally:
        own_server.resume()

    assert await eventually(lambda: insert(database, "after")) == 1
    await database.close()


async def test_the_log_says_where_to_look_when_another_session_keeps_a_table_locked(
    own_server: PostgresServer,
) -> None:
    url = new_postgres_database(own_server)
    database = PostgresDatabase(url, statement_seconds=0.3)
    await insert(database, "before")
    other = await asyncpg.connect(url)
    with capture_logs() as lines:
        async with other.transaction():
            await other.execute("LOCK TABLE tickets IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable):
                await insert(database, "meanwhile")
            with pytest.raises(Unavailable):
                await database.read(lambda tx: tx.row("SELECT count(*) FROM tickets"))

    assert {line["event"] for line in lines if "pg_blocking_pids" in line.get("hint", "")} == {
        "storage.commit_failed", "storage.read_failed",
    }  # fmt: skip
    assert await eventually(lambda: insert(database, "after")) == 1
    await other.close()
    await database.close()


class Lost:
    """A connection that the server ends while it is being closed."""

    def is_closed(self) -> bool:
        return False

    async def execute(self, statement: str, **more: object) -> str:
        raise ConnectionResetError("Connection lost")

    async def close(self, **options: float) -> None:
        raise asyncpg.InternalClientError("not connected")

    def terminate(self) -> None: ...


async def test_writing_goes_on_after_a_connection_that_cannot_be_closed(database: PostgresDatabase, path: str) -> None:
    await insert(database, "before")
    writer, database._writer = database._writer, Lost()
    try:
        with pytest.raises(Unavailable):
            await asyncio.wait_for(insert(database, "meanwhile"), PATIENCE_SECONDS)

        assert await asyncio.wait_for(insert(database, "after"), PATIENCE_SECONDS) == 1
    finally:
        writer.terminate()
    assert digests(path) == {"before", "after"}


async def test_sessions_that_the_server_ends_are_reopened(database: PostgresDatabase, path: str) -> None:
    await insert(database, "before")
    query(path, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()")  # fmt: skip

    assert await eventually(lambda: insert(database, "after")) == 1
    assert digests(path) == {"before", "after"}


async def test_an_owner_comes_back_after_a_restart_of_the_server(own_server: PostgresServer) -> None:
    async with ownership_of(new_postgres_database(own_server)) as ownership:
        own_server.kill()
        await asyncio.wait_for(ownership.until(lambda: not ownership.is_held), PATIENCE_SECONDS)
        await asyncio.to_thread(own_server.start)

        await asyncio.wait_for(ownership.until(lambda: ownership.is_held), PATIENCE_SECONDS)


async def test_an_owner_whose_connection_is_cut_requests_the_lock_again(path: str) -> None:
    with Proxy.before(path) as proxy:
        async with ownership_of(proxy.through(path)) as ownership:
            async with ownership_of(path) as other:
                assert (ownership.is_held, other.is_held) == (True, False)
                with proxy.toxic(Down()):
                    await asyncio.wait_for(ownership.until(lambda: not ownership.is_held), PATIENCE_SECONDS)
                    await asyncio.wait_for(other.until(lambda: other.is_held), PATIENCE_SECONDS)

            await asyncio.wait_for(ownership.until(lambda: ownership.is_held), PATIENCE_SECONDS)


async def test_an_owner_that_gets_no_answer_gives_the_lock_up_before_another_has_it(path: str) -> None:
    with Proxy.before(path) as proxy:
        async with ownership_of(proxy.through(path)) as ownership, ownership_of(path) as other:
            with proxy.toxic(Timeout()):
                was_held_by_both = False

                def is_taken() -> bool:
                    nonlocal was_held_by_both
                    was_held_by_both |= ownership.is_held and other.is_held
                    return other.is_held

                await asyncio.wait_for(other.until(is_taken), PATIENCE_SECONDS)

            assert not was_held_by_both


async def test_checks_of_the_lock_go_on_after_an_error_of_any_kind(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ownership_of(path) as owner:
        with monkeypatch.context() as broken:
            # The driver raises an error that is neither one of the server nor of the connection.
            broken.setattr("flowrunner.storage.postgres.ownership.HAS_EPOCH", 0)
            await asyncio.wait_for(owner.until(lambda: not owner.is_held), PATIENCE_SECONDS)

        await asyncio.wait_for(owner.until(lambda: owner.is_held), PATIENCE_SECONDS)


async def test_a_process_whose_login_is_rejected_for_a_while_recovers(postgres: PostgresServer, path: str) -> None:
    """For example while an operator changes the password or edits pg_hba.conf."""
    role = f"app_{uuid4().hex}"
    query(path, f"CREATE ROLE {role} LOGIN SUPERUSER")
    url = path.replace(path[path.index("//") + 2 : path.index("@")], role)
    database = open_database(url)
    is_listening = asyncio.Event()
    listening = asyncio.create_task(
        database.listen(name=lambda: "flowrunner", on_notification=lambda execution_id: None, on_gap=is_listening.set)
    )
    async with ownership_of(url) as ownership:
        await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
        query(path, f"ALTER ROLE {role} NOLOGIN")
        query(path, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
        await asyncio.wait_for(ownership.until(lambda: not ownership.is_held), PATIENCE_SECONDS)
        with pytest.raises(Unavailable):
            await database.read(lambda tx: tx.row("SELECT 1"))
        with pytest.raises(UnfitServer, match="not permitted to log in"):
            await check_server(url)
        # By then both have tried.
        done, _ = await asyncio.wait((listening,), timeout=3)
        assert not done
        is_listening.clear()
        query(path, f"ALTER ROLE {role} LOGIN")

        await asyncio.wait_for(ownership.until(lambda: ownership.is_held), PATIENCE_SECONDS)
        await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
        assert await database.read(lambda tx: tx.row("SELECT 1")) == (1,)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await database.close()


@pytest.mark.parametrize(
    "error",
    [
        # A primary that has become a replica.
        asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT in a read-only transaction"),
        asyncpg.IdleInTransactionSessionTimeoutError("terminating connection due to idle-in-transaction timeout"),
        asyncpg.DiskFullError("could not extend file"),
        asyncpg.InvalidPasswordError("password authentication failed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_operator_has_to_end_is_an_outage(error: Exception) -> None:
    assert isinstance(as_unavailable(error), Unavailable)
