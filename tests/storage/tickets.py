"""Writes of tickets, for tests in which only the write matters."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from flowrunner.storage.database import Database
from flowrunner.storage.sqlite.database import TURNS_A_COMMIT
from flowrunner.storage.transaction import Transaction
from support.databases import Place, rows_of

INSERT: Final = "INSERT INTO tickets (digest, session_id, expires_at) VALUES (:digest, 's', 0)"


def insert(database: Database, digest: str) -> "asyncio.Task[int]":
    return asyncio.ensure_future(database.write(lambda tx: tx.run(INSERT, {"digest": digest})))


def digests(place: Place) -> set[str]:
    return {row[0] for row in rows_of(place, "SELECT digest FROM tickets")}


@asynccontextmanager
async def held(database: Database) -> AsyncIterator[None]:
    """Keep the writer busy, so that operations submitted meanwhile share the next commit."""
    here, entered = threading.get_ident(), threading.Event()
    released, released_here = threading.Event(), asyncio.Event()

    async def hold(tx: Transaction) -> None:
        entered.set()
        if threading.get_ident() == here:
            await released_here.wait()
        else:
            # SQLite's writer is a thread without an event loop.
            released.wait(10)

    holding = asyncio.ensure_future(database.write(hold))
    while not entered.is_set():  # noqa: ASYNC110 # it may be set by another thread
        await asyncio.sleep(0.001)
    yield
    # First the operations must be submitted, and handed over some turns later.
    for _ in range(1 + TURNS_A_COMMIT):
        await asyncio.sleep(0)
    released.set()
    released_here.set()
    await holding
