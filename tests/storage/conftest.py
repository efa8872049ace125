"""Fixtures that run every test of this directory on an empty SQLite file and an empty PostgreSQL database.

Tests about one of the two are marked with `only`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.children import SqlChildExecutions
from flowrunner.storage.concurrency import SqlConcurrencyLimits
from flowrunner.storage.database import Database
from flowrunner.storage.due_executions import SqlDueExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from support.databases import (
    MARA,
    OMAR,
    Place,
    account,
    add_flows,
    emptied_postgres_database,
    new_database_file,
    new_postgres_database,
    open_database,
)
from support.postgres import PostgresServer

DATABASES = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("only")
        metafunc.parametrize("path", DATABASES if only is None else only.args, indirect=True)


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return new_database_file(tmp_path / "flowrunner.db")
    server = request.getfixturevalue("postgres")
    # A test about PostgreSQL itself could see traces of other tests in a reused database.
    is_about_it = request.node.get_closest_marker("only") is not None
    return new_postgres_database(server) if is_about_it else emptied_postgres_database(server)


@pytest.fixture
async def database(path: Place) -> AsyncIterator[Database]:
    opened = open_database(path)
    yield opened
    await opened.close()


@pytest.fixture
def journal(database: Database, path: Place) -> SqlJournal:
    add_flows(path)
    return SqlJournal(database)


@pytest.fixture
def due(database: Database) -> SqlDueExecutions:
    return SqlDueExecutions(database)


@pytest.fixture
def concurrency(database: Database) -> SqlConcurrencyLimits:
    return SqlConcurrencyLimits(database)


@pytest.fixture
def children(database: Database) -> SqlChildExecutions:
    return SqlChildExecutions(database)


@pytest.fixture
async def accounts(database: Database) -> SqlAccounts:
    """Return accounts with Mara, an admin, and Omar, who is none."""
    store = SqlAccounts(database)
    await store.create(account(MARA), password_hash="hash-mara")
    await store.create(account(OMAR, role="user"), password_hash="hash-omar")
    return store


@pytest.fixture
def flows(database: Database, accounts: SqlAccounts) -> SqlFlows:
    return SqlFlows(database)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """Start a PostgreSQL server that a test may stop."""
    server = PostgresServer({"fsync": "off"})
    try:
        yield server.start()
    finally:
        server.stop()
