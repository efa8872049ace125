"""Starts that do not succeed: what they have begun ends with them."""

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from flowrunner.bootstrap import lifecycle
from flowrunner.bootstrap.engine_process import ProcessSettings
from flowrunner.bootstrap.resources import open_resources
from flowrunner.bootstrap.starting_processes import starting
from flowrunner.dispatch.processes.engine_processes import StartedProcess, StartProcess
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.sandbox.pool import JailedSandbox
from flowrunner.security.egress import EgressClients
from flowrunner.settings import Settings
from flowrunner.storage.journal import SqlJournal
from support.asgi import program_at
from support.engine_processes import engine_processes_of


async def test_a_start_that_fails_leaves_no_engine_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[StartedProcess]()

    def failing(given: ProcessSettings) -> StartProcess:
        start, numbers = starting(given), itertools.count()

        async def one() -> StartedProcess:
            if next(numbers) == 1:
                raise FlowRunnerError("planted")
            started.append(await start())
            return started[-1]

        return one

    monkeypatch.setattr(lifecycle, "starting", failing)
    with pytest.raises(FlowRunnerError, match="does not start: planted"):
        async with program_at(tmp_path / "data", processes=3):
            pass

    assert len(started) == 1
    assert engine_processes_of(os.getpid()) == []


async def test_a_start_that_is_cancelled_leaves_no_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_begun = asyncio.Event()

    async def endless(journal: SqlJournal) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    async def start() -> None:
        async with program_at(tmp_path / "data"):
            pass

    monkeypatch.setattr(SqlJournal, "claim", endless)
    before = asyncio.all_tasks()
    opening = asyncio.create_task(start())
    await has_begun.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()


async def test_an_error_of_the_sandbox_leaves_no_http_client_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = list[EgressClients]()

    async def close(clients: EgressClients) -> None:
        closed.append(clients)

    async def fail(_: JailedSandbox) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(EgressClients, "close", close)
    monkeypatch.setattr(JailedSandbox, "close", fail)
    settings = Settings(data_dir=tmp_path / "data")
    with pytest.raises(RuntimeError, match="planted"):
        async with open_resources(settings, own_ports=frozenset(), is_standby=False, exporters=None) as opened:
            pass

    assert closed == [opened.http, opened.sign_on_http]
