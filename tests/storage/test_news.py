"""What processes on one PostgreSQL database tell each other of what they have recorded."""

import asyncio

from flowrunner.storage.journal import SqlJournal
from support.databases import new_postgres_database, open_database
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
            database.listen(name=lambda: "flowrunner", on_news=lambda news: None, on_gap=lambda who=who: note(who))
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
