"""A workspace that has a thousand executions waiting keeps nobody else waiting."""

from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.values import FlowId
from services.callers import caller_of
from support.databases import OMAR, OMAR_ACCOUNT
from support.dependencies import FakeHttp, Machine, machine, never

MANY: Final = 1000
MOST_ACTIVE: Final = 8
CALLS: Final = "nodes: {push: {type: webhook, params: {url: 'http://peer/%s'}}}"


async def fill(engine: Machine) -> None:
    """Mara has every place, and a thousand executions that wait for one. Omar has a flow."""
    await engine.save(CALLS % "mara", "mara")
    await engine.save(CALLS % "omar", "omar", workspace_id=OMAR)
    for n in range(MANY):
        await engine.start("mara", id=f"mara-{n:04}")
    await engine.until_requested("http://peer/mara", MOST_ACTIVE)
    assert engine.dispatcher.queued == MANY - MOST_ACTIVE


def starts(http: FakeHttp, name: str) -> int:
    return [request.url for request in http.requests].count(f"http://peer/{name}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "flowrunner.db"


async def test_an_execution_of_another_workspace_starts_before_the_queued_ones(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/mara", never)
    async with machine(path, http=http, most_active=MOST_ACTIVE) as engine:
        await fill(engine)

        for n in range(3):
            accepted = await engine.executions.run(caller_of(OMAR_ACCOUNT), FlowId("omar"), {})
            await engine.until_ended(accepted.id)
            assert starts(http, "omar") == n + 1

        assert starts(http, "mara") == MOST_ACTIVE


async def test_after_a_restart_too(path: Path) -> None:
    http = FakeHttp()
    http.at("http://peer/mara", never)
    http.at("http://peer/omar", never)
    async with machine(path, http=http, most_active=MOST_ACTIVE) as first:
        await fill(first)
        accepted = await first.executions.run(caller_of(OMAR_ACCOUNT), FlowId("omar"), {})
        await first.until_requested("http://peer/omar")
    del http.answers["http://peer/omar"]
    async with machine(path, http=http, most_active=MOST_ACTIVE) as second:
        await second.until_ended(accepted.id)

        assert starts(http, "mara") <= 2 * MOST_ACTIVE
