"""An engine process as its server reaches it."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from flowrunner.bootstrap import engine_process
from flowrunner.bootstrap.engine_process import ProcessSettings, limits_of
from flowrunner.domain.values import ExecutionId
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


async def test_links_are_signed_by_the_key_of_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, served = list[EngineDependencies](), dict[str, Any]()

    def keep(**parts: Any) -> EngineDependencies:
        opened.append(EngineDependencies(**parts))
        return opened[-1]

    monkeypatch.setattr(engine_process, "EngineDependencies", keep)
    server: Any = SimpleNamespace(serve=served.update)
    links = []
    async with engine_process._open_engine(server, GIVEN, None):
        for message, values in (("open", (1, b"old")), ("report", (b"old",)), ("report", (b"new",))):
            served[message](*values)
            links.append(opened[0].approval_links.url(PLACE))

    old, new = (LinkSigner(key, public_url=URL).url(PLACE) for key in (b"old", b"new"))
    assert links == [old, old, new]
