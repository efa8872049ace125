"""Every test of this directory runs on a database of its own: on a SQLite file, and on PostgreSQL.

Those that are about one of the two say so with `only`.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flowrunner.storage.database import Database
from flowrunner.storage.journal import SqlJournal
from support.databases import Place, add_flows, new_database_file, new_postgres_database, open_database

DATABASES = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("path", DATABASES if only is None else only.args, indirect=True)


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return new_database_file(tmp_path / "flowrunner.db")
    return new_postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture
async def database(path: Place) -> AsyncIterator[Database]:
    opened = open_database(path)
    yield opened
    await opened.close()


@pytest.fixture
def journal(database: Database, path: Place) -> SqlJournal:
    add_flows(path)
    return SqlJournal(database)
