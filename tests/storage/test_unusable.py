"""Databases that cannot be used: damaged, locked by another program, or with other content."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from flowrunner.domain.errors import Unavailable
from flowrunner.storage.copying import NotCopied, copy_to_postgres
from flowrunner.storage.migrations import UnusableDatabase
from flowrunner.storage.postgres.connections import CannotConnect
from flowrunner.storage.postgres.location import PostgresUrl
from flowrunner.storage.sqlite.migrations import migrate_sqlite
from support.databases import contents_of, new_database_file, new_postgres_database, open_database
from support.postgres import PostgresServer


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of the table in a closed file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"?" * size)


@pytest.mark.only("sqlite")
async def test_a_damaged_file_is_unavailable(path: Path) -> None:
    damage(path, "tickets")
    database = open_database(path)
    insert = "INSERT INTO tickets (digest, session_id, expires_at) VALUES ('a', 's', 0)"

    for attempt in (
        database.write(lambda tx: tx.run(insert)),
        database.read(lambda tx: tx.rows("SELECT digest FROM tickets")),
        database.read_long(lambda tx: tx.rows("SELECT digest FROM tickets")),
        database.check_writable(),
    ):
        with pytest.raises(Unavailable):
            await attempt
    await database.close()


async def test_nothing_is_copied_of_a_file_that_is_damaged(tmp_path: Path, postgres: PostgresServer) -> None:
    source, target = new_database_file(tmp_path / "flowrunner.db"), new_postgres_database(postgres)
    before = contents_of(target)
    damage(source, "events")

    with pytest.raises(NotCopied, match=r"malformed.*Restore it from your backup"):
        await copy_to_postgres(source, target)

    assert contents_of(target) == before


def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE flows (mine text)")
    before = contents_of(path)

    with pytest.raises(UnusableDatabase, match="cannot be migrated to the newest schema: table flows already exists"):
        migrate_sqlite(path)

    assert contents_of(path) == before


def test_a_file_that_cannot_be_used_is_told_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    text, held = tmp_path / "text.db", tmp_path / "held.db"
    text.write_text("this is no database, and long enough to be looked at" * 20)
    with closing(sqlite3.connect(held, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnusableDatabase, match="another program is using it"):
            migrate_sqlite(held)
    with pytest.raises(UnusableDatabase, match="restore it from your backup"):
        migrate_sqlite(text)
    with pytest.raises(UnusableDatabase, match="has to be able to write"):
        migrate_sqlite(tmp_path / "none" / "new.db")


async def test_an_audit_log_that_is_not_there_is_said_to_be_missing(postgres: PostgresServer) -> None:
    with pytest.raises(UnusableDatabase, match="the first start of a server creates its tables"):
        await PostgresUrl(url=postgres.new_database()).check_audit(expected=None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_does_not_listen_is_reported_in_plain_words(host: str) -> None:
    with pytest.raises(CannotConnect, match=r"^Cannot connect to the database: Connection refused$"):
        await PostgresUrl(url=f"postgresql://somebody@{host}:9/flows").check()
