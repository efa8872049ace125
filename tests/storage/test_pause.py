"""The pause of the installation in the database."""

from datetime import timedelta

from flowrunner.domain.values import FlowId
from flowrunner.storage.database import Database
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.pause import SqlPause
from support.databases import MARA, NOON, Place, open_database

from .samples import flow


async def test_a_pause_keeps_its_beginning_until_it_ends(database: Database, path: Place, flows: SqlFlows) -> None:
    await flows.create(MARA, flow())
    pause = SqlPause(database)
    assert await pause.paused_at() is None

    assert await pause.set(NOON) == NOON
    assert await pause.set(NOON + timedelta(hours=1)) == NOON

    assert (await flows.current(MARA, FlowId("flow-1"))).is_paused
    again = open_database(path)
    try:
        assert await SqlPause(again).paused_at() == NOON, "another process sees it, and the next one"
    finally:
        await again.close()
    assert await pause.set(None) is None
    assert not (await flows.current(MARA, FlowId("flow-1"))).is_paused
