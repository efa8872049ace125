"""A PostgreSQL server whose settings are changed while the program runs."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from flowrunner.bootstrap import ownership
from flowrunner.settings import Settings
from support.postgres import PostgresServer, query
from support.waiting import wait_for


async def test_a_database_that_comes_to_lose_what_it_was_given_is_told_of_once(
    lasting_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_CHECK_SECONDS", 0.02)
    url = lasting_postgres.new_database()

    with capture_logs() as logs:
        async with ownership.owning(Settings(data_dir=tmp_path, database_url=url)):
            query(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
            await asyncio.to_thread(wait_for, lambda: len(logs) > 0)
            await asyncio.sleep(0.1)

    assert [(log["event"], log["log_level"]) for log in logs] == [("database.unsafe", "error")]
    assert "synchronous_commit=off" in logs[0]["warning"]
