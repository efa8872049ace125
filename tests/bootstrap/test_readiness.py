"""Readiness of a program: the reasons why it is not ready."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowrunner.api.http.standby import STANDBY
from flowrunner.bootstrap import readiness
from flowrunner.bootstrap.readiness import Readiness
from flowrunner.domain.errors import Unavailable
from flowrunner.storage.sqlite.database import READERS
from flowrunner.storage.transaction import Transaction
from support.databases import open_database


async def test_a_database_that_takes_too_long_to_read_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_READY_SECONDS", 0.1)
    database, may_go_on = open_database(tmp_path / "flowrunner.db"), threading.Event()

    async def hold(tx: Transaction) -> None:
        may_go_on.wait()

    dispatcher: Any = SimpleNamespace(is_open=True)
    is_ready = Readiness(dispatcher, database)
    holding = [asyncio.create_task(database.read_long(hold)) for _ in range(READERS)]
    await asyncio.sleep(0)
    reason = await is_ready()
    may_go_on.set()
    await asyncio.gather(*holding)
    monkeypatch.undo()

    assert (reason, await is_ready()) == ("the database does not answer", None)
    await database.close()


async def test_only_changes_of_the_readiness_are_logged(tmp_path: Path) -> None:
    database = open_database(tmp_path / "flowrunner.db")
    dispatcher: Any = SimpleNamespace(is_open=True)
    is_ready = Readiness(dispatcher, database, is_standby=True)

    with capture_logs() as lines:
        for is_standby in (True, True, False, False):
            is_ready.is_standby = is_standby
            await is_ready()
    await database.close()

    changed = [(line["is_ready"], line["reason"]) for line in lines if line["event"] == "readiness.changed"]
    assert changed == [(False, STANDBY), (True, None)]


@pytest.mark.parametrize(
    ("state", "is_open", "running", "reason"),
    [
        ({}, True, None, None),
        ({}, True, 1, None),
        ({}, False, None, "the engine is not active"),
        ({}, True, 0, "no engine process is running"),
        # A standby has no engine, whatever else is there.
        ({"is_standby": True}, False, 0, STANDBY),
        ({"is_stopping": True}, True, None, "stopping"),
        ({"is_stopping": True, "is_standby": True}, False, 0, "stopping"),
    ],
)
async def test_each_reason_is_told_by_its_name(
    tmp_path: Path, state: dict[str, Any], is_open: bool, running: int | None, reason: str | None
) -> None:
    database = open_database(tmp_path / "flowrunner.db")
    dispatcher: Any = SimpleNamespace(is_open=is_open)
    processes: Any = None if running is None else SimpleNamespace(running=running)

    assert await Readiness(dispatcher, database, processes, **state)() == reason
    await database.close()


@pytest.mark.parametrize("is_standby", [False, True])
async def test_a_database_that_cannot_be_read_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_standby: bool
) -> None:
    database = open_database(tmp_path / "flowrunner.db")
    dispatcher: Any = SimpleNamespace(is_open=True)

    async def fail() -> None:
        raise Unavailable("too many connections")

    monkeypatch.setattr(database, "check_readable", fail)

    assert await Readiness(dispatcher, database, is_standby=is_standby)() == "the database does not answer"
    await database.close()


@pytest.mark.parametrize(("is_standby", "reason"), [(False, "the database cannot be written"), (True, STANDBY)])
async def test_a_database_that_cannot_be_written_is_a_reason_except_for_a_standby(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_standby: bool, reason: str
) -> None:
    database = open_database(tmp_path / "flowrunner.db")
    dispatcher: Any = SimpleNamespace(is_open=True)

    async def fail() -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(database, "check_writable", fail)

    assert await Readiness(dispatcher, database, is_standby=is_standby)() == reason
    await database.close()
