"""Rejection of unsuitable PostgreSQL servers and roles, with advice."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from flowrunner.bootstrap.doctor import examine
from flowrunner.bootstrap.maintenance import migrate
from flowrunner.bootstrap.ownership import owning
from flowrunner.domain.errors import Unavailable
from flowrunner.settings import load_settings
from flowrunner.storage.migrations import HEAD, UnusableDatabase
from flowrunner.storage.pause import SqlPause
from flowrunner.storage.postgres.connections import CannotConnect, UnfitServer, connected
from flowrunner.storage.postgres.migrations import migrate_postgres
from flowrunner.storage.postgres.ownership import PostgresOwnership, ownership_of
from flowrunner.storage.postgres.server_check import check_server
from flowrunner.storage.transaction import one_row
from support.databases import open_database
from support.networks import unused_port
from support.postgres import PostgresServer, query
from support.proxy import Latency, Proxy
from support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.only("postgres")

END_OWNERSHIP = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'flowrunner ownership' AND datname = current_database()
"""


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit"])
def test_a_server_that_is_not_durable_is_rejected(path: str, setting: str) -> None:
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


def test_fewer_connections_than_a_server_uses_are_told_with_the_setting_that_helps() -> None:
    server = PostgresServer().start()
    try:
        query(server.url(), "CREATE ROLE limited LOGIN CONNECTION LIMIT 6")
        url = server.url().replace("//flowrunner@", "//limited@")

        assert asyncio.run(check_server(url, readers=2)) == []
        (warning,) = asyncio.run(check_server(url, readers=10))
        assert "6 connections, and this server uses up to 14" in warning
        assert warning.endswith("set FLOWRUNNER_DATABASE_READERS to 2 or less")
    finally:
        server.stop()


async def test_four_connections_are_enough_to_migrate_and_not_for_a_server(tmp_path: Path) -> None:
    server = PostgresServer().start()
    try:
        query(server.url(), "CREATE ROLE limited LOGIN CONNECTION LIMIT 4")
        query(server.url(), "CREATE DATABASE flows OWNER limited TEMPLATE template0")
        url = server.url("flows").replace("//flowrunner@", "//limited@")
        settings = load_settings({"data_dir": str(tmp_path), "port": "0"}, {"FLOWRUNNER_DATABASE_URL": url})

        assert await migrate(settings) == (None, HEAD)
        with pytest.raises(UnfitServer, match=r"only 4 connections, and a server needs 5: ALTER ROLE"):
            async with owning(settings):
                pass
        found = {finding.check: finding for finding in await examine(settings)}
        assert "a server needs 5" in found["database"].message
    finally:
        server.stop()


async def test_connections_that_the_server_reserves_for_others_are_not_counted(postgres: PostgresServer) -> None:
    if version_of(postgres) < 16:
        pytest.skip("PostgreSQL 16 has this setting")
    server = PostgresServer({"reserved_connections": "90"}).start()
    try:
        # Three of the hundred are for superusers.
        (warning,) = await check_server(server.url(), readers=10)
    finally:
        server.stop()

    assert warning.startswith("The role may have 7 connections")


async def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    url = f"postgresql://flowrunner:a-very-secret-word@127.0.0.1:{unused_port()}/x"

    for attempt in (check_server(url), migrate_postgres(url)):
        with pytest.raises(CannotConnect, match="Cannot connect") as caught:
            await attempt
        assert "a-very-secret-word" not in str(caught.value)


async def test_a_missing_permission_is_reported_with_the_command_that_grants_it(
    path: str, postgres: PostgresServer
) -> None:
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
    query(path, f"REVOKE CONNECT ON DATABASE {urlsplit(empty).path[1:]} FROM PUBLIC")
    with pytest.raises(UnfitServer, match=r"User does not have CONNECT privilege; the role has to own") as refused:
        await check_server(empty)
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(UnfitServer, match=r"does not exist; create it: createdb"):
        await check_server(postgres.url("none"))
    with pytest.raises(UnfitServer, match=r"does not exist; create the role"):
        await check_server(path.replace("//flowrunner@", "//nobody_knows@"))


