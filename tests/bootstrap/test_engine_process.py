"""An engine process as its server reaches it."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flowrunner.bootstrap import engine_process
from flowrunner.bootstrap.engine_process import ProcessSettings, limits_of
from flowrunner.domain.expression.script import Script
from flowrunner.domain.values import ExecutionId, WorkspaceId
from flowrunner.engine.dependencies import EngineDependencies
from flowrunner.ports.approval_links import ApprovalPlace
from flowrunner.security.approval_links import LinkSigner
from flowrunner.settings import Settings

URL = "https://flows.example.com"
PLACE = ApprovalPlace(ExecutionId("exec-1"), 7, datetime(2026, 12, 1, tzinfo=UTC))
GIVEN = ProcessSettings(
    own_ports=frozenset(), own_servers=frozenset(), count=1, limits=limits_of(Settings()), execution_memory=None,
    egress_allow=(), public_url=URL, script_workers=1, otel="off", log_level="info", log_format="json",
)  # fmt: skip


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[EngineDependencies]:
    """Return a list of what each engine is opened with."""
    found = list[EngineDependencies]()

    def keep(**parts: Any) -> EngineDependencies:
        found.append(EngineDependencies(**parts))
        return found[-1]

    monkeypatch.setattr(engine_process, "EngineDependencies", keep)
    return found


async def test_links_are_signed_by_the_key_of_the_last_report(opened: list[EngineDependencies]) -> None:
    served = dict[str, Any]()
    server: Any = SimpleNamespace(serve=served.update)
    links = []
    async with engine_process._open_engine(server, GIVEN, None):
        for message, values in (("open", (1, b"old")), ("report", (b"old",)), ("report", (b"new",))):
            served[message](*values)
            links.append(opened[0].approval_links.url(PLACE))

    old, new = (LinkSigner(key, public_url=URL).url(PLACE) for key in (b"old", b"new"))
    assert links == [old, old, new]


async def test_a_process_evaluates_scripts_although_there_are_more_processes_than_script_workers(
    opened: list[EngineDependencies],
) -> None:
    server: Any = SimpleNamespace(serve=lambda handlers: None)
    async with engine_process._open_engine(server, replace(GIVEN, count=3, script_workers=2), None):
        (found,) = await opened[0].sandbox.evaluate(WorkspaceId("a"), [Script("1 + 1")], {})

    assert found.value == 2
