"""Every PostgreSQL database is migrated to the newest schema, or stays unchanged."""

import asyncio
from operator import methodcaller

import asyncpg
import pytest

from flowrunner.storage.migrations import HEAD, Schema, UnknownSchema, UnusableDatabase
from flowrunner.storage.postgres.migrations import migrate_postgres, script
from support.conformance import some_of
from support.databases import change, contents_of, rows_of
from support.postgres import PostgresServer, connected

pytestmark = pytest.mark.only("postgres")


async def test_a_new_database_gets_the_newest_schema_once(postgres: PostgresServer) -> None:
    url = postgres.new_database()

    await asyncio.gather(*(migrate_postgres(url) for _ in range(3)))
    change(url, "UPDATE engine SET epoch = 7")
    before = contents_of(url)
    await migrate_postgres(url)

    assert rows_of(url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert contents_of(url) == before


async def test_a_database_of_a_later_version_is_rejected_and_unchanged(path: str) -> None:
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    change(path, "UPDATE engine SET compatible_with = '9998'")
    before = contents_of(path)

    with pytest.raises(UnknownSchema, match="9999"):
        await migrate_postgres(path)

    assert contents_of(path) == before


async def test_a_database_of_a_version_before_the_first_release_is_rejected_with_advice(path: str) -> None:
    change(path, "UPDATE alembic_version SET version_num = '0001'")
    change(path, "UPDATE engine SET compatible_with = '0001'")
    before = contents_of(path)

    with pytest.raises(UnknownSchema, match=r"before the first release.* another database"):
        await migrate_postgres(path)

    assert contents_of(path) == before


async def test_a_migration_that_fails_at_any_place_leaves_nothing_behind(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    statements = script(Schema(None)).split("\nCREATE ")

    for n in some_of(len(statements) - 1):
        broken = "\nCREATE ".join([*statements[:n], "NONSENSE", *statements[n:]])
        with pytest.raises(asyncpg.PostgresError):
            connected(url, methodcaller("execute", broken))
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


async def test_a_later_schema_that_only_adds_is_used_unchanged(path: str) -> None:
    change(path, "UPDATE alembic_version SET version_num = '9999'")
    before = contents_of(path)

    await migrate_postgres(path)

    assert contents_of(path) == before