@pytest.mark.parametrize(
    ("setting", "kind", "reason"),
    [
        ("default_transaction_read_only = on", CannotConnect, r"accepts no writes.*make room"),
        ("search_path = nowhere", UnfitServer, r"no schema of the search path \(nowhere\)"),
    ],
)
async def test_a_setting_of_the_role_that_keeps_it_from_writing_is_named(
    path: str, setting: str, kind: type[Exception], reason: str
) -> None:
    url = as_role_with(path, setting)

    with pytest.raises(kind, match=reason):
        await check_server(url)


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "default_transaction_isolation = 'serializable'",
        "lock_timeout = '5ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "transaction_timeout = '100ms'",
    ],
)
async def test_a_setting_of_the_role_that_statements_do_not_expect_does_not_reach_them(
    postgres: PostgresServer, setting: str
) -> None:
    if setting.startswith("transaction_timeout") and version_of(postgres) < 17:
        pytest.skip("PostgreSQL 17 has this setting")
    url = as_role_with(postgres.new_database("template0"), setting)

    await migrate_postgres(url)

    database = open_database(url)
    try:
        names = ("transaction_isolation", "standard_conforming_strings", "lock_timeout")
        settings = ", ".join(f"current_setting('{name}')" for name in names)
        found = await database.write(lambda tx: one_row(tx, f"SELECT {settings}, pg_sleep(0.2)"))
        await database.read(lambda tx: one_row(tx, "SELECT pg_sleep(0.2)"))
    finally:
        await database.close()
    assert tuple(found)[:3] == ("read committed", "on", "0")


async def test_a_database_that_has_become_read_only_cannot_be_written_although_transactions_begin(path: str) -> None:
    url = as_role_with(path, "lock_timeout = 0")
    database = open_database(url)
    try:
        await database.check_writable()
        query(path, f"ALTER ROLE {url.partition('//')[2].partition('@')[0]} SET default_transaction_read_only = on")
        await database._drop_writer()
        database._writability._last_commit = (0.0, False)

        with pytest.raises(Unavailable, match="accepts no writes"):
            await database.check_writable()
        # The transaction itself was committed, without the check.
        with pytest.raises(Unavailable):
            await database.check_writable()
    finally:
        await database.close()


