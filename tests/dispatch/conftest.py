"""A Temporal server for the tests of a module, and a cluster on it for each of them."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from dispatch.cluster import Cluster, Front, cluster
from support.databases import new_postgres_database
from support.postgres import PostgresServer
from support.temporal import Temporal


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    running = Temporal(tmp_path_factory.mktemp("temporal"), limit__historyCount__suggestContinueAsNew="25")
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
async def machines(temporal: Temporal, postgres: PostgresServer) -> AsyncIterator[Cluster]:
    async with cluster(new_postgres_database(postgres), temporal.url(f"queue-{uuid4()}")) as opened:
        yield opened


@pytest.fixture
async def front(machines: Cluster) -> AsyncIterator[Front]:
    async with machines.server() as opened:
        yield opened
