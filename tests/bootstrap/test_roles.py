"""The log of a server about its roles and the outages between them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from flowrunner import serving
from flowrunner.bootstrap.data import open_data
from flowrunner.bootstrap.location import DATABASE_FILE
from flowrunner.clock import SystemClock
from flowrunner.domain.errors import DispatchUnavailable, Unavailable
from flowrunner.metrics import Metrics
from flowrunner.settings import Settings
from flowrunner.storage.migrations import REVISIONS
from support.databases import change, rows_of

OUTAGES = {"no database": Unavailable("no database"), "no temporal": DispatchUnavailable("no Temporal")}


@pytest.mark.parametrize(
    ("roles", "told"),
    [
        (["no database", "no database"], ["database.unavailable"]),
        (["no database", "active", "no database"], ["database.unavailable", "database.unavailable"]),
        (["no temporal", "no temporal", "active", "no temporal"], ["temporal.unavailable", "temporal.unavailable"]),
        (["no database", "no temporal"], ["database.unavailable", "temporal.unavailable"]),
        (["standby", "standby"], ["server.standby"]),
        (["standby", "active", "standby"], ["server.standby", "server.standby"]),
        (["standby", "no database", "standby"], ["server.standby", "database.unavailable", "server.standby"]),
    ],
    ids="-".join,
)
async def test_each_outage_and_each_time_on_standby_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: list[str], told: list[str]
) -> None:
    @asynccontextmanager
    async def open_program(*_: Any, **__: Any) -> AsyncIterator[Any]:
        if role in OUTAGES:
            raise OUTAGES[role]
        yield SimpleNamespace()

    async def go_on(*_: Any) -> serving.Exit:
        return serving.Exit.ROLE

    monkeypatch.setattr(serving, "open_program", open_program)
    monkeypatch.setattr(serving, "_LOOK_SECONDS", 0.0)
    for name in ("has_usable_schema", "first_admin"):
        monkeypatch.setattr(serving, name, go_on)
    for name in ("_be_active", "_be_standby"):
        monkeypatch.setattr(serving._Serving, name, go_on)
    monkeypatch.setattr(serving._Serving, "_serve_with", lambda *_: None)
    settings = Settings(data_dir=tmp_path, database_url="postgresql://user:password@host/name")

    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs() as lines:
        server = serving._Serving(settings, listener, 10, is_worker=False, exporters=None)
        for role in roles:
            await server._run_role(SimpleNamespace(is_held=role != "standby"))

    assert [line["event"] for line in lines] == told


async def test_an_unexpected_error_of_what_a_server_waits_for_is_no_lost_role(tmp_path: Path) -> None:
    async def fail() -> None:
        raise RuntimeError("planted")

    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs() as lines:
        server = serving._Serving(Settings(data_dir=tmp_path), listener, 10, is_worker=False, exporters=None)
        server._http = asyncio.create_task(asyncio.sleep(60))
        try:
            why = await server._first((serving.Exit.STOP, asyncio.sleep(60)), (serving.Exit.ROLE, fail()))
        finally:
            server._http.cancel()

    assert why is serving.Exit.ENGINE_DIED
    assert [(line["event"], str(line["exc_info"])) for line in lines] == [("server.crashed", "planted")]


@pytest.mark.parametrize(
    ("files", "connections", "sockets"), [(15_000, 10_000, 5_000), (12_500, 7_500, 5_000), (6_000, 3_000, 2_000)]
)
async def test_a_third_of_the_connections_is_kept_for_plain_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, connections: int, sockets: int
) -> None:
    wanted, limits = list[int](), list[tuple[int, int]]()

    def open_files(number: int) -> int:
        wanted.append(number)
        return files

    class Serving:
        def __init__(self, settings: Settings, listener: object, most_connections: int, **_: object) -> None:
            limits.append((most_connections, settings.max_sockets))

        async def run(self) -> None:
            pass

    monkeypatch.setattr(serving, "_open_files", open_files)
    monkeypatch.setattr(serving, "_Serving", Serving)
    monkeypatch.setattr(serving, "configure_logging", lambda _: None)

    await serving.serve(Settings(data_dir=tmp_path, port=0))

    assert (wanted, limits) == ([15_000], [(connections, sockets)])


async def test_a_standby_does_not_migrate_the_database_of_the_active_server(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path), SystemClock()
    async with open_data(settings, clock=clock, metrics=Metrics()):
        pass
    change(tmp_path / DATABASE_FILE, "UPDATE alembic_version SET version_num = ?", REVISIONS[-2])

    async with open_data(settings, clock=clock, metrics=Metrics(), is_standby=True):
        assert rows_of(tmp_path / DATABASE_FILE, "SELECT version_num FROM alembic_version") == [(REVISIONS[-2],)]
