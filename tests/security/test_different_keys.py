"""Processes on one database have the same keys, or say that they have not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flowrunner.bootstrap.data import OpenStorage, open_data
from flowrunner.clock import SystemClock
from flowrunner.metrics import Metrics
from flowrunner.ports.secrets import WrongKey
from flowrunner.security.keys import load_keys, open_data_dir
from flowrunner.settings import Settings
from flowrunner.storage.keys import name_of
from support.databases import new_postgres_database
from support.postgres import PostgresServer, query
from support.waiting import PATIENCE_SECONDS


@asynccontextmanager
async def opened(data_dir: Path, url: str) -> AsyncIterator[OpenStorage]:
    """A process, with keys of its own if there are none in the directory."""
    open_data_dir(data_dir)
    load_keys(data_dir, has_data=False)
    settings = Settings(data_dir=data_dir, database_url=url)
    async with open_data(settings, clock=SystemClock(), metrics=Metrics()) as stored:
        yield stored


@asynccontextmanager
async def at_work(data_dir: Path, url: str) -> AsyncIterator[None]:
    """A process that others know of."""
    is_known = asyncio.Event()
    async with opened(data_dir, url) as stored:
        listening = asyncio.create_task(
            stored.database.listen(
                name=lambda: name_of(stored.rotator.holder),
                on_notification=lambda execution_id: None,
                on_gap=is_known.set,
            )
        )
        await asyncio.wait_for(is_known.wait(), PATIENCE_SECONDS)
        yield
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_process_with_other_keys_than_those_at_work_does_not_start(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = new_postgres_database(postgres)
    query(url, "CREATE SCHEMA elsewhere")

    async with at_work(tmp_path / "one", url):
        with pytest.raises(WrongKey, match="uses a different master key and signing key"):
            async with at_work(tmp_path / "other", url):
                pass
        # With the same keys, or with tables of its own.
        async with at_work(tmp_path / "one", url), at_work(tmp_path / "third", f"{url}?search_path=elsewhere"):
            pass


async def test_processes_that_start_at_once_with_different_keys_say_so(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = new_postgres_database(postgres)

    async with opened(tmp_path / "one", url) as stored:
        # This one did not find the other, and looks again from now on.
        async with at_work(tmp_path / "other", url):
            with capture_logs() as logs:
                for _ in range(2):
                    await stored.rotator.follow()

    assert [(log["event"], log["kind"]) for log in logs] == [("keys.differ", "master"), ("keys.differ", "signing")]
