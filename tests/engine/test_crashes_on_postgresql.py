"""The same plans with the journal on a PostgreSQL server."""

from typing import Final
from zlib import crc32

import pytest

from flowrunner.sandbox.pool import JailedSandbox
from support.conformance import SEED, WHOLE, part_of
from support.databases import emptied_postgres_database
from support.postgres import PostgresServer

from .crash_plans import CRASH_PLANS
from .crashes import MOST_WRITES, Fresh, Moment, die_again_and_again, die_at_writes, random_deaths

_PLANS: Final = part_of((name, name) for name in CRASH_PLANS)


@pytest.fixture
def fresh(postgres: PostgresServer) -> Fresh:
    return lambda name: emptied_postgres_database(postgres)


@pytest.mark.parametrize(
    ("name", "moment"),
    # As on SQLite, each plan at one of the moments.
    [
        (name, moment)
        for name in _PLANS
        for n, moment in enumerate(("before", "after"))
        if WHOLE or (crc32(name.encode()) + int(SEED) + n) % 2 == 0
    ],
)
async def test_a_crash_at_any_write_changes_nothing_on_postgresql(
    fresh: Fresh, sandbox: JailedSandbox, name: str, moment: Moment
) -> None:
    some = range(3 if moment == "before" else 8, MOST_WRITES, 10)

    await die_at_writes(fresh, CRASH_PLANS[name], moment, sandbox, writes=range(1, MOST_WRITES) if WHOLE else some)


@pytest.mark.parametrize("name", _PLANS)
async def test_crashes_at_random_writes_change_nothing_on_postgresql(
    fresh: Fresh, sandbox: JailedSandbox, name: str
) -> None:
    deaths = random_deaths(name, count=40 if WHOLE else 1)

    await die_again_and_again(fresh, CRASH_PLANS[name], sandbox, deaths)
