"""The same plans with executions assigned to workers by a Temporal server."""

from typing import Final
from uuid import uuid4

import pytest

from flowrunner.sandbox.pool import JailedSandbox
from support.conformance import WHOLE
from support.databases import emptied_postgres_database
from support.postgres import PostgresServer
from support.temporal import Temporal

from .crash_plans import CRASH_PLANS
from .crashes import MOST_WRITES, Fresh, Moment, Opens, die_again_and_again, die_at_writes, random_deaths
from .distributed import machine_on

SOME: Final = ["an ordinary day"]


@pytest.fixture
def fresh(postgres: PostgresServer) -> Fresh:
    return lambda name: emptied_postgres_database(postgres)


@pytest.fixture
def opens(temporal: Temporal) -> Opens:
    return machine_on(temporal.url(f"crashes-{uuid4()}"))


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", CRASH_PLANS if WHOLE else SOME)
async def test_a_crash_at_some_writes_changes_nothing_on_temporal(
    fresh: Fresh, opens: Opens, sandbox: JailedSandbox, name: str, moment: Moment
) -> None:
    writes = range(2 if moment == "before" else 4, MOST_WRITES, 4 if WHOLE else 12)

    await die_at_writes(fresh, CRASH_PLANS[name], moment, sandbox, writes=writes, opens=opens)


@pytest.mark.parametrize("name", CRASH_PLANS if WHOLE else SOME)
async def test_crashes_at_random_writes_change_nothing_on_temporal(
    fresh: Fresh, opens: Opens, sandbox: JailedSandbox, name: str
) -> None:
    deaths = random_deaths(name, count=4 if WHOLE else 1)

    await die_again_and_again(fresh, CRASH_PLANS[name], sandbox, deaths, opens=opens)
