"""Starts whose connection to PostgreSQL is lost during the commit, which PostgreSQL completes much later."""

import asyncio

import asyncpg
import pytest

from flowrunner.dispatch import local
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.status import Status
from flowrunner.storage.postgres.database import PostgresDatabase
from support.databases import new_postgres_database
from support.dependencies import machine
from support.postgres import PostgresServer

# Each commit of a new execution waits for a lock that the test holds.
HOLD_COMMITS = """
CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER held AFTER INSERT ON executions DEFERRABLE INITIALLY DEFERRED
   FOR EACH ROW EXECUTE FUNCTION wait_for_test();
SELECT pg_advisory_lock(4711)
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


# It begins at once, or waits for an active slot.
@pytest.mark.parametrize("active", [None, 0])
async def test_an_execution_whose_start_is_committed_long_after_the_connection_was_lost_continues(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, active: int | None
) -> None:
    monkeypatch.setattr(local, "seconds_after", lambda attempts: 0.0)
    url = new_postgres_database(postgres)
    async with machine(url, limits=WorkspaceLimits(active=active)) as engine:
        await engine.save("nodes: {a: {type: return, params: {value: 1}}}")
        database = engine.database
        assert isinstance(database, PostgresDatabase)
        holder = await asyncpg.connect(url)
        try:
            await holder.execute(HOLD_COMMITS)

            async def is_committing() -> bool:
                return bool(await holder.fetchval(WAITING) == 1)

            async def was_looked_for() -> bool:
                return bool(await holder.fetchval(WAITING) == 2) or "exec-1" not in engine.dispatcher._retries

            starting = asyncio.create_task(engine.start())
            await engine.until(is_committing)
            database._writer.terminate()
            with pytest.raises(Unavailable):
                await starting
            await engine.until(was_looked_for)
        finally:
            await holder.close()

        assert await engine.until_ended() is Status.COMPLETED
