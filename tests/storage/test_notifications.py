"""What processes on one PostgreSQL database tell each other of what they have recorded."""

import asyncio

import pytest

from flowrunner.domain.errors import Conflict
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.journal import SqlJournal
from support.databases import new_postgres_database, open_database
from support.dependencies import machine
from support.postgres import PostgresServer


async def test_whoever_takes_over_all_executions_has_every_process_look_again(postgres: PostgresServer) -> None:
    """The one before it may not have lived to tell of what it recorded."""
    place = new_postgres_database(postgres)
    taker, standby = open_database(place), open_database(place)
    gaps: list[str] = []
    has_news = asyncio.Event()

    def note(who: str) -> None:
        gaps.append(who)
        has_news.set()

    async def until_noted(expected: list[str]) -> None:
        async with asyncio.timeout(5):
            while sorted(gaps) != expected:
                has_news.clear()
                await has_news.wait()

    listening = [
        asyncio.create_task(
            database.listen(
                name=lambda: "flowrunner", on_notification=lambda news: None, on_gap=lambda who=who: note(who)
            )
        )
        for who, database in (("standby", standby), ("taker", taker))
    ]
    try:
        await until_noted(["standby", "taker"])
        await SqlJournal(taker).claim()

        await until_noted(["standby", "standby", "taker", "taker"])
        assert len(gaps) == 4
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)
        await taker.close()
        await standby.close()


async def test_whoever_loads_an_execution_tells_of_what_another_process_may_not_have_told(
    postgres: PostgresServer,
) -> None:
    place = new_postgres_database(postgres)
    async with machine(place) as first:
        await first.run("nodes: {a: {type: return}}")
    listener = open_database(place)
    is_listening, has_news = asyncio.Event(), asyncio.Event()

    def mark_stale(id: str) -> None:
        assert id == "exec-1"
        has_news.set()

    listening = asyncio.create_task(
        listener.listen(name=lambda: "flowrunner", on_notification=mark_stale, on_gap=is_listening.set)
    )
    try:
        await asyncio.wait_for(is_listening.wait(), 5)
        async with machine(place) as second:
            # It has ended, so that nothing more is recorded.
            with pytest.raises(Conflict):
                await second.dispatcher.cancel(ExecutionId("exec-1"), reason="late")

            await asyncio.wait_for(has_news.wait(), 5)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await listener.close()
