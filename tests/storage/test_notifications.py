"""Notifications between processes on one PostgreSQL database about new events."""

import asyncio
from functools import partial

import pytest

from flowrunner.domain.errors import Conflict
from flowrunner.domain.values import ExecutionId
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.postgres import notifications
from support.databases import new_postgres_database, open_database
from support.dependencies import machine
from support.postgres import PostgresServer
from support.waiting import PATIENCE_SECONDS


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
        async with asyncio.timeout(PATIENCE_SECONDS):
            while sorted(gaps) != expected:
                is_notified.clear()
                await is_notified.wait()

    listening = [
        asyncio.create_task(
            database.listen(
                name=lambda: "flowrunner", on_notification=lambda execution_id: None, on_gap=partial(note, who)
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
        await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
        async with machine(place) as second:
            # The execution has ended, so no further event is recorded.
            with pytest.raises(Conflict):
                await second.dispatcher.cancel(ExecutionId("exec-1"), reason="late")

            await asyncio.wait_for(is_notified.wait(), PATIENCE_SECONDS)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await listener.close()


async def test_listening_goes_on_after_an_error_of_any_kind(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the subscribers of this process would never again get events of another one."""
    monkeypatch.setattr(notifications, "_seconds_after_unexpected", lambda failures: 0.01)
    database = open_database(new_postgres_database(postgres))
    is_listening = asyncio.Event()
    # PostgreSQL rejects the second one: it is no valid text, which is no failure of the server.
    names = iter(["\x00", "\ud800", "flowrunner"])
    listening = asyncio.create_task(
        database.listen(
            name=lambda: next(names, "flowrunner"), on_notification=lambda execution_id: None, on_gap=is_listening.set
        )
    )
    try:
        await asyncio.wait((listening, waiting := asyncio.create_task(is_listening.wait())), timeout=PATIENCE_SECONDS,
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        assert not listening.done()
        assert waiting.done()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await database.close()


async def test_sending_goes_on_after_an_error_of_any_kind(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_seconds_after_unexpected", lambda failures: 0.01)
    place = new_postgres_database(postgres)
    sender, listener = open_database(place), open_database(place)
    is_listening, is_notified = asyncio.Event(), asyncio.Event()
    listening = asyncio.create_task(
        listener.listen(
            name=lambda: "flowrunner", on_notification=lambda execution_id: is_notified.set(), on_gap=is_listening.set
        )
    )
    try:
        await asyncio.wait_for(is_listening.wait(), PATIENCE_SECONDS)
        with monkeypatch.context() as broken:
            broken.setattr(notifications, "NOTIFY", "SELECT no_such_function($1, $2::text[])")
            sender.notify(["exec-1"])
            await asyncio.sleep(0.2)
        assert not is_notified.is_set()

        await asyncio.wait_for(is_notified.wait(), PATIENCE_SECONDS)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await sender.close()
        await listener.close()
