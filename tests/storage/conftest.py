"""Every test of this directory runs on a SQLite file of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.storage.sqlite.database import Database
from flowrunner.storage.sqlite.journal import SqliteJournal
from support.databases import add_flows, new_database_file, open_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_database_file(tmp_path / "flowrunner.db")


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = open_database(path)
    yield opened
    await opened.close()


@pytest.fixture
def journal(database: Database, path: Path) -> SqliteJournal:
    add_flows(path)
    return SqliteJournal(database)
