"""Notifications between processes on one PostgreSQL database about new events."""

import asyncio

import pytest

from flowrunner.domain.errors import Conflict
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.journal import SqlJournal
from support.databases import new_postgres_database, open_database
from support.dependencies import machine
from support.postgres import PostgresServer


async def test_a_takeover_of_all_executions_notifies_every_process_of_a_gap(postgres: PostgresServer) -> None:
    """The previous owner may have ended before it sent its notifications."""
    place = new_postgres_database(postgres)
    taker, standby = open_database(place), open_database(place)
    gaps: list[str] = []
    is_notified = asyncio.Event()

    def note(who: str) -> None:
        gaps.append(who)
        is_notified.set()

    async def until_noted(expected: list[str]) -> None:
        async with asyncio.timeout(5):
            while sorted(gaps) != expected:
                is_notified.clear()
                await is_notified.wait()

    listening = [
        asyncio.create_task(
            database.listen(
                name=lambda: "flowrunner", on_notification=lambda execution_id: None, on_gap=lambda who=who: note(who)
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


async def test_loading_an_execution_notifies_of_events_of_another_process(
    postgres: PostgresServer,
) -> None:
    place = new_postgres_database(postgres)
    async with machine(place) as first:
        await first.run("nodes: {a: {type: return}}")
    listener = open_database(place)
    is_listening, is_notified = asyncio.Event(), asyncio.Event()

    def mark_stale(id: str) -> None:
        assert id == "exec-1"
        is_notified.set()

    listening = asyncio.create_task(
        listener.listen(name=lambda: "flowrunner", on_notification=mark_stale, on_gap=is_listening.set)
    )
    try:
        await asyncio.wait_for(is_listening.wait(), 5)
        async with machine(place) as second:
            # The execution has ended, so no further event is recorded.
            with pytest.raises(Conflict):
                await second.dispatcher.cancel(ExecutionId("exec-1"), reason="late")

            await asyncio.wait_for(is_notified.wait(), 5)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await listener.close()