async def test_a_lock_that_gives_way_to_those_who_wait_leaves_a_database_writable(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.storage.postgres.database.LOCK_SECONDS", PATIENCE_SECONDS)
    database, other = open_database(path), await asyncpg.connect(path)
    try:
        await SqlPause(database).set(None)
        database._writability._last_commit = (0.0, False)
        async with other.transaction(), asyncio.timeout(PATIENCE_SECONDS):
            # As autovacuum does to truncate the table.
            await other.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
            check = asyncio.create_task(database.check_writable())
            waits = "SELECT 1 FROM pg_locks WHERE relation = 'events'::regclass AND NOT granted"
            while not check.done() and not await other.fetchval(waits):
                pass

        await check
    finally:
        await other.close()
        await database.close()


@pytest.mark.parametrize("table", ["events", "executions"])
async def test_a_database_whose_executions_are_locked_cannot_be_written_whatever_else_is(path: str, table: str) -> None:
    database, other = open_database(path), await asyncpg.connect(path)
    try:
        await database.check_writable()
        database._writability._last_commit = (0.0, False)
        async with other.transaction():
            await other.execute(f"LOCK TABLE {table} IN SHARE MODE")
            await SqlPause(database).set(None)
            with pytest.raises(Unavailable, match="keeps the table of executions or events locked"):
                await database.check_writable()
            # As far as nothing in it is about executions.
            await SqlPause(database).set(None)
            with pytest.raises(Unavailable):
                await database.check_writable()

        database._writability._last_commit = (0.0, False)
        await database.check_writable()
    finally:
        await other.close()
        await database.close()


def version_of(server: PostgresServer) -> int:
    return int(query(server.url(), "SELECT current_setting('server_version_num')")[0][0]) // 10000


def as_role_with(path: str, setting: str) -> str:
    """Return the URL of the database for a role of its own that has the setting."""
    role = f"role_{secrets.token_hex(4)}"
    query(path, f"CREATE ROLE {role} LOGIN SUPERUSER")
    query(path, f"ALTER ROLE {role} SET {setting}")
    return path.replace("//flowrunner@", f"//{role}@")


async def test_doctor_finds_that_a_data_directory_lacks_the_keys_of_the_database(path: str, tmp_path: Path) -> None:
    settings = load_settings({"data_dir": str(tmp_path / "none"), "port": "0"}, {"FLOWRUNNER_DATABASE_URL": path})

    found = {finding.check: finding for finding in await examine(settings)}

    assert found["keys"].state == "fail"
    assert "copy it from another server" in found["keys"].hint


async def test_doctor_finds_that_each_answer_of_the_database_takes_long(
    lasting_postgres: PostgresServer, tmp_path: Path
) -> None:
    query(lasting_postgres.url(), "CREATE DATABASE slow TEMPLATE template0")
    url = lasting_postgres.url("slow")
    await migrate_postgres(url)
    with Proxy.before(url) as proxy:
        environment = {"FLOWRUNNER_DATABASE_URL": proxy.through(url)}
        settings = load_settings({"data_dir": str(tmp_path), "port": "0"}, environment)
        with proxy.toxic(Latency(0.15), "downstream"):
            found = {finding.check: finding for finding in await examine(settings)}

    assert found["database"].state == "ok"
    assert found["database speed"].state == "warn"
    assert int(re.findall(r"in (\d+) ms", found["database speed"].message)[0]) >= 150


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_lock_whose_session_was_ended_is_no_longer_held(path: str, is_shared: bool) -> None:
    first, second = (PostgresOwnership(path, is_shared=shared) for shared in (is_shared, False))
    await first.look()
    assert first.is_held

    query(
        path, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flowrunner ownership'"
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        # The driver notices the end by itself, before anything is asked.
        while not first._connection.is_closed():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await second.look()
    assert second.is_held
    await first.look()

    assert not first.is_held
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    ("ignores", "reason"),
    [(False, r"unsupported startup parameter.*Connect to it directly"), (True, r"keep the settings.*it directly")],
    ids=["rejects them", "ignores them"],
)
async def test_a_pooler_that_does_not_pass_on_the_settings_of_a_session_is_rejected(
    path: str, ignores: bool, reason: str
) -> None:
    async with pooler(path, ignores=ignores) as url:
        with pytest.raises(UnfitServer, match=reason) as refused:
            await check_server(url)
    assert len(str(refused.value).splitlines()) == 1


async def test_an_error_of_a_statement_is_told_in_one_line(path: str) -> None:
    fail = "RAISE EXCEPTION 'The disk is full' USING ERRCODE = '53100', DETAIL = 'No room.', HINT = 'Make room.'"

    with pytest.raises(CannotConnect) as failed:
        async with connected(path, statement_seconds=5.0) as connection:
            await connection.execute(f"DO $$ BEGIN {fail}; END $$")

    assert str(failed.value) == "The database does not answer: The disk is full. DETAIL:  No room. HINT:  Make room"


@asynccontextmanager
async def pooler(path: str, *, ignores: bool) -> AsyncIterator[str]:
    """Run what PgBouncer is with and without `ignore_startup_parameters`; yield the URL of the database behind it."""
    database = urlsplit(path)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await _packet(reader)
        if asked == _ASKS_FOR_TLS:
            writer.write(b"N")
            asked = await _packet(reader)
        fields = asked[4:].split(b"\0")
        pairs = dict(zip(fields[::2], fields[1::2], strict=False))
        if not ignores:
            said = b"SFATAL\0C08P01\0Munsupported startup parameter: statement_timeout\0DThe pooler says so\0\0"
            writer.write(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
            writer.close()
            return
        kept = b"".join(name + b"\0" + pairs[name] + b"\0" for name in (b"user", b"database"))
        startup = asked[:4] + kept + b"\0"
        back, forth = await asyncio.open_connection(database.hostname, database.port)
        forth.write((len(startup) + 4).to_bytes(4, "big") + startup)
        await asyncio.gather(_relay(reader, forth), _relay(back, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield path.replace(f":{database.port}/", f":{port}/")


_ASKS_FOR_TLS: Final = (80877103).to_bytes(4, "big")


async def _packet(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_doctor_reports_an_outage_that_begins_between_its_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, paused_at = PostgresServer().start(), SqlPause.paused_at

    async def stopped_before(pause: SqlPause) -> datetime | None:
        server.stop()
        return await paused_at(pause)

    try:
        settings = load_settings({"data_dir": str(tmp_path), "port": "0"}, {"FLOWRUNNER_DATABASE_URL": server.url()})
        await migrate(settings)
        monkeypatch.setattr(SqlPause, "paused_at", stopped_before)

        found = await examine(settings)
    finally:
        server.stop()

    assert [finding.state for finding in found if finding.check == "database"] == ["fail"]
    assert {"disk", "port", "memory"} & {finding.check for finding in found} == {"port", "memory"}, "the others follow"
