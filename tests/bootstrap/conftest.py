"""An empty database of either kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.storage.database import Database
from support.databases import Place, emptied_postgres_database, new_database_file, open_database


@pytest.fixture(params=("sqlite", "postgres"))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return new_database_file(tmp_path / "flowrunner.db")
    return emptied_postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
async def database(path: Place) -> AsyncIterator[Database]:
    opened = open_database(path)
    yield opened
    await opened.close()
